//! Hostile input: no panic, no quadratic time, spans that make sense, errors that quote nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use cpu_time::ThreadTime;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use selkie_text::yaml::{
    Edits, Kind, Limits, Scalar, Stream, Style, Value, append_entry, parse, parse_bytes,
    remove_entry, set_scalar, set_token,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    input: String,
}

static RECORDED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("goldens/trees.json")).unwrap();
    answers.into_iter().map(|answer| answer.input).collect()
});

fn check_spans(stream: &Stream<'_>) {
    let source = stream.source();
    let inside = |span: &Range<usize>, outer: &Range<usize>| {
        outer.start <= span.start && span.start <= span.end && span.end <= outer.end
    };
    let whole = 0..source.len();
    let mut end = 0;
    for document in stream.documents() {
        assert!(document.span.start >= end && inside(&document.span, &whole));
        end = document.span.end;
        assert!(inside(&stream.node(document.content).span, &document.span));
    }
    for (id, node) in stream.nodes() {
        assert!(inside(&node.span, &whole), "{node:?}");
        assert!(source.is_char_boundary(node.span.start) && source.is_char_boundary(node.span.end));
        if let Some(properties) = &node.properties {
            assert!(properties.end <= node.span.start && inside(properties, &whole));
        }
        let mut last = node.span.start;
        for child in &node.children {
            let child = stream.node(*child);
            assert_eq!(child.parent, Some(id));
            assert!(
                inside(&child.span, &node.span),
                "{source:?} {node:?} {child:?}"
            );
            let start = child
                .properties
                .as_ref()
                .map_or(child.span.start, |span| span.start);
            assert!(start >= last, "{source:?} {child:?}");
            last = child.span.end;
        }
        for comment in node.head.iter().chain(&node.line).chain(&node.foot) {
            assert!(inside(&comment.span, &whole));
            assert!(source[comment.span.clone()].starts_with('#'));
        }
        let text = &source[node.span.clone()];
        match (node.kind, node.style) {
            (Kind::Scalar, Style::SingleQuoted) => {
                assert!(text.len() > 1 && text.starts_with('\'') && text.ends_with('\''));
            }
            (Kind::Scalar, Style::DoubleQuoted) => {
                assert!(text.len() > 1 && text.starts_with('"') && text.ends_with('"'));
            }
            (Kind::Scalar, Style::Literal) => assert!(text.starts_with('|')),
            (Kind::Scalar, Style::Folded) => assert!(text.starts_with('>')),
            (Kind::Alias, _) => assert_eq!(&text[1..], node.value),
            _ => {}
        }
    }
}

fn try_bytes(bytes: &[u8]) {
    if let Ok(stream) = parse_bytes(bytes, &Limits::default()) {
        check_spans(&stream);
        for (id, _) in stream.nodes() {
            let _ = stream.resolve(id);
        }
        check_edits(&stream);
    }
}

/// Every value becomes a token and comes back; an entry is put in and taken out.
fn check_edits(stream: &Stream<'_>) {
    let source = stream.source();
    let mut edits = Edits::new();
    let value = Value::Map(vec![("version".to_owned(), Value::Str("1".to_owned()))]);
    for document in 0..stream.documents().len() {
        if stream.documents()[document].root.is_some_and(|root| {
            stream.node(root).kind == Kind::Mapping
                && stream
                    .entries(root)
                    .any(|(key, _)| stream.node(key).value == "sops")
        }) || append_entry(stream, &mut edits, document, "sops", &value, 4).is_err()
        {
            return;
        }
    }
    let with = edits.try_apply(source).unwrap();
    let sealed = parse(&with, &Limits::default())
        .unwrap_or_else(|error| panic!("{source:?} {:?} {error}", with.as_str()));
    let mut edits = Edits::new();
    for document in 0..stream.documents().len() {
        assert!(
            remove_entry(&sealed, &mut edits, document, "sops").unwrap(),
            "{source:?}"
        );
    }
    assert_eq!(
        edits.try_apply(&with).unwrap().as_str(),
        source,
        "{:?}",
        with.as_str()
    );

    let mut edits = Edits::new();
    let mut texts = Vec::new();
    let token = "ENC[AES256_GCM,data:6i+8sy0=,type:str]";
    for (id, node) in stream.nodes() {
        let value = node
            .parent
            .is_some_and(|parent| stream.entries(parent).any(|(_, value)| value == id));
        if value
            && node.kind == Kind::Scalar
            && matches!(stream.resolve(id), Ok(Scalar::Str(text)) if !text.is_empty())
        {
            set_token(stream, &mut edits, id, token, false);
            texts.push((id, node.value.to_string()));
        }
    }
    let with = edits.try_apply(source).unwrap();
    let sealed = parse(&with, &Limits::default())
        .unwrap_or_else(|error| panic!("{source:?} {:?} {error}", with.as_str()));
    let mut edits = Edits::new();
    for (id, text) in &texts {
        assert_eq!(
            sealed
                .node(*id)
                .value
                .trim_end_matches(['\n', '\u{2028}', '\u{2029}']),
            token,
            "{source:?} {:?}",
            with.as_str()
        );
        set_scalar(&sealed, &mut edits, *id, text, false);
    }
    let back = edits.try_apply(&with).unwrap();
    let again = parse(&back, &Limits::default())
        .unwrap_or_else(|error| panic!("{source:?} {:?} {error}", back.as_str()));
    assert_eq!(
        again.nodes().count(),
        stream.nodes().count(),
        "{source:?} {:?}",
        back.as_str()
    );
    for (old, new) in stream.nodes().zip(again.nodes()) {
        assert_eq!(old.1.value, new.1.value, "{source:?} {:?}", back.as_str());
    }
}

#[test]
fn spans_are_in_range_and_order_for_every_recorded_text() {
    for input in RECORDED.iter() {
        try_bytes(input.as_bytes());
        try_bytes(input.replace('\n', "\r\n").as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "[a-c \\n\\t:?,\\-\\[\\]{}#&*!|>'\"%1\\\\é\u{2028}\u{feff}\r.]{0,60}") {
        try_bytes(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        try_bytes(&bytes);
    }

    #[test]
    fn mutated_files_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = RECORDED[which.index(RECORDED.len())].clone().into_bytes();
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        try_bytes(&bytes);
    }
}

#[test]
fn hostile_texts_take_little_time() {
    let mut deep_block = String::new();
    for depth in 0..100_000_usize {
        deep_block.extend(std::iter::repeat_n(' ', depth.min(3_000)));
        deep_block.push_str("a:\n");
        if depth > 3_000 {
            break;
        }
    }
    let texts = [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(20_000),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        deep_block,
        "# comment\n".repeat(50_000) + "a: 1\n",
        "a: 1\n".to_owned() + &"# comment\n\n".repeat(50_000) + "b: 1\n",
        "a:\n  - b\n".to_owned() + &"  # c\n\n # d\n".repeat(20_000) + "z: 1\n",
        "[a, ".repeat(1_000) + &"b, ".repeat(50_000),
        "a ".repeat(200_000),
        "'a' ".repeat(100_000),
        "a\n".repeat(200_000),
        "\n".repeat(400_000) + "a: 1",
        "k: \"".to_owned() + &"\\\n".repeat(200_000),
        "k: |\n".to_owned() + &" \n".repeat(200_000),
        "[a,\n#c\n".repeat(1_500),
        "&a ".repeat(100_000),
        "!".repeat(300_000),
        "--- a\n".repeat(50_000),
    ];
    for text in texts {
        // Time of this thread, whatever else the machine does.
        let start = ThreadTime::now();
        let _ = parse(&text, &Limits::default());
        let taken = start.elapsed();
        assert!(
            taken < Duration::from_secs(3),
            "{:?} took {taken:?}",
            &text[..20]
        );
    }
}

#[test]
fn a_thousand_levels_work_and_a_hundred_thousand_are_refused() {
    let flow = |depth| format!("{}x{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| {
        (0..depth)
            .map(|at| " ".repeat(at) + "a:\n")
            .collect::<String>()
    };
    for text in [flow(1_000), block(1_000), "- ".repeat(1_000) + "x"] {
        let stream = parse(&text, &Limits::default()).unwrap();
        assert!(stream.nodes().count() >= 1_001);
        assert!(stream.duplicate_key(0).is_none());
    }
    for text in [flow(100_000), block(2_500), "- ".repeat(100_000)] {
        let error = parse(&text, &Limits::default()).unwrap_err();
        assert_eq!(error.reason, "nested more than 2000 deep");
    }
}

#[test]
fn alias_bombs_and_cycles_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    let error = parse(&bomb, &Limits::default()).unwrap_err();
    assert!(error.reason.starts_with("excessive aliasing"), "{error}");
    for cycle in [
        "a: &a [*a]\n",
        "&a a: *a\n",
        "a: &a\n  b: *a\n",
        "&r {x: {y: *r}}",
    ] {
        if let Err(error) = parse(cycle, &Limits::default()) {
            assert!(error.reason.contains("alias to itself"), "{error}");
        } else {
            // The anchor is on the key: no cycle.
            assert_eq!(cycle, "&a a: *a\n");
        }
    }
    let many = format!("a: &a {{x: 1, y: 2}}\nb: [{}]\n", "*a, ".repeat(300));
    assert!(parse(&many, &Limits::default()).is_ok());
}

#[test]
fn errors_say_where_and_why_and_quote_nothing() {
    for (text, at, part) in [
        ("a: hunter2: x\n", "line 1, column 11", "mapping value"),
        ("a: 1\n\tb: hunter2\n", "line 2, column 1", "spaces"),
        ("a: 'hunter2\n", "line 1, column 4", "not closed"),
        ("é: *hunter2\n", "line 1, column 4", "no anchor"),
        ("a: hunter2\nb\n", "line 2, column 1", "':'"),
        ("a: \"hunter2\\q\"\n", "line 1, column 12", "escape"),
        ("%YAML 1.2\n---\na: hunter2\n", "line 1, column 1", "1.1"),
        ("a: [hunter2\n", "line 2, column 1", "']'"),
    ] {
        let error = parse(text, &Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with(at), "{text:?}: {error}");
        assert!(
            error.contains(part) && !error.contains("hunter2"),
            "{error}"
        );
    }
    let utf16 = parse_bytes(b"\xff\xfea\0:\0", &Limits::default()).unwrap_err();
    assert!(utf16.reason.contains("UTF-16"));
    let broken = parse_bytes(b"a: 1\nb: \xff\n", &Limits::default()).unwrap_err();
    assert_eq!((broken.line, broken.column), (2, 4));
}

#[test]
fn verbatim_text_is_borrowed() {
    let source = "a: plain text\nb: 'quoted'\nc: \"double\"\nd: |\n  one line\ne: é\n";
    let stream = parse(source, &Limits::default()).unwrap();
    for (_, node) in stream.nodes() {
        let owned = matches!(node.value, std::borrow::Cow::Owned(_));
        assert!(!owned, "{:?}", &source[node.span.clone()]);
    }
}

#[test]
fn duplicate_keys_are_found_with_their_place() {
    let stream = parse("a: 1\nb:\n  c: 1\n  'c': 2\n", &Limits::default()).unwrap();
    let duplicate = stream.duplicate_key(0).unwrap();
    assert_eq!(stream.node(duplicate.second).line_number(), 4);
    assert!(
        parse("a: {b: 1}\nc: {b: 1}\n", &Limits::default())
            .unwrap()
            .duplicate_key(0)
            .is_none()
    );
}

#[test]
fn comments_that_go_yaml_drops_are_listed() {
    let source = "%YAML 1.1 # one\n---\na: [ # two\n  b # three\n  ]\n";
    let stream = parse(source, &Limits::default()).unwrap();
    let texts: Vec<_> = stream
        .unattached_comments()
        .iter()
        .map(|comment| stream.comment_text(comment))
        .collect();
    assert_eq!(texts, [" one", " two"]);
    assert_eq!(
        parse("# only\n", &Limits::default())
            .unwrap()
            .unattached_comments()
            .len(),
        1
    );
    // Every `#` line of the recorded texts is attached or listed, none twice.
    for input in RECORDED.iter() {
        let Ok(stream) = parse(input, &Limits::default()) else {
            continue;
        };
        let of_nodes = stream
            .nodes()
            .flat_map(|(_, node)| node.head.iter().chain(&node.line).chain(&node.foot));
        let of_documents = stream
            .documents()
            .iter()
            .flat_map(|document| document.head.iter().chain(&document.foot));
        let mut starts: Vec<usize> = of_nodes
            .chain(of_documents)
            .chain(stream.unattached_comments())
            .map(|comment| comment.span.start)
            .collect();
        let count = starts.len();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), count, "{input:?}");
        if !input.contains(['\'', '"', '|', '>']) {
            let lines = input
                .split(['\n', '\r'])
                .filter(|line| line.trim_start().starts_with('#'));
            assert!(lines.count() <= count, "{input:?}");
        }
    }
}

#[test]
fn debug_output_shows_no_text() {
    let source = "a: canary # canary\nb: [\"can\\x61ry\", 'canary']\nc: |\n  canary\n";
    let stream = parse(source, &Limits::default()).unwrap();
    assert!(!format!("{stream:?}").contains("canary"));
    for (_, node) in stream.nodes() {
        assert!(!format!("{node:?}").contains("canary"), "{node:?}");
    }
}
