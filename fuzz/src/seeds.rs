//! The texts that the fuzz targets start from: the corpus of the suites, `fuzz/samples`, and encrypted
//! files made of both.

use std::fs;
use std::path::{Path, PathBuf};

use selkie_sops::Format;

use crate::{first_byte, properties};

/// Format, target, suffix.
const FORMATS: [(Format, &str, &str); 5] = [
    (Format::Yaml, "yaml", "yaml"),
    (Format::Json, "json", "json"),
    (Format::Dotenv, "dotenv", "env"),
    (Format::Ini, "ini", "ini"),
    (Format::Binary, "binary", "bin"),
];

/// Writes them into FOLDER/TARGET.
///
/// A fuzz target does this, and no program of its own: the coverage flags need the fuzzer's runtime.
pub fn write_all(folder: &Path) -> std::io::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, bytes) in files_of(&sources.join("../tests/tests/templates"))? {
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let templates = text.lines().filter(|line| line.contains("{{"));
        for (number, template) in templates.enumerate() {
            let name = format!("{}-{number}", path.file_stem().unwrap_or_default().display());
            write(&folder.join("template"), Path::new(&name), template.as_bytes())?;
        }
    }
    let mut files = files_of(&sources.join("../tests/corpus"))?;
    files.extend(files_of(&sources.join("samples"))?);
    for (path, bytes) in files {
        let suffix = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if suffix == "rule" || path.to_string_lossy().contains("rules") {
            write(&folder.join("rules"), &path, &bytes)?;
        }
        let Some((format, target, _)) = FORMATS.into_iter().find(|(.., known)| *known == suffix)
        else {
            continue;
        };
        if format != Format::Binary {
            write(&folder.join(target), &path, &bytes)?;
        }
        if format == Format::Yaml || format == Format::Json {
            write(&folder.join("sealed"), &path, &bytes)?;
        }
        let marked = |bytes: &[u8]| [&[first_byte(format)], bytes].concat();
        write(&folder.join("round_trip"), &path, &marked(&bytes))?;
        if let Some(encrypted) = properties::encrypted(format, &bytes) {
            write(
                &folder.join("metadata"),
                &path,
                &marked(encrypted.as_bytes()),
            )?;
        }
    }
    Ok(())
}

fn files_of(folder: &Path) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = fs::read(&path)?;
            files.push((path, bytes));
        }
    }
    Ok(files)
}

fn write(folder: &Path, named_after: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join(named_after.file_name().unwrap_or_default()),
        bytes,
    )
}
