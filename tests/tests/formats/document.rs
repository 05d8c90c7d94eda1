//! Generated documents of every format, and smaller ones when a check fails.

use std::fmt::Write as _;

use compat::generate::Random;
use selkie_sops::Format;

/// One generated file and the rule that it is encrypted by.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) seed: u64,
    pub(crate) format: Format,
    pub(crate) items: Vec<Item>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) rule: usize,
    pub(crate) mac_only: bool,
    pub(crate) groups: bool,
    /// Blanks per level of JSON; 0 for one line.
    indent: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Comment(String),
    Blank,
    Entry(String, Node),
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Str(String),
    /// A number, a boolean, null, as written.
    Raw(String),
    Map(Vec<Item>),
    Seq(Vec<Node>),
}

/// The selection settings; the first is none.
const RULES: [&str; 7] = [
    "",
    "unencrypted_suffix: _unencrypted",
    "encrypted_suffix: _enc",
    "unencrypted_regex: ^(a|x)",
    "encrypted_regex: ^(pw|data)",
    "unencrypted_comment_regex: clear",
    "encrypted_comment_regex: secret",
];

pub(crate) const FORMATS: [Format; 5] = [
    Format::Yaml,
    Format::Json,
    Format::Dotenv,
    Format::Ini,
    Format::Binary,
];

const KEYS: [&str; 10] = [
    "a",
    "b",
    "c_unencrypted",
    "pw",
    "pw_enc",
    "data",
    "x.y",
    "d_enc",
    "ключ",
    "Z",
];

const TEXTS: [&str; 18] = [
    "x",
    "",
    "true",
    "1.5",
    "null",
    "a b",
    "é😀",
    "a\"b",
    "back\\slash",
    "<&>",
    "one\ntwo",
    "two\nlines\n",
    "hash#tag",
    "semi;colon",
    "k=v: w",
    "~",
    "yes",
    "https://example.org/?a=1&b=2",
];

const RAWS: [&str; 12] = [
    "0",
    "1",
    "-7",
    "9007199254740993",
    "1.5",
    "0.25",
    "1e3",
    "1e-7",
    "true",
    "false",
    "null",
    "123456.75",
];

const COMMENTS: [&str; 5] = [" note", " secret here", " clear text", "tight", " a: b"];

impl Document {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let format = FORMATS[usize::try_from(seed).unwrap_or(0) % FORMATS.len()];
        let has_comments = matches!(format, Format::Yaml | Format::Dotenv | Format::Ini);
        let rules = if has_comments { RULES.len() } else { 5 };
        let mut made = Self {
            seed,
            format,
            items: Vec::new(),
            bytes: Vec::new(),
            rule: random.below(rules),
            mac_only: random.chance(25),
            groups: random.chance(20),
            indent: random.below(4),
        };
        if format == Format::Binary {
            let length = random.below(600);
            let byte = |_| u8::try_from(random.below(256)).unwrap_or(0);
            made.bytes = (0..length).map(byte).collect();
            made.rule = 0;
            made.mac_only = false;
            return made;
        }
        let comments = has_comments && (made.rule > 4 || random.chance(50));
        let mut maker = Maker {
            random,
            format,
            comments,
        };
        made.items = maker.items(0);
        made
    }

    /// Returns the `.sops.yaml` for the file, with these recipients.
    pub(crate) fn config(&self, recipients: [&str; 3]) -> String {
        let [first, second, third] = recipients;
        let mut text = "creation_rules:\n".to_owned();
        if self.groups {
            let _ = write!(
                text,
                "  - shamir_threshold: 2\n    key_groups:\n      - age: [{first}]\n      - age: [{second}]\n      - age: [{third}, {first}]\n"
            );
        } else {
            let _ = writeln!(text, "  - age: {first}");
        }
        text.push_str(&self.selection());
        text
    }

    /// Returns the lines of the rule that say what is encrypted, and what the MAC covers.
    pub(crate) fn selection(&self) -> String {
        let mut text = String::new();
        if self.rule > 0 {
            let _ = writeln!(text, "    {}", RULES[self.rule]);
        }
        if self.mac_only {
            text.push_str("    mac_only_encrypted: true\n");
        }
        text
    }

    /// Returns a name for the file, by which sops knows the format.
    pub(crate) fn name(&self) -> String {
        let suffix = match self.format {
            Format::Dotenv => "env",
            Format::Binary => "bin",
            format => format.name(),
        };
        format!("file.{suffix}")
    }

    /// Returns the file.
    pub(crate) fn source(&self) -> Vec<u8> {
        let mut text = String::new();
        match self.format {
            Format::Binary => return self.bytes.clone(),
            Format::Json => {
                json_map(&self.items, self.indent, 0, &mut text);
                text.push('\n');
            }
            Format::Dotenv => dotenv(&self.items, &mut text),
            Format::Ini => ini(&self.items, &mut text),
            Format::Yaml => yaml(&self.items, 0, &mut text),
        }
        text.into_bytes()
    }

    /// Returns documents that are one step simpler.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            all.push(smaller);
        };
        if !self.bytes.is_empty() {
            let half = self.bytes.len() / 2;
            with(&|doc| doc.bytes.truncate(half));
        }
        if self.groups {
            with(&|doc| doc.groups = false);
        }
        if self.mac_only {
            with(&|doc| doc.mac_only = false);
        }
        if self.rule > 0 {
            with(&|doc| doc.rule = 0);
        }
        for items in smaller_items(&self.items) {
            let mut smaller = self.clone();
            smaller.items = items;
            all.push(smaller);
        }
        all
    }
}

fn smaller_items(items: &[Item]) -> Vec<Vec<Item>> {
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut fewer = items.to_vec();
        fewer.remove(at);
        if fewer.iter().any(|item| matches!(item, Item::Entry(..))) {
            all.push(fewer);
        }
    }
    for (at, item) in items.iter().enumerate() {
        let Item::Entry(key, node) = item else {
            continue;
        };
        let nodes: Vec<Node> = match node {
            Node::Map(inner) => smaller_items(inner).into_iter().map(Node::Map).collect(),
            Node::Seq(inner) if inner.len() > 1 => vec![Node::Seq(inner[1..].to_vec())],
            Node::Str(text) if text != "x" => vec![Node::Str("x".to_owned())],
            _ => Vec::new(),
        };
        for node in nodes {
            let mut simpler = items.to_vec();
            simpler[at] = Item::Entry(key.clone(), node);
            all.push(simpler);
        }
    }
    all
}

struct Maker {
    random: Random,
    format: Format,
    comments: bool,
}

impl Maker {
    fn items(&mut self, depth: usize) -> Vec<Item> {
        let count = 1 + self.random.below(5);
        let mut items = Vec::new();
        let mut used = Vec::new();
        for _ in 0..count {
            if self.comments && self.random.chance(35) {
                let text = self.random.pick(&COMMENTS).to_owned();
                items.push(Item::Comment(text));
            } else if self.format != Format::Json && self.random.chance(10) {
                items.push(Item::Blank);
            }
            let key = self.random.pick(&KEYS).to_owned();
            if used.contains(&key) {
                continue;
            }
            used.push(key.clone());
            items.push(Item::Entry(key, self.node(depth)));
        }
        if used.is_empty() {
            items.push(Item::Entry("a".to_owned(), Node::Str("x".to_owned())));
        }
        if self.format == Format::Ini && depth == 0 {
            // What stands before the first section has none.
            items.sort_by_key(|item| matches!(item, Item::Entry(_, Node::Map(_))));
        }
        items
    }

    fn node(&mut self, depth: usize) -> Node {
        let nested = match self.format {
            Format::Dotenv => 0,
            Format::Ini => {
                if depth == 0 {
                    60
                } else {
                    0
                }
            }
            _ => {
                if depth < 3 {
                    35
                } else {
                    0
                }
            }
        };
        if self.random.chance(nested) {
            if self.format == Format::Ini || self.random.chance(60) {
                return Node::Map(self.items(depth + 1));
            }
            let count = self.random.below(4);
            return Node::Seq((0..count).map(|_| self.node(depth + 1)).collect());
        }
        let flat = matches!(self.format, Format::Dotenv | Format::Ini);
        if !flat && self.random.chance(35) {
            return Node::Raw(self.random.pick(&RAWS).to_owned());
        }
        Node::Str(self.random.pick(&TEXTS).to_owned())
    }
}

fn json_map(items: &[Item], indent: usize, level: usize, out: &mut String) {
    let entries = items.iter().filter_map(|item| match item {
        Item::Entry(key, node) => Some((Some(key), node)),
        _ => None,
    });
    json_list(('{', '}'), &entries.collect::<Vec<_>>(), indent, level, out);
}

fn json_list(
    brackets: (char, char),
    entries: &[(Option<&String>, &Node)],
    indent: usize,
    level: usize,
    out: &mut String,
) {
    let line = |level: usize| match indent {
        0 => String::new(),
        _ => format!("\n{}", " ".repeat(indent * level)),
    };
    out.push(brackets.0);
    for (at, (key, node)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&line(level + 1));
        if let Some(key) = key {
            let _ = write!(
                out,
                "{}:{}",
                quoted(key),
                if indent == 1 { "" } else { " " }
            );
        }
        match node {
            Node::Str(text) => out.push_str(&quoted(text)),
            Node::Raw(text) => out.push_str(text),
            Node::Map(items) => json_map(items, indent, level + 1, out),
            Node::Seq(items) => {
                let items: Vec<_> = items.iter().map(|item| (None, item)).collect();
                json_list(('[', ']'), &items, indent, level + 1, out);
            }
        }
    }
    if !entries.is_empty() {
        out.push_str(&line(level));
    }
    out.push(brackets.1);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn dotenv(items: &[Item], out: &mut String) {
    for item in items {
        match item {
            Item::Comment(text) => {
                let _ = writeln!(out, "#{text}");
            }
            Item::Blank => out.push('\n'),
            Item::Entry(key, Node::Str(text)) => {
                let _ = writeln!(out, "{key}={}", text.replace('\n', "\\n"));
            }
            Item::Entry(..) => {}
        }
    }
}

fn ini(items: &[Item], out: &mut String) {
    for item in items {
        match item {
            Item::Comment(text) => {
                let _ = writeln!(out, "; {}", text.trim());
            }
            Item::Blank => out.push('\n'),
            Item::Entry(name, Node::Map(items)) => {
                let _ = writeln!(out, "[{name}]");
                ini(items, out);
            }
            Item::Entry(key, Node::Str(text)) => {
                let value = match text.as_str() {
                    text if text.contains('\n') => format!("\"\"\"{text}\"\"\""),
                    text if text.contains(['#', ';']) => format!("`{text}`"),
                    text => text.to_owned(),
                };
                let _ = writeln!(out, "{key} = {value}");
            }
            Item::Entry(..) => {}
        }
    }
}

fn yaml(items: &[Item], level: usize, out: &mut String) {
    let indent = "  ".repeat(level);
    for item in items {
        match item {
            Item::Comment(text) => {
                let _ = writeln!(out, "{indent}#{text}");
            }
            Item::Blank => out.push('\n'),
            Item::Entry(key, Node::Map(items)) => {
                let _ = writeln!(out, "{indent}{key}:");
                yaml(items, level + 1, out);
            }
            Item::Entry(key, node) => {
                let mut value = String::new();
                json_list(('[', ']'), &[(None, node)], 0, 0, &mut value);
                let value = &value[1..value.len() - 1];
                let plain = value.trim_matches('"');
                let bare = plain.len() > 1 && plain.bytes().all(|b| b.is_ascii_lowercase());
                let value = if bare { plain } else { value };
                let _ = writeln!(out, "{indent}{key}: {value}");
            }
        }
    }
}
