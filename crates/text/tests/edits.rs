//! Edits on every text that go-yaml accepts in the recorded suite: what was put in is read back,
//! what was not edited keeps its bytes, and taking it out gives the file back.
#![allow(clippy::unwrap_used, missing_docs)]

use selkie_text::yaml::{
    Comment, Edits, Kind, Limits, NodeId, Scalar, Stream, Style, Value, append_entry, expand_alias,
    item_to_comment, parse, remove_entry, set_comment, set_scalar, set_scalar_raw, set_token,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    input: String,
}

const TOKEN: &str = "ENC[AES256_GCM,data:6i+8sy0=,iv:ZGVmZ2hpamts=,tag:wsFjvA==,type:str]";

/// What go-yaml accepts and has no key `sops` yet.
fn inputs() -> Vec<String> {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("goldens/trees.json")).unwrap();
    let clear = |input: &String| {
        read(input).is_ok_and(|stream| !stream.nodes().any(|(_, node)| node.value == "sops"))
    };
    answers
        .into_iter()
        .map(|answer| answer.input)
        .filter(clear)
        .collect()
}

fn read(source: &str) -> Result<Stream<'_>, String> {
    parse(source, &Limits::default()).map_err(|error| error.to_string())
}

fn metadata() -> Value {
    let text = |text: &str| Value::Str(text.to_owned());
    Value::Map(vec![
        (
            "age".to_owned(),
            Value::Seq(vec![Value::Map(vec![
                ("recipient".to_owned(), text("age1x")),
                (
                    "enc".to_owned(),
                    text("-----BEGIN AGE\nYWdl\n-----END AGE\n"),
                ),
            ])]),
        ),
        (
            "lastmodified".to_owned(),
            Value::Quoted("2026-01-01T00:00:00Z".to_owned()),
        ),
        ("version".to_owned(), text("3.13.3")),
    ])
}

/// All values of a stream as lines, without positions, comments and styles.
fn values(stream: &Stream<'_>, skip_key: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for document in stream.documents() {
        lines.push("document".to_owned());
        if document.root.is_some() {
            collect(stream, document.content, skip_key, &mut lines);
        }
    }
    lines
}

fn collect(stream: &Stream<'_>, id: NodeId, skip_key: &str, lines: &mut Vec<String>) {
    let node = stream.node(stream.target(id));
    match node.kind {
        Kind::Mapping => {
            lines.push("{".to_owned());
            for (key, value) in stream.entries(stream.target(id)) {
                if stream.node(key).value == skip_key {
                    continue;
                }
                collect(stream, key, skip_key, lines);
                collect(stream, value, skip_key, lines);
            }
            lines.push("}".to_owned());
        }
        Kind::Sequence => {
            lines.push("[".to_owned());
            for child in &node.children {
                collect(stream, *child, skip_key, lines);
            }
            lines.push("]".to_owned());
        }
        _ if stream.short_tag(id) == "!!null" => lines.push("null".to_owned()),
        _ => lines.push(format!("{} {}", stream.short_tag(id), node.value)),
    }
}

fn is_mapping(stream: &Stream<'_>, document: usize) -> bool {
    let document = &stream.documents()[document];
    document
        .root
        .is_none_or(|root| stream.node(root).kind == Kind::Mapping)
}

#[test]
fn removing_what_was_appended_gives_the_file_back() {
    let (mut count, mut failures) = (0, Vec::new());
    for input in inputs() {
        let stream = read(&input).unwrap();
        let documents = stream.documents().len();
        if documents == 0 || !(0..documents).all(|document| is_mapping(&stream, document)) {
            continue;
        }
        count += 1;
        let mut edits = Edits::new();
        for document in 0..documents {
            append_entry(&stream, &mut edits, document, "sops", &metadata(), 4).unwrap();
        }
        let with = edits.try_apply(&input).unwrap();
        let with_stream = match read(&with) {
            Ok(stream) => stream,
            Err(error) => {
                failures.push(format!("{input:?} -> {:?}\n  {error}", with.as_str()));
                continue;
            }
        };
        if values(&stream, "sops") != values(&with_stream, "sops")
            && !stream
                .documents()
                .iter()
                .any(|document| document.root.is_none())
        {
            failures.push(format!(
                "{input:?} -> {:?}\n  values changed",
                with.as_str()
            ));
            continue;
        }
        for document in 0..documents {
            let root = with_stream.node(with_stream.documents()[document].content);
            let (key, value) = (
                root.children[root.children.len() - 2],
                root.children[root.children.len() - 1],
            );
            assert_eq!(with_stream.node(key).value, "sops", "{input:?}");
            assert_eq!(with_stream.node(value).children.len(), 6, "{input:?}");
        }
        let mut edits = Edits::new();
        for document in 0..documents {
            assert!(remove_entry(&with_stream, &mut edits, document, "sops").unwrap());
        }
        let back = edits.try_apply(&with).unwrap();
        if *back != input {
            failures.push(format!(
                "{input:?}\n  with {:?}\n  back {:?}",
                with.as_str(),
                back.as_str()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count > 300, "{count}");
}

fn is_value(stream: &Stream<'_>, id: NodeId) -> bool {
    let node = stream.node(id);
    let key = node.parent.is_some_and(|parent| {
        let parent = stream.node(parent);
        parent.kind == Kind::Mapping && parent.children.iter().step_by(2).any(|key| *key == id)
    });
    node.kind == Kind::Scalar && !key
}

/// A form that the token's place can carry (issue 3: all others come back in canonical form).
fn comes_back(stream: &Stream<'_>, id: NodeId) -> bool {
    let node = stream.node(id);
    let source = &stream.source()[node.span.clone()];
    let verbatim =
        node.tag.is_none() && !source.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    match node.style {
        Style::SingleQuoted => verbatim,
        Style::DoubleQuoted => verbatim && !source.contains('\\'),
        Style::Literal => {
            let block = node.block.as_ref().unwrap();
            let body = source.find(['\n', '\r']).map_or("", |at| &source[at..]);
            // Blank lines carry no blanks of their own; breaks are those of the file.
            let blank = |line: &str| {
                !line.is_empty() && line.trim_matches(' ').is_empty() && line.len() <= block.indent
            };
            let odd_breaks =
                node.value.contains(['\u{85}', '\u{2028}', '\u{2029}']) || body.contains('\u{85}');
            let mixed =
                body.contains('\r') && stream.source().replace("\r\n", "").contains(['\n', '\r']);
            let blanks = body.split(['\n', '\r']).any(blank);
            node.tag.is_none() && !odd_breaks && !mixed && !blanks
        }
        Style::Folded => false,
        _ => verbatim,
    }
}

#[test]
fn tokens_keep_the_style_and_text_comes_back() {
    let (mut count, mut exact, mut failures) = (0, 0, Vec::new());
    for input in inputs() {
        let stream = read(&input).unwrap();
        let mapping = !stream.documents().is_empty()
            && (0..stream.documents().len()).all(|document| is_mapping(&stream, document));
        let leaves: Vec<(NodeId, bool)> = stream
            .nodes()
            .filter(|(id, node)| {
                is_value(&stream, *id) && !node.value.is_empty() && node.parent.is_some()
            })
            .filter_map(|(id, _)| match stream.resolve(id) {
                Ok(Scalar::Str(_) | Scalar::Merge | Scalar::Binary(_)) => Some((id, true)),
                Ok(Scalar::Null) | Err(_) => None,
                Ok(_) => Some((id, false)),
            })
            .collect();
        if leaves.is_empty() {
            continue;
        }
        count += 1;
        let mut edits = Edits::new();
        for (id, _) in &leaves {
            set_token(&stream, &mut edits, *id, TOKEN, false);
        }
        if mapping {
            for document in 0..stream.documents().len() {
                append_entry(&stream, &mut edits, document, "sops", &metadata(), 4).unwrap();
            }
        }
        let sealed = edits.try_apply(&input).unwrap();
        let sealed_stream = match read(&sealed) {
            Ok(stream) => stream,
            Err(error) => {
                failures.push(format!("{input:?} -> {:?}\n  {error}", sealed.as_str()));
                continue;
            }
        };
        let tokens: Vec<NodeId> = sealed_stream
            .nodes()
            .filter(|(id, node)| is_value(&sealed_stream, *id) && node.value.starts_with("ENC["))
            .map(|(id, _)| id)
            .collect();
        let whole = tokens
            .iter()
            .all(|id| sealed_stream.node(*id).value.trim_end_matches('\n') == TOKEN);
        if tokens.len() != leaves.len() || !whole {
            failures.push(format!(
                "{input:?} -> {:?}\n  {} of {} tokens",
                sealed.as_str(),
                tokens.len(),
                leaves.len()
            ));
            continue;
        }
        let mut edits = Edits::new();
        if mapping {
            for document in 0..stream.documents().len() {
                assert!(remove_entry(&sealed_stream, &mut edits, document, "sops").unwrap());
            }
        }
        for (token, (leaf, string)) in tokens.iter().zip(&leaves) {
            let node = stream.node(*leaf);
            if *string {
                set_scalar(&sealed_stream, &mut edits, *token, &node.value, false);
            } else {
                set_scalar_raw(&sealed_stream, &mut edits, *token, &node.value, false);
            }
        }
        let back = edits.try_apply(&sealed).unwrap();
        if leaves.iter().all(|(id, _)| comes_back(&stream, *id)) {
            exact += 1;
            if *back != input {
                failures.push(format!(
                    "{input:?}\n  sealed {:?}\n  back   {:?}",
                    sealed.as_str(),
                    back.as_str()
                ));
                continue;
            }
        }
        let Ok(again) = read(&back) else {
            failures.push(format!(
                "{input:?}\n  back {:?} does not parse",
                back.as_str()
            ));
            continue;
        };
        let text = |stream: &Stream<'_>| -> Vec<String> {
            let scalars = stream.nodes().filter(|(_, node)| node.kind == Kind::Scalar);
            scalars.map(|(_, node)| node.value.to_string()).collect()
        };
        if text(&stream) != text(&again) {
            failures.push(format!(
                "{input:?}\n  sealed {:?}\n  back   {:?}: values differ",
                sealed.as_str(),
                back.as_str()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count > 500 && exact > 300, "{count} {exact}");
}

/// Texts with every awkward edge.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a",
        "a b",
        " a",
        "a ",
        "a\n",
        "a\n\n",
        "\na",
        "\n\na\n",
        "\n",
        "\n\n\n",
        " ",
        "  a\n b\n",
        "a\n  b\nc",
        "a\n\nb\n",
        "a\n \nb",
        "\ta",
        "a\tb",
        "\ta\nb",
        "it's",
        "say \"x\"",
        "back\\slash",
        "yes",
        "null",
        "~",
        "12",
        "1.5",
        "true",
        "0x1F",
        "2001-01-01",
        "12:30:45",
        "<<",
        "=",
        "a: b",
        "a #b",
        "#a",
        "- a",
        "-",
        "?",
        "? a",
        ": a",
        "a:",
        ":",
        "[a]",
        "{a}",
        "a, b",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "---",
        "--- a",
        "...",
        "a\r\nb",
        "\r",
        "\u{85}",
        "a\u{2028}b",
        "\u{feff}a",
        "é",
        "日本語",
        "😀",
        "\u{7}",
        "\u{a0}",
        "\0",
        "\u{fffe}",
        "a\u{7f}",
        "a\n\n\n",
        "   ",
        "a\n   ",
        "a\n   \n",
        "x]",
        "ENC[x]",
        "-1",
        "+",
        ".",
        "a\n- b\n",
        "a: 1\nb: 2\n",
        "\n  a\n\n b\n\n\n",
        "\n ",
        " \n",
        "# c\n# d\n",
    ]
    .iter()
    .map(|text| (*text).to_owned())
    .collect();
    texts.push("x".repeat(3000));
    texts.push("line\n".repeat(50));
    texts
}

#[test]
fn every_text_reads_back_in_every_place() {
    let places = [
        "k: T\nz: 1\n",
        "k: T",
        "k: 'T'\n",
        "k: \"T\"\n",
        "k: \"\\x54\" # c\n",
        "- T\n- z\n",
        "- - T\n  - z\n",
        "k: |\n  T\nz: 1\n",
        "k: |-\n  T\nz: 1\n",
        "k: |+\n  T\nz: 1\n",
        "k: |2 # c\n  T\nz: 1\n",
        "k: |\n  T",
        "k: |+\n  T",
        "k: |+1\n T\n\n\nz: 1\n",
        "k: |\n  T\n\n\nz: 1\n",
        "k: >\n  T\nz: 1\n",
        "k: >- # c\n  T\n",
        "- |\n  T\n- z\n",
        "- a: |\n    T\n  b: 1\n",
        "k: [T, z]\n",
        "k: {a: T, b: z}\n",
        "k: {\"a\": \"T\"}\n",
        "k: [\"T\"]\n",
        "k: ['T']\n",
        "  k: |\n    T\n  z: 1\n",
        "k:\n  T\nz: 1\n",
        "k: !t T\n",
        "k: !!str T # c\n",
        "k: &a T\n",
        "k: &a !t T\n",
        "k: !t &a T\n",
        "k: |\r\n  T\r\nz: 1\r\n",
        "k: |\n            T\n",
        "--- |\n T\n",
        "--- T\n",
        "k: [a, # c\n  T]\n",
        "? k\n: T\n",
        "? |\n  k\n: |\n  T\n",
    ];
    let mut failures = Vec::new();
    for place in places {
        let stream = read(place).unwrap();
        let find = |stream: &Stream<'_>, text: &str| {
            stream
                .nodes()
                .find(|(_, node)| node.value.trim_end_matches('\n') == text)
                .map(|(id, _)| id)
        };
        let id = find(&stream, "T").unwrap();
        for keep_tag in [false, true] {
            for text in texts() {
                let mut edits = Edits::new();
                set_scalar(&stream, &mut edits, id, &text, keep_tag);
                let new = edits.try_apply(place).unwrap();
                let ok = read(&new).is_ok_and(|new| {
                    let node = new.node(id);
                    node.value == text
                        && matches!(new.resolve(id), Ok(Scalar::Str(_) | Scalar::Merge))
                        && new.nodes().count() == stream.nodes().count()
                        && new.short_tag(id) != "!t"
                        || keep_tag && node.value == text
                });
                if !ok {
                    failures.push(format!("{place:?} {text:?} -> {:?}", new.as_str()));
                }
            }
        }
        let mut edits = Edits::new();
        set_scalar_raw(&stream, &mut edits, id, "12", false);
        let new = edits.try_apply(place).unwrap();
        let ok = read(&new).is_ok_and(|new| matches!(new.resolve(id), Ok(Scalar::Int(12))));
        if !ok {
            failures.push(format!("{place:?} raw -> {:?}", new.as_str()));
        }
    }
    assert!(
        failures.is_empty(),
        "{}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn comments_of_a_text_are_edited_in_place() {
    let mut count = 0;
    for input in inputs() {
        let stream = read(&input).unwrap();
        let mut comments: Vec<&Comment> = stream
            .nodes()
            .flat_map(|(_, node)| node.head.iter().chain(&node.line).chain(&node.foot))
            .chain(
                stream
                    .documents()
                    .iter()
                    .flat_map(|document| document.head.iter().chain(&document.foot)),
            )
            .collect();
        comments.sort_by_key(|comment| comment.span.start);
        let before = comments.len();
        comments.dedup();
        assert_eq!(comments.len(), before, "a comment twice in {input:?}");
        count += before;
        let mut edits = Edits::new();
        for comment in &comments {
            set_comment(&stream, &mut edits, comment, "ENC[x]\ny");
        }
        let new = edits.try_apply(&input).unwrap();
        let again = read(&new).unwrap();
        assert_eq!(values(&stream, ""), values(&again, ""), "{input:?}");
        let mut edits = Edits::new();
        let mut back: Vec<&Comment> = again
            .nodes()
            .flat_map(|(_, node)| node.head.iter().chain(&node.line).chain(&node.foot))
            .chain(
                again
                    .documents()
                    .iter()
                    .flat_map(|document| document.head.iter().chain(&document.foot)),
            )
            .collect();
        back.sort_by_key(|comment| comment.span.start);
        assert_eq!(back.len(), before, "{input:?}");
        for (old, new) in comments.iter().zip(back) {
            assert_eq!(again.comment_text(new), "ENC[x] y", "{input:?}");
            set_comment(&again, &mut edits, new, &stream.comment_text(old));
        }
        assert_eq!(*edits.try_apply(&new).unwrap(), input);
    }
    assert!(count > 500, "{count}");
}

#[test]
fn aliases_are_expanded_to_the_same_values() {
    let (mut count, mut failures) = (0, Vec::new());
    for input in inputs() {
        let stream = read(&input).unwrap();
        let mut edits = Edits::new();
        let aliases: Vec<NodeId> = stream
            .nodes()
            .filter(|(_, node)| node.kind == Kind::Alias)
            .map(|(id, _)| id)
            .collect();
        if aliases.is_empty() {
            continue;
        }
        count += 1;
        for alias in aliases {
            expand_alias(&stream, &mut edits, alias).unwrap();
        }
        let new = edits.try_apply(&input).unwrap();
        let ok = read(&new).is_ok_and(|again| {
            !again.nodes().any(|(_, node)| node.kind == Kind::Alias)
                && values(&again, "") == values(&stream, "")
        });
        if !ok {
            failures.push(format!("{input:?}\n -> {:?}", new.as_str()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count > 30, "{count}");
}

#[test]
fn an_item_becomes_a_comment() {
    let source = "a:\n    - ENC[c]\n    - b\n    - - ENC[d]\n      - e\n- x";
    let source = &source[..source.len() - 4];
    let stream = read(source).unwrap();
    let mut edits = Edits::new();
    for (id, node) in stream.nodes() {
        if node.value.starts_with("ENC[") {
            assert!(item_to_comment(&stream, &mut edits, id, " note"));
        }
    }
    assert_eq!(
        *edits.try_apply(source).unwrap(),
        "a:\n    # note\n    - b\n    - # note\n      - e\n"[..].trim_end()
    );
}
