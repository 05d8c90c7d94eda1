//! What of the API server's answers may be shown in a status, an Event or the log.
//!
//! Its words are not all its own: an admission webhook or policy puts its text in, and whoever may set
//! one up need not be allowed to read Secrets. kube's own `Display` shows the whole answer, details and
//! all, so no error of its goes into a message but through here.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use kube::{core::Status, runtime::watcher};
use selkie_secret::{SecretBytes, SecretString};

/// Values shorter than this, in bytes, are not looked for: they stand in any sentence.
const SHORTEST: usize = 3;
/// Lines of a value shorter than this are not looked for on their own.
const SHORTEST_LINE: usize = 8;
/// kube's reason for an answer that is no `Status`: its message is the whole body then.
const NO_STATUS: &str = "Failed to parse error data";

/// Returns what may be shown of an error about a request that carried no value.
pub fn cause(error: &kube::Error) -> String {
    shown(error, [])
}

/// Returns what may be shown of an error about a Secret with these values.
///
/// The attack: somebody who may register an admission webhook, or write a policy, but not read
/// Secrets, has it refuse each Secret with the values in its message, and reads them in the status or
/// the Events of the resource that the Secret is made for. So of such an answer only reason, code and
/// name are shown; and no message at all that holds one of the values, as it is or encoded.
pub fn shown<'a>(error: &kube::Error, values: impl IntoIterator<Item = &'a SecretBytes>) -> String {
    let kube::Error::Api(status) = error else {
        return match error {
            // It names what was found where something else was expected.
            kube::Error::SerdeError(_) => "its answer cannot be read".to_owned(),
            other => hidden_if(other.to_string(), values, || {
                "the message holds a value and is not shown".to_owned()
            }),
        };
    };
    let text = of_status(status);
    hidden_if(text, values, || {
        format!(
            "{}; the message holds a value and is not shown",
            head(status)
        )
    })
}

/// Returns what may be shown of an error of a watch.
pub fn watch_cause(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => cause(error),
        watcher::Error::WatchError(status) => of_status(status),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Its own words for a refused request, with the code.
fn of_status(status: &Status) -> String {
    if let Some(admission) = admission(&status.message) {
        return format!("{admission} ({})", head(status));
    }
    if status.reason == NO_STATUS {
        return format!("it answered {}, and not as an API server does", status.code);
    }
    format!("{} ({})", status.message, status.code)
}

fn head(status: &Status) -> String {
    match &*status.reason {
        "" | NO_STATUS => status.code.to_string(),
        reason => format!("{reason}, {}", status.code),
    }
}

/// Returns what to say instead of a message that somebody else wrote a part of: Kubernetes quotes
/// whoever refused, a webhook that could not be asked, and the policy and binding that refused.
fn admission(message: &str) -> Option<String> {
    let quoted = |after: &str| {
        let rest = message.split_once(after)?.1;
        let name = rest.split_once(['"', '\''])?.0;
        // Names of these are DNS names; anything else is not theirs.
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        (!name.is_empty() && name.len() <= 253 && name.chars().all(is_name)).then_some(name)
    };
    for (after, what) in [
        ("failed calling webhook \"", "could not be asked"),
        ("admission webhook \"", "denied the request"),
    ] {
        if let Some(name) = quoted(after) {
            return Some(format!(
                "admission webhook {name:?} {what}; its message is not shown, it may hold values"
            ));
        }
    }
    for kind in ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"] {
        if let Some(name) = quoted(&format!("{kind} '")) {
            return Some(format!(
                "{kind} {name:?} denied the request; its message is not shown, it may hold values"
            ));
        }
    }
    let message = message.to_ascii_lowercase();
    [
        "webhook",
        "admissionpolicy",
        "admission policy",
        "denied the request",
        "denied request",
    ]
    .iter()
    .any(|word| message.contains(word))
    .then(|| {
        "an admission plugin denied the request; its message is not shown, it may hold values"
            .to_owned()
    })
}

fn hidden_if<'a>(
    text: String,
    values: impl IntoIterator<Item = &'a SecretBytes>,
    instead: impl FnOnce() -> String,
) -> String {
    let leaks = values.into_iter().any(|value| holds(&text, value));
    if leaks { instead() } else { text }
}

/// Whether a text holds a value: as it is, one of its longer lines, as a JSON string, or as base64.
fn holds(text: &str, value: &SecretBytes) -> bool {
    let bytes = value.expose();
    if bytes.len() < SHORTEST {
        return false;
    }
    let found = |form: String| {
        let form = SecretString::new(form);
        text.contains(form.expose())
    };
    if found(BASE64_STANDARD_NO_PAD.encode(bytes)) || found(BASE64_URL_SAFE_NO_PAD.encode(bytes)) {
        return true;
    }
    let Ok(plain) = std::str::from_utf8(bytes) else {
        return false;
    };
    let trimmed = plain.trim();
    let as_it_is = trimmed.len() >= SHORTEST && text.contains(trimmed);
    let a_line = plain
        .lines()
        .map(str::trim)
        .any(|line| line.len() >= SHORTEST_LINE && (text.contains(line) || found(in_json(line))));
    as_it_is
        || a_line
        || (trimmed.len() >= SHORTEST && (found(in_json(trimmed)) || found(in_go_json(trimmed))))
}

/// The inside of a JSON string.
fn in_json(text: &str) -> String {
    let mut quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.pop();
    if !quoted.is_empty() {
        quoted.remove(0);
    }
    quoted
}

/// As Go's encoding/json writes it, which escapes what has a meaning in HTML.
fn in_go_json(text: &str) -> String {
    let quoted = SecretString::new(in_json(text));
    let mut escaped = String::with_capacity(quoted.len() * 6);
    for c in quoted.expose().chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn a_value_in_a_message_hides_it_in_every_form() {
        let value = SecretBytes::new(b"can\"ary-<4711>\n".to_vec());
        let values = [value];
        for message in [
            "bad value can\"ary-<4711>",
            r#"bad value "can\"ary-<4711>\n""#,
            r#"bad value "can\"ary-\u003c4711\u003e\n""#,
            "bad value Y2FuImFyeS08NDcxMT4K",
            "bad value Y2FuImFyeS08NDcxMT4K==",
        ] {
            let text = shown(&refused(422, "Invalid", message), &values);
            assert_eq!(
                text, "Invalid, 422; the message holds a value and is not shown",
                "{message}"
            );
        }
        assert_eq!(
            shown(&refused(422, "Invalid", "data[k]: Required value"), &values),
            "data[k]: Required value (422)"
        );
    }

    #[test]
    fn base64_is_found_without_its_padding_and_a_line_of_a_key_as_well() {
        let values = [SecretBytes::new(b"canary".to_vec())];
        let padded = [SecretBytes::new(b"canary-1".to_vec())];
        let lines = [SecretBytes::new(
            b"-----BEGIN-----\ncanary-of-a-key\n-----END-----\n".to_vec(),
        )];
        for (values, message) in [
            (&values, "Y2FuYXJ5"),
            (&padded, "Y2FuYXJ5LTE="),
            (&padded, "Y2FuYXJ5LTE"),
            (&lines, "it has canary-of-a-key in it"),
        ] {
            let text = shown(&refused(400, "", message), values);
            assert_eq!(text, "400; the message holds a value and is not shown");
        }
    }

    #[test]
    fn short_and_empty_values_hide_nothing() {
        let values = [SecretBytes::default(), SecretBytes::new(b"a".to_vec())];
        assert_eq!(
            shown(&refused(403, "Forbidden", "a is forbidden"), &values),
            "a is forbidden (403)"
        );
    }

    /// Not even where no value is found: what the object held before may be in it.
    #[test]
    fn of_admission_only_the_name_is_shown() {
        for (message, expected) in [
            (
                r#"admission webhook "v.example.com" denied the request: old-canary"#,
                r#"admission webhook "v.example.com" denied the request; its message is not shown, it may hold values (Forbidden, 403)"#,
            ),
            (
                r#"Internal error occurred: failed calling webhook "v.example.com": an error on the server ("old-canary")"#,
                r#"admission webhook "v.example.com" could not be asked; its message is not shown, it may hold values (Forbidden, 403)"#,
            ),
            (
                "secrets \"db\" is forbidden: ValidatingAdmissionPolicy 'p.example.com' with binding 'b' denied request: old-canary",
                "ValidatingAdmissionPolicy \"p.example.com\" denied the request; its message is not shown, it may hold values (Forbidden, 403)",
            ),
            (
                r#"admission webhook "old canary" denied the request: x"#,
                "an admission plugin denied the request; its message is not shown, it may hold values (Forbidden, 403)",
            ),
        ] {
            assert_eq!(cause(&refused(403, "Forbidden", message)), expected);
        }
    }

    #[test]
    fn a_body_that_is_no_status_is_not_shown() {
        let error = refused(502, NO_STATUS, "<html>old-canary</html>");
        assert_eq!(
            cause(&error),
            "it answered 502, and not as an API server does"
        );
    }
}
