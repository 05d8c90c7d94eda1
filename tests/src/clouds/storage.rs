//! Cloud Storage of Google: one bucket, uploads of one request, by media or by parts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Answer, Request, lock};

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// What is in it.
    pub content: String,
    /// Its type.
    pub content_type: String,
}

/// The bucket `team`.
#[derive(Default)]
pub(super) struct Storage(Mutex<BTreeMap<String, StoredObject>>);

impl Storage {
    pub(super) fn objects(&self) -> BTreeMap<String, StoredObject> {
        lock(&self.0).clone()
    }

    /// Answers an upload. At the service's own name an account is needed, at another one this is an
    /// emulator.
    pub(super) fn answer(
        &self,
        request: &Request,
        accepts: impl Fn(&str) -> bool,
    ) -> Option<Answer> {
        let bucket = request.path.strip_prefix("/upload/storage/v1/b/")?;
        let bucket = bucket.strip_suffix("/o")?;
        let known = request.header("authorization");
        if request.host == "storage.googleapis.com" && !accepts(known) {
            return Some(refused(401, "Anonymous caller does not have access."));
        }
        if bucket != "team" {
            return Some(refused(404, "The specified bucket does not exist."));
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let query = |name: &str| request.query.get(name).map_or("", String::as_str);
        let content_type = request.header("content-type").to_owned();
        let (name, object) = match query("uploadType") {
            "media" => (
                query("name").to_owned(),
                StoredObject {
                    content: body,
                    content_type,
                },
            ),
            "multipart" => parts(&body, &content_type)?,
            _ => return Some(refused(400, "Bad Request")),
        };
        lock(&self.0).insert(name.clone(), object);
        let answer = json!({"kind": "storage#object", "bucket": bucket, "name": name});
        Some(Answer::json(200, &answer))
    }
}

/// Reads `multipart/related`: JSON that names the object, and its content.
fn parts(body: &str, content_type: &str) -> Option<(String, StoredObject)> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = format!("--{}", boundary.trim_matches('"'));
    let mut parts = body.split(&boundary).skip(1).map(|part| {
        let (head, content) = part.split_once("\r\n\r\n").unwrap_or_default();
        let content = content.strip_suffix("\r\n").unwrap_or(content);
        (head, content)
    });
    let (_, about) = parts.next()?;
    let (head, content) = parts.next()?;
    let about: Value = serde_json::from_str(about).ok()?;
    let content_type = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-type");
        named.then(|| value.trim().to_owned())
    });
    let object = StoredObject {
        content: content.to_owned(),
        content_type: content_type?,
    };
    Some((about["name"].as_str()?.to_owned(), object))
}

fn refused(code: u16, message: &str) -> Answer {
    Answer::json(code, &json!({"error": {"code": code, "message": message}}))
}
