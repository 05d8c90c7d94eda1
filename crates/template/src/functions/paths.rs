//! sprig: paths with slashes. The functions with `os` in their names do the same on Linux.

use super::cast::text;
use super::{Args as _, Entry};

pub(super) const TABLE: &[Entry] = &[
    ("base", "string", |run, a| text(run, base(&a.str(0)))),
    ("dir", "string", |run, a| text(run, dir(&a.str(0)))),
    ("clean", "string", |run, a| text(run, clean(&a.str(0)))),
    ("ext", "string", |run, a| text(run, ext(&a.str(0)))),
    ("isAbs", "string", |_, a| {
        Ok(a.str(0).starts_with(b"/").into())
    }),
    ("osBase", "string", |run, a| text(run, base(&a.str(0)))),
    ("osDir", "string", |run, a| text(run, dir(&a.str(0)))),
    ("osClean", "string", |run, a| text(run, clean(&a.str(0)))),
    ("osExt", "string", |run, a| text(run, ext(&a.str(0)))),
    ("osIsAbs", "string", |_, a| {
        Ok(a.str(0).starts_with(b"/").into())
    }),
];

fn base(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return b".".to_vec();
    }
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    let trimmed = &path[..end];
    let name = trimmed.rsplit(|b| *b == b'/').next().unwrap_or_default();
    if name.is_empty() {
        b"/".to_vec()
    } else {
        name.to_vec()
    }
}

fn dir(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    clean(&path[..end])
}

fn ext(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let dot = name.iter().rposition(|b| *b == b'.');
    dot.map_or_else(Vec::new, |at| name[at..].to_vec())
}

fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}
