//! Templates: whatever the source, parsing and rendering end without a panic, within the limits, and tell no value.

use std::collections::BTreeMap;

use selkie_template::{Data, Env, Error, Functions, Limits, Template};
use zeroize::Zeroizing;

/// A value that no template can write by itself.
const CANARY: &str = "c4n4ry-7f3a";

/// Parses and renders a template over fixed data.
pub fn renders(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    // Slow functions are tested elsewhere; here they would only slow down the search.
    if ["bcrypt", "htpasswd", "derivePassword", "gen"].iter().any(|slow| source.contains(slow)) {
        return;
    }
    let mut limits = Limits::default();
    limits.steps = 50_000;
    limits.work = 4 << 20;
    limits.output = 1 << 20;
    let template = match Template::parse("fuzz", source, Functions::sealed_secrets(), &limits) {
        Ok(template) => template,
        Err(error) => return check(source, &error),
    };
    let values = BTreeMap::from([
        ("a".to_owned(), CANARY.as_bytes().to_vec().into()),
        ("b".to_owned(), Vec::new().into()),
    ]);
    let mut env = Env {
        now: &|| jiff::Timestamp::UNIX_EPOCH,
        expired: &|| false,
        random: &mut |bytes| bytes.fill(7),
        local: jiff::tz::TimeZone::UTC,
        zones: jiff::tz::TimeZoneDatabase::none(),
    };
    match template.render(&Data::texts(&values), &mut env) {
        Ok(rendered) => assert!(rendered.len() <= limits.output),
        Err(error) => check(source, &error),
    }
    let json = Zeroizing::new(br#"{"a":[1,"x",null,{"k":2.5}],"b":{}}"#.to_vec());
    if let Err(error) = template.render(&Data::json(&json), &mut env) {
        check(source, &error);
    }
}

fn check(source: &str, error: &Error) {
    assert!(source.contains(CANARY) || !error.to_string().contains(CANARY));
}
