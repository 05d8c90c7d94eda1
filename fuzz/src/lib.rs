//! The properties that the fuzz targets check; `tests/tests/properties.rs` checks the same ones with
//! generated texts.

#[cfg(feature = "age")]
pub mod age;
#[cfg(feature = "sealed")]
pub mod manifest;
#[cfg(feature = "sealed")]
pub mod objects;
pub mod properties;
pub mod seeds;
#[cfg(feature = "template")]
pub mod template;

use selkie_sops::Format;

const FORMATS: [(u8, Format); 5] = [
    (b'y', Format::Yaml),
    (b'j', Format::Json),
    (b'd', Format::Dotenv),
    (b'i', Format::Ini),
    (b'b', Format::Binary),
];

/// Takes the format from the first byte, so that one target serves all five.
pub fn by_first_byte(bytes: &[u8]) -> Option<(Format, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (_, format) = FORMATS.iter().find(|(byte, _)| byte == first)?;
    Some((*format, rest))
}

/// The byte that [`by_first_byte`] takes for a format.
pub fn first_byte(format: Format) -> u8 {
    FORMATS
        .iter()
        .find(|(_, other)| *other == format)
        .map_or(b'b', |(byte, _)| *byte)
}
