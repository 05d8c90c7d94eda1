//! Where a key service listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a key service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAddress {
    /// `tcp://HOST:PORT`.
    Tcp {
        /// A name or an address; one of IPv6 without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:///PATH`.
    Unix(PathBuf),
}

/// A text that is no address of a key service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a key service; write unix:///PATH or tcp://HOST:PORT")]
pub struct AddressError(pub String);

impl FromStr for ServiceAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = || AddressError(text.to_owned());
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(fail)?;
        match scheme {
            "unix" if rest.len() > 1 && rest.starts_with('/') && !rest.contains('\0') => {
                Ok(Self::Unix(PathBuf::from(rest)))
            }
            "tcp" | "tcp4" | "tcp6" => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                let (host, port) = rest.rsplit_once(':').ok_or_else(fail)?;
                let port = port.parse().map_err(|_| fail())?;
                let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
                let usable = match bare {
                    Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                    None => is_name(host),
                };
                match usable && port != 0 {
                    true => Ok(Self::Tcp {
                        host: bare.unwrap_or(host).to_owned(),
                        port,
                    }),
                    false => Err(fail()),
                }
            }
            _ => Err(fail()),
        }
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !host.is_empty() && host.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "tcp://127.0.0.1:5000",
            "tcp://keys.example:1",
            "tcp://[::1]:5000",
            "unix:///run/user/1000/keys.sock",
        ] {
            let address: ServiceAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "tcp://",
            "tcp://host",
            "tcp://host:0",
            "tcp://host:65536",
            "tcp://:5000",
            "tcp://a b:1",
            "tcp://user@host:1",
            "unix://",
            "unix:///",
            "unix://relative",
            "http://host:1",
            "/run/keys.sock",
        ] {
            assert_eq!(
                text.parse::<ServiceAddress>(),
                Err(AddressError(text.to_owned()))
            );
        }
    }
}
