//! The proxy that the environment names for a server, by the rules of Go's `httpproxy`.

use std::env;
use std::net::IpAddr;

/// Returns the proxy of `HTTPS_PROXY` or `HTTP_PROXY` for a URL; `None` when there is none, or
/// `NO_PROXY` names the host. This machine is never behind one.
pub(crate) fn of_environment(url: &str) -> Option<String> {
    let value = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| env::var(name).ok());
        found.filter(|value| !value.is_empty())
    };
    let (scheme, rest) = url.split_once("://")?;
    let proxy = match scheme {
        "https" => value(["HTTPS_PROXY", "https_proxy"]),
        _ => value(["HTTP_PROXY", "http_proxy"]),
    }?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = split_port(authority);
    let excluded = value(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if is_excluded(host, port, &excluded) {
        return None;
    }
    Some(match proxy.contains("://") {
        true => proxy,
        false => format!("http://{proxy}"),
    })
}

/// Splits `host:port` and `[::1]:port`.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, port.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_excluded(host: &str, port: Option<&str>, list: &str) -> bool {
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    let host = host.to_ascii_lowercase();
    list.split(',')
        .map(|entry| entry.trim().to_ascii_lowercase())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some((network, bits)) = entry.split_once('/') {
                return address.is_some_and(|address| is_within(address, network, bits));
            }
            let (name, of_port) = split_port(&entry);
            if of_port.is_some() && of_port != port {
                return false;
            }
            if let Ok(named) = name.parse::<IpAddr>() {
                return address == Some(named);
            }
            let name = name.strip_prefix('*').unwrap_or(name);
            match name.strip_prefix('.') {
                Some(_) => host.ends_with(name),
                None => host == name || host.ends_with(&format!(".{name}")),
            }
        })
}

fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let differing = address ^ network;
    bits <= width && differing.checked_shr(width - bits).unwrap_or_default() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        for (host, port, list, expected) in [
            ("localhost", None, "", true),
            ("127.0.0.2", None, "", true),
            ("::1", None, "", true),
            ("api.example.com", None, "", false),
            ("api.example.com", None, "example.com", true),
            ("example.com", None, ".example.com", false),
            ("api.example.com", None, "*.example.com", true),
            ("api.example.org", None, "*", true),
            ("notexample.com", None, "example.com", false),
            ("10.1.2.3", None, "192.168.0.0/16, 10.0.0.0/8", true),
            ("11.1.2.3", None, "10.0.0.0/8", false),
            ("10.1.2.3", None, "10.1.2.3", true),
            ("a.b", Some("6443"), "a.b:6443", true),
            ("a.b", Some("443"), "a.b:6443", false),
            ("fd00::1", None, "fd00::/8", true),
        ] {
            assert_eq!(is_excluded(host, port, list), expected, "{host} {list}");
        }
        assert_eq!(split_port("[::1]:80"), ("::1", Some("80")));
        assert_eq!(split_port("h:80"), ("h", Some("80")));
    }
}
