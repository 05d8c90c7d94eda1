//! Files that the real sops wrote (tests/fixtures), changed by us: what was not touched keeps its
//! bytes, though sops lays out blocks and comments otherwise than we do.
#![allow(clippy::unwrap_used)] // Functions beside the tests are test code too.

use selkie_keys::age::{AgeIdentities, IdentitySource, SourceForm};
use selkie_secret::SecretBytes;
use selkie_sops::{DecryptOptions, EditOptions, Edited, Format, OpenFile};
use selkie_text::{Kind, Limits, yaml};

fn identities() -> AgeIdentities {
    AgeIdentities::from_sources(vec![IdentitySource {
        name: "test".to_owned(),
        content: Ok(SecretBytes::new(
            include_bytes!("../../../keys-example/age.txt").to_vec(),
        )),
        form: SourceForm::Identities,
    }])
}

fn options() -> EditOptions {
    EditOptions {
        now: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
        raise_version: false,
    }
}

const FILES: &[(&str, &str)] = &[
    ("kinds 3.11", include_str!("fixtures/kinds-3.11.0.enc.yaml")),
    ("kinds", include_str!("fixtures/kinds-3.13.3.enc.yaml")),
    ("maconly", include_str!("fixtures/maconly-3.13.3.enc.yaml")),
    ("marked", include_str!("fixtures/marked-3.13.3.enc.yaml")),
    ("multi 3.11", include_str!("fixtures/multi-3.11.0.enc.yaml")),
    ("multi", include_str!("fixtures/multi-3.13.3.enc.yaml")),
    ("regex", include_str!("fixtures/regex-3.13.3.enc.yaml")),
    ("suffix", include_str!("fixtures/suffix-3.11.0.enc.yaml")),
];

#[test]
fn one_more_line_changes_that_line_and_the_mac() {
    for (name, source) in FILES {
        let opened = OpenFile::open(
            source,
            Format::Yaml,
            &identities(),
            &DecryptOptions::default(),
        )
        .unwrap();
        let plain = std::str::from_utf8(opened.plain()).unwrap();
        let line_end = plain.find('\n').unwrap() + 1;
        // At the end of the first document, and at its beginning if no comment stands there.
        let end = plain.find("\n---").map_or(plain.len(), |at| at + 1);
        for at in [end, if plain.starts_with('#') { end } else { 0 }, line_end] {
            let changed = format!("{}new_entry: added\n{}", &plain[..at], &plain[at..]);
            let edited = match opened.edited(changed.as_bytes(), &options()) {
                // Within the first entry.
                Err(_) if at == line_end => continue,
                other => other.unwrap_or_else(|error| panic!("{name}: {error}")),
            };
            let Edited::Changed(after) = edited else {
                panic!("{name}");
            };
            let (mut rest, mut lost) = (after.lines().collect::<Vec<_>>(), Vec::new());
            for line in source.lines() {
                match rest.iter().position(|other| *other == line) {
                    Some(at) => drop(rest.remove(at)),
                    None => lost.push(line),
                }
            }
            let head = |lines: Vec<&str>| -> Vec<String> {
                let heads = lines
                    .into_iter()
                    .map(|line| line.split(':').next().unwrap().trim());
                heads.map(str::to_owned).collect()
            };
            let documents = source.matches("\nsops:\n").count();
            let mac = ["lastmodified", "mac"].repeat(documents);
            assert_eq!(head(lost), mac, "{name}\n{source}\n{after}");
            let mut found = head(rest);
            let entry = found.iter().position(|line| line == "new_entry");
            found.remove(entry.unwrap());
            assert_eq!(found, mac, "{name}\n{source}\n{after}");
        }
    }
}

/// Every key and value in order, with its type.
fn scalars(source: &str) -> Vec<(&'static str, String)> {
    let stream = yaml::parse(source, &Limits::default()).unwrap();
    let nodes = stream.nodes().filter(|(_, node)| node.kind == Kind::Scalar);
    nodes
        .map(|(id, node)| (stream.resolve(id).unwrap().tag(), node.value.to_string()))
        .collect()
}

#[test]
fn removing_and_restoring_a_line_gives_the_same_values() {
    for (name, source) in FILES {
        let opened = OpenFile::open(
            source,
            Format::Yaml,
            &identities(),
            &DecryptOptions::default(),
        )
        .unwrap();
        let plain = std::str::from_utf8(opened.plain()).unwrap();
        let lines: Vec<&str> = plain.split_inclusive('\n').collect();
        let mut tried = 0;
        for skipped in 0..lines.len() {
            let without: String = (lines.iter().enumerate())
                .filter(|(index, _)| *index != skipped)
                .map(|(_, line)| *line)
                .collect();
            let Ok(Edited::Changed(after)) = opened.edited(without.as_bytes(), &options()) else {
                continue;
            };
            tried += 1;
            let again = OpenFile::open(
                &after,
                Format::Yaml,
                &identities(),
                &DecryptOptions::default(),
            )
            .unwrap();
            assert_eq!(
                scalars(std::str::from_utf8(again.plain()).unwrap()),
                scalars(&without),
                "{name}\n{after}"
            );
        }
        assert!(tried > 3, "{name}");
    }
}
