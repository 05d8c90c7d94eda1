//! When two files say the same.

use anyhow::Result;
use selkie_sops::Format;

/// Returns a clear file in the layout of sops, YAML [`with_comments_at_the_margin`].
pub(crate) fn canonical(format: Format, bytes: &[u8]) -> Result<Vec<u8>> {
    if format == Format::Binary {
        return Ok(bytes.to_vec());
    }
    let done = selkie_sops::convert(bytes, format, format, None)?;
    if format == Format::Yaml {
        let text = std::str::from_utf8(done.expose())?;
        return Ok(with_comments_at_the_margin(text).into_bytes());
    }
    Ok(done.expose().to_vec())
}

/// Ours keeps a list in brackets, sops makes it a block: then its parser counts a comment behind the list to another
/// level, and indents it otherwise.
pub(crate) fn with_comments_at_the_margin(yaml: &str) -> String {
    let lines = yaml.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with('#') => comment,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
