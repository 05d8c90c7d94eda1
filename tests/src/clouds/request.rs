use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{pairs, read_line};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// The host that the client names, without its port.
    pub host: String,
    /// The path, as it was written.
    pub path: String,
    /// The query, decoded.
    pub query: BTreeMap<String, String>,
    /// The headers, their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    pub(super) fn read(stream: &mut impl BufRead) -> Result<Option<Self>> {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let method = words.next().context("a method")?.to_owned();
        let target = words.next().context("a target")?;
        let mut headers = BTreeMap::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("a header")?;
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let chunked = headers.get("transfer-encoding");
        let body = match chunked.is_some_and(|coding| coding == "chunked") {
            true => chunks(stream)?,
            false => {
                let length = headers.get("content-length").map_or("0", String::as_str);
                read_body(stream, length.parse()?)?
            }
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let host = headers.get("host").cloned().unwrap_or_default();
        let host = match host.rsplit_once(':') {
            Some((name, _)) if method != "CONNECT" => name.to_owned(),
            _ => host,
        };
        Ok(Some(Self {
            method,
            host,
            path: path.to_owned(),
            query: pairs(query),
            headers,
            body,
        }))
    }

    /// Returns a header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the fields of a form.
    pub fn form(&self) -> BTreeMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body))
    }

    /// Returns the body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns what has to be the same in the requests of two clients: method, host, path, query,
    /// the headers that carry meaning, and the body as a tree. Of a signed token the times and the
    /// signature are left out, and of a data key everything but its length, where `masked` names the
    /// field.
    pub fn tree(&self, masked: &[&str]) -> Value {
        const HEADERS: [&str; 9] = [
            "accept",
            "authorization",
            "content-type",
            "metadata",
            "metadata-flavor",
            "secret",
            "x-goog-request-params",
            "x-goog-user-project",
            "x-identity-header",
        ];
        let mut headers: Map<String, Value> = Map::new();
        for name in HEADERS {
            let value = self.header(name);
            // One client asks for any type by a header, another by none.
            let any = name == "accept" && value == "*/*";
            // Without a body a type means nothing.
            let idle = name == "content-type" && self.body.is_empty();
            if !value.is_empty() && !any && !idle {
                let decoded = pairs(&format!("v={}", value.replace('+', "%2B")));
                let value = match name {
                    "x-goog-request-params" => pairs(value)["name"].clone(),
                    "content-type" => value.split(';').next().unwrap_or_default().to_owned(),
                    _ => decoded.get("v").cloned().unwrap_or_default(),
                };
                headers.insert(name.to_owned(), signed(&value));
            }
        }
        let text = String::from_utf8_lossy(&self.body);
        let mut body = match serde_json::from_slice::<Value>(&self.body) {
            Ok(body) => body,
            Err(_) if self.header("content-type").contains("form-urlencoded") => {
                let fields = pairs(&text).into_iter();
                Value::Object(fields.map(|(k, v)| (k, signed(&v))).collect())
            }
            Err(_) => Value::from(text.into_owned()),
        };
        for field in masked {
            if let Some(value) = body.get_mut(*field) {
                *value = json!({"length": value.as_str().unwrap_or_default().len()});
            }
        }
        json!({
            "method": self.method, "host": self.host, "path": self.path, "query": self.query,
            "headers": headers, "body": body,
        })
    }
}

const LARGEST: usize = 1 << 20;

fn read_body(stream: &mut impl BufRead, length: usize) -> Result<Vec<u8>> {
    ensure!(length < LARGEST, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Reads a body in chunks.
fn chunks(stream: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)?;
        body.extend(read_body(stream, length)?);
        ensure!(body.len() < LARGEST, "a body of more than {LARGEST} bytes");
        read_line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// A signed token as its header and claims, without their times; an object of JSON as a tree; any
/// other text as it is.
fn signed(text: &str) -> Value {
    if let Ok(object @ Value::Object(_)) = serde_json::from_str(text) {
        return object;
    }
    let token = text.strip_prefix("Bearer ").unwrap_or(text);
    let part = |text: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, _] = parts[..] else {
        return Value::from(text);
    };
    let (Some(head), Some(mut claims)) = (part(head), part(claims)) else {
        return Value::from(text);
    };
    if let Some(claims) = claims.as_object_mut() {
        let life = match (claims.get("exp"), claims.get("iat").or(claims.get("nbf"))) {
            (Some(exp), Some(iat)) => exp.as_i64().zip(iat.as_i64()).map(|(e, i)| e - i),
            _ => None,
        };
        for time in ["exp", "iat", "nbf", "jti"] {
            if let Some(value) = claims.get_mut(time) {
                *value = Value::from("masked");
            }
        }
        claims.insert("life".to_owned(), Value::from(life));
    }
    json!({"header": head, "claims": claims})
}
