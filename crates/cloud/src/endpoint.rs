//! Which addresses get credentials: the one policy for every service whose address stands in a file
//! (sops-cli.md, weak point 10).
//!
//! A file in a repository names the server that its key lies on, and whoever can change the file can
//! name another one. So an address gets a token only if the user names it outside the file, and the
//! addresses that no secret service lives at (metadata services of clouds, this machine) get none
//! however they are spelled and whatever a name server answers.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use url::{Host, Url};

use crate::message::cleaned;

/// What becomes of an address that the user did not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unnamed {
    /// It is refused.
    #[default]
    Refused,
    /// It passes with a warning, as in sops, where scripts depend on it.
    Warned,
    /// It passes: the user's own setting allows every server. This machine is not meant by that.
    Allowed,
}

/// The addresses of one service that may get credentials.
#[derive(Debug, Clone)]
pub struct EndpointPolicy {
    service: &'static str,
    variables: &'static str,
    unnamed: Unnamed,
    named: Vec<Named>,
    proxied: bool,
}

/// What the user named: everything below a URL, or every server of a scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    scheme: String,
    /// None for `https://` alone.
    origin: Option<(Host<String>, u16)>,
    /// With a `/` at both ends.
    path: String,
}

/// A text that names no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an http:// or https:// URL")]
pub struct NameError(pub String);

/// Why an address gets no credentials. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not a URL, or one with a user name: it would not be sent where it seems to.
    #[error(
        "the file's {service} address is not a plain http:// or https:// URL, so nothing is sent to it"
    )]
    Malformed {
        /// What kind of server it is.
        service: &'static str,
    },
    /// The user did not name it.
    #[error(
        "the file names the {service} {address}, and nothing of yours does, so it gets no \
         credentials; if you trust it, name it in {variables}"
    )]
    Unnamed {
        /// What kind of server it is.
        service: &'static str,
        /// The address.
        address: String,
        /// What to set.
        variables: &'static str,
    },
    /// It lies where no key service does.
    #[error("the {service} {address} is {ip}, {what}: it is never contacted")]
    Forbidden {
        /// What kind of server it is.
        service: &'static str,
        /// The address.
        address: String,
        /// What the name stands for, in its plain form.
        ip: IpAddr,
        /// What lies there.
        what: &'static str,
    },
    /// It is this machine, which has to be named as such.
    #[error(
        "the {service} {address} is {ip}, this machine, which is contacted only where it is named as \
         such: name http://{ip} with its port, or http://localhost, in {variables}"
    )]
    ThisMachine {
        /// What kind of server it is.
        service: &'static str,
        /// The address.
        address: String,
        /// What the name stands for.
        ip: IpAddr,
        /// What to set.
        variables: &'static str,
    },
    /// The name has no address.
    #[error("the {service} {address} cannot be reached: {cause}")]
    Unresolved {
        /// What kind of server it is.
        service: &'static str,
        /// The address.
        address: String,
        /// The system's words.
        cause: String,
    },
}

/// Turns a name into addresses.
pub trait Resolver: Send + Sync {
    /// Returns every address of `host`, each with `port`.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own resolver: files and name servers as it is set up. It may block for seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        (host, port).to_socket_addrs().map(Iterator::collect)
    }
}

/// An address that may get credentials, with what its name stood for when that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    url: Url,
    addresses: Vec<SocketAddr>,
    warning: Option<String>,
}

impl Admitted {
    /// Returns the URL, in its normal form.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the name and the only addresses that a connection may go to: resolving the name a second
    /// time could give others. None for an address in digits and for a name that a proxy resolves.
    pub fn pinned(&self) -> Option<(&str, &[SocketAddr])> {
        match self.url.host() {
            Some(Host::Domain(name)) if !self.addresses.is_empty() => Some((name, &self.addresses)),
            _ => None,
        }
    }

    /// Returns what the user should know.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl EndpointPolicy {
    /// Makes a policy that names no address. `service` and `variables` stand in messages:
    /// `Vault server`, `VAULT_ADDR or SOPS_HC_VAULT_ALLOWLIST`.
    pub fn new(service: &'static str, variables: &'static str, unnamed: Unnamed) -> Self {
        Self {
            service,
            variables,
            unnamed,
            named: Vec::new(),
            proxied: false,
        }
    }

    /// Adds what the user named: a URL, with all that lies below it, or `https://` for every server of
    /// that scheme.
    pub fn name(&mut self, text: &str) -> Result<(), NameError> {
        let text = text.trim();
        let scheme_alone = text.trim_end_matches('/');
        if let Some(scheme) = scheme_alone.strip_suffix(':').filter(|s| is_web(s)) {
            self.named.push(Named {
                scheme: scheme.to_owned(),
                origin: None,
                path: "/".to_owned(),
            });
            return Ok(());
        }
        let url = parse(text).ok_or_else(|| NameError(shown(text)))?;
        self.named.push(Named {
            origin: origin(&url),
            path: folder(&url),
            scheme: url.scheme().to_owned(),
        });
        Ok(())
    }

    /// Tells that the system sends requests through a proxy: a name that does not resolve here is left
    /// to the proxy, which the user named.
    pub fn proxied(&mut self, proxied: bool) {
        self.proxied = proxied;
    }

    /// Decides on an address, and resolves its name. Asks `resolver` once at most.
    pub fn admit(&self, text: &str, resolver: &dyn Resolver) -> Result<Admitted, EndpointError> {
        let service = self.service;
        let url = parse(text).ok_or(EndpointError::Malformed { service })?;
        let Some((host, port)) = origin(&url) else {
            return Err(EndpointError::Malformed { service });
        };
        let address = url.as_str().trim_end_matches('/').to_owned();
        let matches: Vec<&Named> = self.named.iter().filter(|n| n.covers(&url)).collect();
        if matches.is_empty() && self.unnamed == Unnamed::Refused {
            return Err(EndpointError::Unnamed {
                service,
                address,
                variables: self.variables,
            });
        }
        let unasked = matches.is_empty() && self.unnamed == Unnamed::Warned;
        let addresses = self.addresses(&host, port, &address, resolver)?;
        let machine_named = unasked || matches.iter().any(|named| named.is_this_machine());
        for ip in plain_addresses(&host, &addresses) {
            if let Some(what) = forbidden(ip) {
                return Err(EndpointError::Forbidden {
                    service,
                    address,
                    ip,
                    what,
                });
            }
            if ip.is_loopback() && !machine_named {
                return Err(EndpointError::ThisMachine {
                    service,
                    address,
                    ip,
                    variables: self.variables,
                });
            }
        }
        let warning = unasked.then(|| {
            format!(
                "the {service} {address} is named by the file alone and gets your credentials; \
                 {} can name the ones you trust",
                self.variables
            )
        });
        Ok(Admitted {
            url,
            addresses,
            warning,
        })
    }

    fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
        address: &str,
        resolver: &dyn Resolver,
    ) -> Result<Vec<SocketAddr>, EndpointError> {
        let Host::Domain(name) = host else {
            return Ok(Vec::new());
        };
        let unresolved = |cause: String| EndpointError::Unresolved {
            service: self.service,
            address: address.to_owned(),
            cause,
        };
        match resolver.resolve(name, port) {
            Ok(found) if !found.is_empty() => Ok(found),
            _ if self.proxied => Ok(Vec::new()),
            Ok(_) => Err(unresolved(format!("{name} has no address"))),
            Err(error) => Err(unresolved(cleaned(&error.to_string()))),
        }
    }
}

impl Named {
    fn covers(&self, url: &Url) -> bool {
        self.scheme == url.scheme()
            && (self.origin.is_none() || self.origin == origin(url))
            && folder(url).starts_with(&self.path)
    }

    /// Whether the user's own text says this machine; a name that happens to lead here does not.
    fn is_this_machine(&self) -> bool {
        match &self.origin {
            Some((Host::Domain(name), _)) => name == "localhost" || name.ends_with(".localhost"),
            Some((Host::Ipv4(ip), _)) => ip.is_loopback(),
            Some((Host::Ipv6(ip), _)) => plain(IpAddr::V6(*ip)).is_loopback(),
            None => false,
        }
    }
}

impl fmt::Display for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// Parses a web address without a user name. The URL standard's parser turns every spelling of an
/// IPv4 address (decimal, octal, hexadecimal, short) into the plain one.
fn parse(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let plain = is_web(url.scheme()) && url.username().is_empty() && url.password().is_none();
    if !plain || !url.has_host() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

fn is_web(scheme: &str) -> bool {
    matches!(scheme, "http" | "https")
}

/// The host, a dot at its end dropped, and the port.
fn origin(url: &Url) -> Option<(Host<String>, u16)> {
    let host = match url.host()? {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        host => host.to_owned(),
    };
    Some((host, url.port_or_known_default()?))
}

fn folder(url: &Url) -> String {
    let path = url.path();
    match path.ends_with('/') {
        true => path.to_owned(),
        false => format!("{path}/"),
    }
}

/// A refused name as a message may show it: not one with a password.
fn shown(text: &str) -> String {
    match text.contains('@') || text.len() > 200 || text.chars().any(char::is_control) {
        true => "the text given (not shown)".to_owned(),
        false => format!("`{text}`"),
    }
}

fn plain_addresses(host: &Host<String>, resolved: &[SocketAddr]) -> BTreeSet<IpAddr> {
    let given = match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
    };
    let resolved = resolved.iter().map(SocketAddr::ip);
    given.into_iter().chain(resolved).map(plain).collect()
}

/// Takes an IPv4 address out of the IPv6 address that carries it: mapped and compatible (RFC 4291,
/// 2.5.5), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else {
        return ip;
    };
    if v6.is_loopback() || v6.is_unspecified() {
        return ip;
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let carried = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => (g, h),
        [0x2002, high, low, ..] => (high, low),
        _ => return ip,
    };
    let (high, low) = carried;
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// Says what lies at an address that never gets a credential.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    // Outside the link-local range: Alibaba Cloud, Oracle Cloud, Azure, AWS over IPv6.
    const METADATA: [IpAddr; 4] = [
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    if METADATA.contains(&ip) {
        return Some("a metadata service of a cloud");
    }
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local {
        return Some("a link-local address, where clouds have their metadata services");
    }
    let unspecified = match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if unspecified {
        return Some("an unspecified address");
    }
    let everybody = ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    everybody.then_some("a multicast or broadcast address")
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
