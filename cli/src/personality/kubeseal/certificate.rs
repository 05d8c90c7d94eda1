//! The certificate that kubeseal seals for (sealed-secrets.md 12.4).

use std::fs;
use std::io::ErrorKind;

use jiff::Timestamp;
use selkie_seal::Certificate;

use super::{Invocation, Stop, input, stop};
use crate::certificate_source::{self, Origin};

impl Invocation {
    /// The bytes of `--cert`, else of the controller, as they come.
    pub(super) fn fetch_certificate(&self) -> Result<Vec<u8>, Stop> {
        let given = self.values.text("cert");
        if given.is_empty() {
            return self.controller_certificate();
        }
        match scheme(given).as_deref() {
            None => {
                let input = input::named_file(given)?;
                Ok(input.bytes().to_vec())
            }
            Some("http" | "https") => {
                let text = certificate_source::fetch_url(given).map_err(stop)?;
                Ok(text.into_bytes())
            }
            Some("file") => {
                let Origin::FileUrl(path, url) = Origin::of(given) else {
                    return Err(Stop(format!("{given} is not a file URL")));
                };
                fs::read(path).map_err(|error| {
                    // A file server answers for the file system.
                    let status = match error.kind() {
                        ErrorKind::NotFound => "404 Not Found",
                        ErrorKind::PermissionDenied => "403 Forbidden",
                        _ => "500 Internal Server Error",
                    };
                    Stop(format!("cannot fetch {url:?}: {status}"))
                })
            }
            Some(other) => Err(Stop(format!(
                "Get {given:?}: unsupported protocol scheme {other:?}"
            ))),
        }
    }
}

/// Parses what was fetched. An expired certificate is an error.
pub(super) fn parse(bytes: &[u8]) -> Result<Certificate, Stop> {
    let certificate = Certificate::parse(&String::from_utf8_lossy(bytes))?;
    certificate.check_not_expired(Timestamp::now())?;
    Ok(certificate)
}

/// The scheme of a URL in lower case; `None` for a path, such as one with the drive of Windows.
fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once(':')?;
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if !starts || !scheme.chars().all(is_scheme) || scheme.len() == 1 {
        return None;
    }
    Some(scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_as_go_tells_them() {
        for (text, expected) in [
            ("cert.pem", None),
            ("/a:b", None),
            ("c:\\cert.pem", None),
            ("./x:y", None),
            ("HTTPS://x", Some("https")),
            ("file:///x", Some("file")),
            ("ftp://x", Some("ftp")),
        ] {
            assert_eq!(scheme(text).as_deref(), expected, "{text}");
        }
    }
}
