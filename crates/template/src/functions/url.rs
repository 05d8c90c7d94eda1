//! sprig: URLs, as Go's `net/url` reads and writes them.

use super::cast::text;
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::text as bytes;
use crate::value::{Entries, Map, Str, Value};

pub(super) const TABLE: &[Entry] = &[
    ("urlParse", "string", url_parse),
    ("urlJoin", "map", url_join),
];

type Result = std::result::Result<Value, Failure>;

/// Go's message shows the URL, which may hold a password.
const NO_URL: &str = "unable to parse url";

fn url_parse(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let url = Url::parse(&a.str(0)).ok_or_else(|| Failure::new(NO_URL))?;
    let user = url.user.as_ref().map_or_else(Vec::new, User::text);
    let entries: Entries = [
        ("scheme", url.scheme.clone()),
        ("host", url.host.clone()),
        ("hostname", url.hostname().to_vec()),
        ("path", url.path.clone()),
        ("query", url.query.clone()),
        ("opaque", url.opaque.clone()),
        ("fragment", url.fragment.clone()),
        ("userinfo", user),
    ]
    .into_iter()
    .map(|(name, value)| (Str::from(name), Value::string(value)))
    .collect();
    Ok(run.map(entries)?.into())
}

fn url_join(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let parts = a.map(0);
    let part = |name: &str| part(&parts, name);
    let mut url = Url {
        scheme: part("scheme")?,
        host: part("host")?,
        path: part("path")?,
        query: part("query")?,
        opaque: part("opaque")?,
        fragment: part("fragment")?,
        ..Url::default()
    };
    let user = part("userinfo")?;
    if !user.is_empty() {
        let carrier = [b"proto://", user.as_slice(), b"@host"].concat();
        let carrier =
            Url::parse(&carrier).ok_or_else(|| Failure::new("unable to parse userinfo in dict"))?;
        url.user = carrier.user;
    }
    text(run, url.text())
}

fn part(parts: &Map, name: &str) -> std::result::Result<Vec<u8>, Failure> {
    match parts.get(name.as_bytes()) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.to_vec()),
        Some(Value::Nil | Value::Invalid) => Err(Failure::new(
            "runtime error: invalid memory address or nil pointer dereference",
        )),
        Some(other) => Err(Failure::new(format!(
            "unable to parse {name} key, must be of type string, but {} found",
            other.kind_name()
        ))),
    }
}

/// Where a character stands, which decides whether it is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Host,
    Zone,
    User,
    Query,
    Fragment,
}

fn must_escape(byte: u8, place: Place) -> bool {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        return false;
    }
    let kept: &[u8] = match place {
        Place::Host | Place::Zone => b"!$&'()*+,;=:[]<>\"",
        Place::Path => b"$&+,/:;=@",
        Place::User => b"$&+,;=",
        Place::Query => b"",
        Place::Fragment => b"$&+,/:;=?@!()*",
    };
    !kept.contains(&byte)
}

fn escape(text: &[u8], place: Place) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if *byte == b' ' && place == Place::Query {
            out.push(b'+');
        } else if must_escape(*byte, place) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

/// `url.QueryEscape`.
pub(super) fn query_escape(text: &[u8]) -> Vec<u8> {
    escape(text, Place::Query)
}

fn unescape(text: &[u8], place: Place) -> Option<Vec<u8>> {
    let in_host = matches!(place, Place::Host | Place::Zone);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte != b'%' {
            if in_host && byte.is_ascii() && must_escape(*byte, place) {
                return None;
            }
            out.push(*byte);
            at += 1;
            continue;
        }
        let digits = text.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let percent = digits == b"25";
        // A host may escape only what is not ASCII, and the percent sign of a zone.
        if place == Place::Host && value < 0x80 && !percent {
            return None;
        }
        if place == Place::Zone && !percent && value != b' ' && must_escape(value, Place::Host) {
            return None;
        }
        out.push(value);
        at += 3;
    }
    Some(out)
}

#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<User>,
    host: Vec<u8>,
    path: Vec<u8>,
    raw_path: Vec<u8>,
    omit_host: bool,
    force_query: bool,
    query: Vec<u8>,
    fragment: Vec<u8>,
    raw_fragment: Vec<u8>,
}

struct User {
    name: Vec<u8>,
    password: Option<Vec<u8>>,
}

impl User {
    fn text(&self) -> Vec<u8> {
        let mut out = escape(&self.name, Place::User);
        if let Some(password) = &self.password {
            out.push(b':');
            out.extend(escape(password, Place::User));
        }
        out
    }
}

fn cut(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == mark) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

impl Url {
    fn parse(source: &[u8]) -> Option<Self> {
        let (main, fragment) = cut(source, b'#');
        let mut url = Self::parse_main(main)?;
        if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
            url.fragment = unescape(fragment, Place::Fragment)?;
            if escape(&url.fragment, Place::Fragment) != fragment {
                url.raw_fragment = fragment.to_vec();
            }
        }
        Some(url)
    }

    fn parse_main(source: &[u8]) -> Option<Self> {
        let mut url = Self::default();
        if source.iter().any(u8::is_ascii_control) {
            return None;
        }
        if source == b"*" {
            url.path = source.to_vec();
            return Some(url);
        }
        let (scheme, mut rest) = scheme(source)?;
        url.scheme = scheme.to_ascii_lowercase();
        let marks = rest.iter().filter(|byte| **byte == b'?').count();
        if rest.ends_with(b"?") && marks == 1 {
            url.force_query = true;
            rest = &rest[..rest.len() - 1];
        } else {
            let (path, query) = cut(rest, b'?');
            rest = path;
            url.query = query.unwrap_or_default().to_vec();
        }
        if !rest.starts_with(b"/") {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_vec();
                return Some(url);
            }
            // Or the first segment would look like a scheme.
            if cut(rest, b'/').0.contains(&b':') {
                return None;
            }
        }
        let has_scheme = !url.scheme.is_empty();
        if (has_scheme || !rest.starts_with(b"///")) && rest.starts_with(b"//") {
            let authority = &rest[2..];
            let end = authority
                .iter()
                .position(|b| *b == b'/')
                .unwrap_or(authority.len());
            rest = &authority[end..];
            url.parse_authority(&authority[..end])?;
        } else if has_scheme && rest.starts_with(b"/") {
            url.omit_host = true;
        }
        url.path = unescape(rest, Place::Path)?;
        if escape(&url.path, Place::Path) != rest {
            url.raw_path = rest.to_vec();
        }
        Some(url)
    }

    fn parse_authority(&mut self, authority: &[u8]) -> Option<()> {
        let Some(at) = authority.iter().rposition(|byte| *byte == b'@') else {
            self.host = host(&self.scheme, authority)?;
            return Some(());
        };
        self.host = host(&self.scheme, &authority[at + 1..])?;
        let user = &authority[..at];
        if !user
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(b))
        {
            return None;
        }
        let (name, password) = cut(user, b':');
        self.user = Some(User {
            name: unescape(name, Place::User)?,
            password: match password {
                Some(password) => Some(unescape(password, Place::User)?),
                None => None,
            },
        });
        Some(())
    }

    fn hostname(&self) -> &[u8] {
        let mut host = self.host.as_slice();
        if let Some(colon) = host.iter().rposition(|byte| *byte == b':')
            && is_port(&host[colon..])
        {
            host = &host[..colon];
        }
        host.strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"))
            .unwrap_or(host)
    }

    fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.scheme.is_empty() {
            out.extend_from_slice(&self.scheme);
            out.push(b':');
        }
        if self.opaque.is_empty() {
            self.write_hierarchy(&mut out);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        if self.force_query || !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(as_written(
                &self.fragment,
                &self.raw_fragment,
                Place::Fragment,
            ));
        }
        out
    }

    fn write_hierarchy(&self, out: &mut Vec<u8>) {
        let has_authority = !self.host.is_empty() || self.user.is_some();
        if has_authority || !self.scheme.is_empty() && !self.omit_host {
            if has_authority || !self.path.is_empty() {
                out.extend_from_slice(b"//");
            }
            if let Some(user) = &self.user {
                out.extend(user.text());
                out.push(b'@');
            }
            out.extend(escape(&self.host, Place::Host));
        }
        let path = if self.path == b"*" && self.raw_path.is_empty() {
            b"*".to_vec()
        } else {
            as_written(&self.path, &self.raw_path, Place::Path)
        };
        if !path.is_empty() && !path.starts_with(b"/") && !self.host.is_empty() {
            out.push(b'/');
        }
        if out.is_empty() && cut(&path, b'/').0.contains(&b':') {
            out.extend_from_slice(b"./");
        }
        out.extend(path);
    }
}

/// The form that was read, where it still means the same.
fn as_written(plain: &[u8], raw: &[u8], place: Place) -> Vec<u8> {
    let valid = |byte: &u8| b"!$&'()*+,;=:@[]%".contains(byte) || !must_escape(*byte, place);
    if !raw.is_empty()
        && raw.iter().all(valid)
        && unescape(raw, place).is_some_and(|unescaped| unescaped == plain)
    {
        return raw.to_vec();
    }
    escape(plain, place)
}

/// Splits off the scheme; none where a colon stands first.
fn scheme(source: &[u8]) -> Option<(&[u8], &[u8])> {
    for (at, byte) in source.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((&source[..at], &source[at + 1..])),
            _ => break,
        }
    }
    Some((b"", source))
}

fn is_port(text: &[u8]) -> bool {
    text.is_empty() || text[0] == b':' && text[1..].iter().all(u8::is_ascii_digit)
}

fn host(scheme: &[u8], host: &[u8]) -> Option<Vec<u8>> {
    match host.iter().rposition(|byte| *byte == b'[') {
        Some(0) => return address(host),
        Some(_) => return None,
        None => {}
    }
    if let Some(first) = host.iter().position(|byte| *byte == b':') {
        let last = host.iter().rposition(|byte| *byte == b':').unwrap_or(first);
        let web = matches!(scheme, b"http" | b"https");
        if !is_port(&host[if web { first } else { last }..]) {
            return None;
        }
    }
    unescape(host, Place::Host)
}

/// Reads `[address%25zone]:port`.
fn address(host: &[u8]) -> Option<Vec<u8>> {
    let close = host.iter().rposition(|byte| *byte == b']')?;
    let port = &host[close + 1..];
    if !is_port(port) {
        return None;
    }
    let name = &host[1..close];
    let name = match bytes::find(name, b"%25") {
        Some(zone) => {
            let mut address = unescape(&name[..zone], Place::Host)?;
            address.extend(unescape(&name[zone..], Place::Zone)?);
            address
        }
        None => unescape(name, Place::Host)?,
    };
    let (address, zone) = cut(&name, b'%');
    let address = std::str::from_utf8(address).ok()?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    if zone.is_some_and(<[u8]>::is_empty) {
        return None;
    }
    Some([b"[", name.as_slice(), b"]", port].concat())
}
