//! Templates that would never end or fill the memory hit a limit; none panics, whatever it is.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use selkie_secret::SecretBytes;
use selkie_template::{Data, Env, Error, Functions, Limit, Limits, MissingKey, Template};

const SECRET: &str = "s3cr3t-canary";

fn values() -> BTreeMap<String, SecretBytes> {
    BTreeMap::from([(
        "password".to_owned(),
        SecretBytes::from(SECRET.as_bytes().to_vec()),
    )])
}

fn render_with(
    source: &str,
    limits: &Limits,
    expired: &dyn Fn() -> bool,
) -> Result<Vec<u8>, Error> {
    let template = Template::parse("hostile", source, Functions::sealed_secrets(), limits)?;
    let mut env = Env {
        now: &|| jiff::Timestamp::UNIX_EPOCH,
        expired,
        random: &mut |bytes| bytes.fill(7),
        local: jiff::tz::TimeZone::UTC,
        zones: jiff::tz::TimeZoneDatabase::none(),
    };
    let rendered = template.render(&Data::texts(&values()), &mut env)?;
    Ok(rendered.expose().to_vec())
}

fn render(source: &str) -> Result<Vec<u8>, Error> {
    render_with(source, &Limits::default(), &|| false)
}

fn limit(source: &str) -> Limit {
    match render(source) {
        Err(Error::Limit { limit, .. }) => limit,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn endless_and_deep_templates_end() {
    let mut wrong = Vec::new();
    for (source, wanted) in [
        (
            r#"{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}"#,
            Limit::Depth,
        ),
        (r#"{{ template "hostile" . }}"#, Limit::Depth),
        (
            r#"{{ define "a" }}{{ template "b" }}{{ end }}{{ define "b" }}{{ template "a" }}{{ end }}{{ template "b" }}"#,
            Limit::Depth,
        ),
        (
            r#"{{ define "a" }}{{ range until 100 }}{{ template "b" . }}{{ end }}{{ end }}{{ define "b" }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}{{ template "a" }}"#,
            Limit::Work,
        ),
        ("{{ range 9223372036854775807 }}{{ end }}", Limit::Steps),
        (
            "{{ range 9223372036854775807 }}0123456789{{ end }}",
            Limit::Output,
        ),
        ("{{ until 9223372036854775807 }}", Limit::Steps),
        ("{{ untilStep 0 9223372036854775807 1 }}", Limit::Steps),
        (
            "{{ untilStep -9223372036854775808 9223372036854775807 5 }}",
            Limit::Steps,
        ),
        ("{{ seq 1 1000000000 }}", Limit::Steps),
        (
            "{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}",
            Limit::Work,
        ),
        ("{{ repeat 1000000000 \"ab\" }}", Limit::Work),
        ("{{ repeat 9223372036854775807 \"ab\" }}", Limit::Work),
        (
            "{{ repeat 3000 (repeat 3000 (repeat 3000 \"a\")) }}",
            Limit::Work,
        ),
        (
            "{{ $s := \"ab\" }}{{ range until 100 }}{{ $s = print $s $s }}{{ end }}",
            Limit::Work,
        ),
        (
            "{{ $s := \"ab\" }}{{ range until 100 }}{{ $s = replace \"a\" $s $s }}{{ end }}",
            Limit::Work,
        ),
        (
            "{{ $l := list 1 }}{{ range until 50 }}{{ $l = list $l $l }}{{ end }}{{ toJson $l }}",
            Limit::Work,
        ),
        (
            "{{ $l := list 1 }}{{ range until 50 }}{{ $l = list $l $l }}{{ end }}{{ $l }}",
            Limit::Output,
        ),
        (
            "{{ $l := list 1 }}{{ range until 50 }}{{ $l = list $l $l }}{{ end }}{{ deepCopy $l }}",
            Limit::Work,
        ),
        (
            "{{ $l := list 1 }}{{ $m := list 2 }}{{ range until 50 }}{{ $l = list $l $l }}{{ $m = list $m $m }}{{ end }}{{ deepEqual (list $l 1) (list $l 2) }}{{ $n := deepCopy $m }}",
            Limit::Work,
        ),
        (
            "{{ $l := list }}{{ range until 100000 }}{{ $l = list $l }}{{ end }}",
            Limit::Depth,
        ),
        (
            "{{ $l := list 1 }}{{ range until 100000 }}{{ $l = concat $l $l }}{{ end }}",
            Limit::Work,
        ),
        (
            "{{ printf \"%1000000d\" 1 | printf \"%s%s%s%s%s%s%s%s\" \"a\" | printf \"%999999s\" | repeat 100 }}",
            Limit::Work,
        ),
        (
            "{{ printf \"%999999d %999999d %999999d\" 1 2 3 }}",
            Limit::Output,
        ),
        ("{{ indent 1000000000 \"a\\nb\" }}", Limit::Work),
        (
            "{{ trimAll (print (repeat 1000000 \"a\") \"b\") (repeat 5000000 \"b\") | repeat 99 }}{{ repeat 99999999 \"x\" }}",
            Limit::Work,
        ),
        (
            "{{ replace (print (repeat 1000000 \"a\") \"b\") \"\" (repeat 5000000 \"a\") }}{{ repeat 99999999 \"x\" }}",
            Limit::Output,
        ),
        ("{{ splitList \"\" (repeat 9000000 \"x\") }}", Limit::Steps),
        ("{{ split \"x\" (repeat 9000000 \"x\") }}", Limit::Steps),
        (
            "{{ regexMatch `(\\pL{9}|.{50}){40}x` \"a\" }}",
            Limit::Pattern,
        ),
        (
            "{{ regexMatch `(a{20}|[^b]c){20}x` (repeat 9000000 \"a\") }}",
            Limit::Steps,
        ),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ $d }}",
            Limit::Depth,
        ),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ toJson $d }}",
            Limit::Depth,
        ),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ deepCopy $d }}",
            Limit::Depth,
        ),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ $e := dict }}{{ $_ := set $e \"d\" $e }}{{ deepEqual $d $e }}",
            Limit::Depth,
        ),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ $e := dict }}{{ $_ := set $e \"d\" $e }}{{ merge $d $e }}",
            Limit::Depth,
        ),
        ("{{ randAlphaNum 1000000000 }}", Limit::Steps),
        ("{{ randBytes 1000000000 }}", Limit::Work),
        (
            "{{ range until 100 }}{{ bcrypt \"x\" }}{{ end }}",
            Limit::Steps,
        ),
        (
            "{{ range until 100000 }}{{ $_ := regexMatch (print \"a\" .) \"x\" }}{{ end }}",
            Limit::Steps,
        ),
        (
            "{{ join (repeat 100000 \"x\") (until 100000) }}",
            Limit::Work,
        ),
        (
            "{{ range until 1000 }}{{ $_ := repeat 1000000 \"x\" | upper }}{{ end }}",
            Limit::Work,
        ),
    ] {
        let begin = Instant::now();
        let hit = limit(source);
        if hit != wanted || begin.elapsed() > Duration::from_secs(60) {
            let took = begin.elapsed();
            wrong.push(format!(
                "{source}: {hit:?} and not {wanted:?}, after {took:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn deep_sources_end() {
    let deep = [
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        "{{ if true }}".repeat(50_000),
        "{{ range . }}".repeat(50_000),
        "{{ with . }}".repeat(50_000),
        "{{ block \"a\" . }}".repeat(50_000),
        format!("{{{{ {}1 }}}}", "print (".repeat(50_000)),
    ];
    for source in deep {
        assert_eq!(limit(&source), Limit::Depth);
    }
    let long = "x".repeat(2 << 20);
    assert_eq!(limit(&long), Limit::Source);
    // A long chain is not deep.
    let chain = format!(
        "{{{{ if 0 }}}}{}{{{{ end }}}}",
        "{{ else if 0 }}".repeat(50_000)
    );
    assert_eq!(render(&chain).unwrap(), b"");
}

#[test]
fn the_deepest_that_is_allowed_fits_into_a_thread() {
    let depth = 96;
    let nested = format!(
        "{}x{}",
        "{{ if true }}".repeat(depth),
        "{{ end }}".repeat(depth)
    );
    assert_eq!(render(&nested).unwrap(), b"x");
    let nested = format!(
        "{{{{ {}1{} }}}}",
        "(print ".repeat(depth),
        ")".repeat(depth)
    );
    assert_eq!(render(&nested).unwrap(), b"1");
    let json = format!(
        "{{{{ fromJson `{}1{}` | toJson | len }}}}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    assert_eq!(
        render(&json).unwrap(),
        (2 * depth + 1).to_string().as_bytes()
    );
    let recursive = r#"{{ define "a" }}{{ if gt . 0 }}{{ template "a" (int (sub . 1)) }}{{ end }}{{ end }}{{ template "a" 45 }}"#;
    assert_eq!(render(recursive).unwrap(), b"");
}

#[test]
fn time_is_looked_at() {
    let looks = Cell::new(0u32);
    let expired = || {
        looks.set(looks.get() + 1);
        looks.get() > 3
    };
    let source = "{{ range 9223372036854775807 }}{{ end }}";
    match render_with(source, &Limits::default(), &expired) {
        Err(Error::Limit { limit, .. }) => assert_eq!(limit, Limit::Time),
        other => panic!("{other:?}"),
    }
    // Slow functions look by themselves.
    for source in [
        "{{ bcrypt \"x\" }}",
        "{{ genPrivateKey \"rsa\" }}",
        "{{ derivePassword 1 \"pin\" \"a\" \"b\" \"c\" }}",
    ] {
        match render_with(source, &Limits::default(), &|| true) {
            Err(Error::Limit { limit, .. }) => assert_eq!(limit, Limit::Time),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_message_shows_a_value() {
    for source in [
        "{{ fail .password }}",
        "{{ fail (print \"x\" .password) }}",
        "{{ .password.x }}",
        "{{ index .password .password }}",
        "{{ range .password }}{{ end }}",
        "{{ mustRegexMatch (print \"(\" .password) \"x\" }}",
        "{{ mustFromJson .password }}",
        "{{ mustToDate \"2006\" .password }}",
        "{{ mustDateModify .password now }}",
        "{{ semver .password }}",
        "{{ semverCompare .password \"1.0.0\" }}",
        "{{ urlParse (print \"http://\" .password \":x\") }}",
        "{{ decryptAES \"k\" .password }}",
        "{{ genSelfSignedCert \"a\" (list .password) nil 1 }}",
        "{{ genCAWithKey \"a\" 1 .password }}",
        "{{ eq (list .password) (list .password) }}",
        "{{ call .password }}",
        "{{ lt .password 1 }}",
        "{{ append .password 1 }}",
        "{{ dig .password .password .password }}",
        "{{ urlJoin (dict \"scheme\" (list .password)) }}",
        "{{ template \"x\" .password }}",
        "{{ trunc .password \"x\" }}",
        "{{ .password \"x\" }}",
    ] {
        let error = render(source).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{source}: {shown}");
    }
    let error = render("{{ fail \"a literal\" }}").unwrap_err();
    assert!(
        error.to_string().ends_with("error calling fail: a literal"),
        "{error}"
    );
}

#[test]
fn a_missing_key_can_be_an_error() {
    let template = Template::parse(
        "strict",
        "{{ .nope }}",
        Functions::sealed_secrets(),
        &Limits::default(),
    );
    let template = template.unwrap().missing_key(MissingKey::Error);
    let mut env = Env {
        now: &|| jiff::Timestamp::UNIX_EPOCH,
        expired: &|| false,
        random: &mut |bytes| bytes.fill(7),
        local: jiff::tz::TimeZone::UTC,
        zones: jiff::tz::TimeZoneDatabase::none(),
    };
    let error = template
        .render(&Data::texts(&values()), &mut env)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: strict:1:3: executing \"strict\" at <.nope>: map has no entry for key \"nope\""
    );
    assert_eq!(format!("{template:?}"), "Template { name: \"strict\", .. }");
}
