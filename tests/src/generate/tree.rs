//! Writes one file: documents, mappings, sequences, scalars of every form, comments in every place.

use super::random::Random;
use super::scalars::{BLOCK, FLOW, KEYS, NEVER, Spelling};
use super::{Case, Piece, Role, Rule};

const COMMENTS: &[&str] = &[
    " note",
    " Проверка",
    "tight",
    " has # inside",
    "# doubled",
    "  wide",
    " key: value",
    " 日本語",
    " 'quote",
];
const LINES: &[&str] = &[
    "line of text",
    "key: value",
    "# not a comment",
    "  more indented",
    "tab\tinside",
    "ünïcödé 秘密",
    "'single' and \"double\"",
    "- dash",
    "trailing backslash \\",
    "-----BEGIN KEY-----",
    "{\"json\": [1, 2]}",
];
const DEPTH: usize = 4;

/// Makes the case of a seed.
pub(super) fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let rule = match random.below(10) {
        n @ 1..7 => Rule::ALL[n],
        _ => Rule::Default,
    };
    let mut tree = Tree {
        mac_only_encrypted: random.chance(20),
        comment_rate: [0, 10, 25, 45][random.below(4)],
        indented_sequences: random.chance(60),
        rule,
        pieces: Vec::new(),
        comments: Vec::new(),
        anchors: Vec::new(),
        next: 0,
        sequence_depth: 0,
        kept_tail: false,
        random,
    };
    tree.stream();
    tree.finish(seed)
}

struct Tree {
    random: Random,
    rule: Rule,
    mac_only_encrypted: bool,
    comment_rate: usize,
    indented_sequences: bool,
    pieces: Vec<Piece>,
    comments: Vec<String>,
    /// Anchors of this document that an alias may name.
    anchors: Vec<Anchor>,
    /// Makes keys, anchors and comments unique.
    next: usize,
    sequence_depth: usize,
    /// Whether the last thing written is a block scalar to which trailing blank lines would belong.
    kept_tail: bool,
}

struct Anchor {
    name: String,
    is_mapping: bool,
    is_clear: bool,
    /// Whether the rule's pattern matches above the node.
    matched: bool,
}

/// An anchor whose node is being written.
struct Open {
    name: String,
    /// The first piece of the node.
    start: usize,
}

impl Tree {
    fn stream(&mut self) {
        let documents = [1, 1, 1, 2, 3, 4][self.random.below(6)];
        for i in 0..documents {
            self.anchors.clear();
            let marker = i > 0 || self.random.chance(25);
            if i == 0 && self.random.chance(20) {
                self.comment_lines(0);
            }
            if marker {
                self.fixed("---");
                if self.random.chance(15) {
                    self.line_comment(&[" "]);
                }
                self.fixed("\n");
            }
            self.mapping(0, 0, false, false);
            if i == 0 {
                self.certain_secret();
            }
            if self.random.chance(self.comment_rate) {
                self.comment_lines(0);
            }
            if i + 1 < documents && self.random.chance(15) {
                self.fixed("...\n");
            }
        }
    }

    fn finish(mut self, seed: u64) -> Case {
        if !self.kept_tail && self.random.chance(20) {
            if let Some(last) = self
                .pieces
                .last_mut()
                .filter(|piece| piece.text.ends_with('\n'))
            {
                last.text.pop();
            }
        } else if !self.kept_tail && self.random.chance(15) {
            self.fixed("\n\n");
        }
        if self.random.chance(15) {
            for piece in &mut self.pieces {
                piece.text = piece.text.replace('\n', "\r\n");
            }
        }
        Case {
            seed,
            rule: self.rule,
            mac_only_encrypted: self.mac_only_encrypted,
            pieces: self.pieces,
            comments: self.comments,
        }
    }

    /// Writes one leaf that the rule selects for sure: a rule that matches nothing is an error.
    fn certain_secret(&mut self) {
        let n = self.unique();
        let key = match self.rule {
            Rule::EncryptedSuffix => format!("last{n}_secret"),
            Rule::EncryptedRegex => format!("data{n}"),
            Rule::EncryptedComment => {
                self.fixed("#");
                self.comment_text(format!(" sops:hide {n}"));
                self.fixed("\n");
                format!("last{n}")
            }
            _ => format!("last{n}"),
        };
        self.fixed(&format!("{key}: "));
        let matched = self.matches(false, &key);
        self.leaf("certainly hidden", true, false, matched);
        self.fixed("\n");
    }

    /// Writes the entries of a block mapping. `inline` says that the first stands behind a `- `.
    fn mapping(&mut self, indent: usize, depth: usize, matched: bool, inline: bool) {
        let entries = if depth == 0 {
            3 + self.random.below(5)
        } else {
            1 + self.random.below(4)
        };
        let mut merged = false;
        for i in 0..entries {
            let first_inline = inline && i == 0;
            if !first_inline {
                self.between(indent);
                self.fixed(&" ".repeat(indent));
            }
            if !merged && i > 0 && self.random.chance(6) && self.merge(matched) {
                merged = true;
                continue;
            }
            let (written, key) = self.key();
            self.fixed(&written);
            let matched = self.matches(matched, &key);
            self.value(indent, depth, matched);
        }
    }

    fn sequence(&mut self, indent: usize, depth: usize, matched: bool, inline: bool) {
        self.sequence_depth += 1;
        for i in 0..1 + self.random.below(4) {
            if !(inline && i == 0) {
                self.between(indent);
                self.fixed(&" ".repeat(indent));
            }
            self.fixed("-");
            match self.random.below(10) {
                0 | 1 if depth < DEPTH => {
                    let wide = self.random.chance(25);
                    self.fixed(if wide { "   " } else { " " });
                    self.mapping(indent + if wide { 4 } else { 2 }, depth + 1, matched, true);
                }
                2 if depth < DEPTH => {
                    self.fixed(" ");
                    self.sequence(indent + 2, depth + 1, matched, true);
                }
                _ => self.short_value(indent, depth, matched),
            }
        }
        self.sequence_depth -= 1;
    }

    /// Writes what follows `key:`, with its line break.
    fn value(&mut self, indent: usize, depth: usize, matched: bool) {
        let nested = depth < DEPTH;
        match self.random.below(12) {
            0..=2 if nested => {
                let anchor = self.anchor();
                self.key_comment();
                self.fixed("\n");
                let step = [2, 2, 4, 3][self.random.below(4)];
                self.mapping(indent + step, depth + 1, matched, false);
                self.remember(anchor, true, matched);
            }
            3 | 4 if nested => {
                let anchor = self.anchor();
                self.key_comment();
                self.fixed("\n");
                let step = if self.indented_sequences { 2 } else { 0 };
                self.sequence(indent + step, depth + 1, matched, false);
                self.remember(anchor, false, matched);
            }
            _ => self.short_value(indent, depth, matched),
        }
    }

    /// Writes a scalar, a flow collection, an alias or nothing, behind `key:` or `-`, with its line break.
    fn short_value(&mut self, indent: usize, depth: usize, matched: bool) {
        match self.random.below(20) {
            0 => {
                let text = NEVER[self.random.below(NEVER.len())];
                if text.is_empty() {
                    self.key_comment();
                    self.fixed("\n");
                } else {
                    self.fixed(&format!(" {text}"));
                    self.end_of_line();
                }
            }
            1 | 2 => self.literal(indent, matched),
            3 => self.folded(indent, matched),
            4 | 5 if depth < DEPTH => {
                self.fixed(" ");
                let anchor = self.anchor_inline();
                self.flow(indent, 0, matched);
                self.remember(anchor, false, matched);
                self.end_of_line();
            }
            6 if self
                .anchors
                .iter()
                .any(|anchor| self.may_name(anchor, false, matched)) =>
            {
                self.alias(false, matched);
            }
            7 => self.multi_line(indent, matched),
            _ => {
                self.fixed(" ");
                let anchor = self.anchor_inline();
                let n = self.random.below(BLOCK.len());
                let Spelling { text, exact } = BLOCK[n];
                self.leaf(text, exact, false, matched);
                self.remember(anchor, false, matched);
                self.end_of_line();
            }
        }
    }

    fn literal(&mut self, indent: usize, matched: bool) {
        let step = [2, 2, 4, 1][self.random.below(4)];
        let lead = self.sequence_depth == 0 && self.random.chance(25);
        let chomp = self.random.pick(&["", "-", "+"]);
        let indicator = if lead || self.random.chance(25) {
            step.to_string()
        } else {
            String::new()
        };
        let header = if self.random.chance(50) {
            format!(" |{indicator}{chomp}")
        } else {
            format!(" |{chomp}{indicator}")
        };
        self.fixed(&header);
        if self.random.chance(self.comment_rate) {
            self.line_comment(&[" "]);
        }
        self.fixed("\n");
        let margin = " ".repeat(indent + step);
        let mut text = String::new();
        if lead {
            text.push_str(&margin);
            text.push_str("   starts with spaces\n");
        }
        for i in 0..1 + self.random.below(4) {
            if i > 0 && self.random.chance(20) {
                text.push('\n');
            }
            let mut line = self.random.pick(LINES);
            if i == 0 && !lead {
                line = line.trim_start();
            }
            text.push_str(&format!("{margin}{line}\n"));
        }
        let blank = "\n".repeat([0, 0, 1, 2][self.random.below(4)]);
        text.pop();
        if chomp == "+" {
            text.push_str(&blank);
        }
        let role = match self.is_selected(matched) {
            Some(true) => Role::Block { exact: true },
            Some(false) => Role::Fixed,
            None => Role::Maybe { exact: true },
        };
        self.piece(text, role);
        self.fixed("\n");
        if chomp == "+" {
            self.kept_tail = true;
        } else {
            self.fixed(&blank);
        }
    }

    fn folded(&mut self, indent: usize, matched: bool) {
        let margin = " ".repeat(indent + 2);
        let header = self.random.pick(&[">", ">-", ">+", ">2"]);
        let gap = if self.random.chance(40) { "\n" } else { "" };
        let text =
            format!(" {header}\n{margin}folded text\n{margin}goes on\n{gap}{margin}and ends");
        self.loose(text, matched);
        self.fixed("\n");
        self.kept_tail = header == ">+";
    }

    /// Writes a plain or quoted scalar over several lines.
    fn multi_line(&mut self, indent: usize, matched: bool) {
        let margin = " ".repeat(indent + 1);
        let quote = self.random.pick(&["", "\"", "'"]);
        let text =
            format!(" {quote}first words\n{margin} second line\n\n{margin}after a gap{quote}");
        self.loose(text, matched);
        self.end_of_line();
    }

    fn flow(&mut self, indent: usize, level: usize, matched: bool) {
        let broken = self.random.chance(20);
        let is_mapping = self.random.chance(50);
        let count = 1 + self.random.below(3);
        self.fixed(if is_mapping { "{" } else { "[" });
        for i in 0..count {
            if i > 0 {
                self.fixed(",");
            }
            if broken {
                self.fixed(&format!("\n{}", " ".repeat(indent + 2 + 2 * level)));
            } else if i > 0 {
                self.fixed(" ");
            }
            let mut matched = matched;
            if is_mapping {
                let (written, key) = self.key();
                self.fixed(&written);
                self.fixed(" ");
                matched = self.matches(matched, &key);
            }
            match self.random.below(10) {
                0 | 1 if level < 2 => self.flow(indent, level + 1, matched),
                2 => self.fixed(self.random.clone().pick(&["null", "\"\"", "[]", "{}"])),
                _ => {
                    let n = self.random.below(FLOW.len());
                    let Spelling { text, exact } = FLOW[n];
                    self.leaf(text, exact, true, matched);
                }
            }
        }
        if self.random.chance(10) {
            self.fixed(",");
        }
        if broken {
            self.fixed(&format!("\n{}", " ".repeat(indent + 1 + 2 * level)));
        }
        self.fixed(if is_mapping { "}" } else { "]" });
    }

    /// Writes `<<: *anchor` if there is a mapping to merge; says whether it did.
    fn merge(&mut self, matched: bool) -> bool {
        if !self
            .anchors
            .iter()
            .any(|anchor| self.may_name(anchor, true, matched))
        {
            return false;
        }
        self.fixed("<<:");
        self.alias(true, matched);
        true
    }

    /// Whether an alias here may name the anchor. It must not show what is hidden at the anchor: that is refused.
    fn may_name(&self, anchor: &Anchor, mapping: bool, matched: bool) -> bool {
        (anchor.is_mapping || !mapping)
            && match (self.is_selected(anchor.matched), self.is_selected(matched)) {
                (Some(at_anchor), Some(here)) => here || !at_anchor || anchor.is_clear,
                _ => false,
            }
    }

    /// Writes an alias with its line break. Blank and comment go with it: an expanded copy begins behind them, on the next line.
    fn alias(&mut self, mapping: bool, matched: bool) {
        let candidates: Vec<usize> = (0..self.anchors.len())
            .filter(|&i| self.may_name(&self.anchors[i], mapping, matched))
            .collect();
        let Anchor { name, is_clear, .. } =
            &self.anchors[candidates[self.random.below(candidates.len())]];
        let stays = *is_clear && self.is_selected(matched) == Some(false);
        let mut text = format!(" *{name}");
        if stays {
            self.fixed(&text);
            self.end_of_line();
            return;
        }
        if self.random.chance(self.comment_rate) {
            let comment = self.comment();
            text.push_str(&format!(" #{comment}"));
            self.comments.push(comment);
        }
        self.piece(text, Role::Loose);
        self.fixed("\n");
    }

    /// Writes ` &name` behind a key, sometimes.
    fn anchor(&mut self) -> Option<Open> {
        if !self.random.chance(12) {
            return None;
        }
        let name = format!("a{}", self.unique());
        self.piece(format!(" &{name}"), Role::Loose);
        Some(Open {
            name,
            start: self.pieces.len(),
        })
    }

    /// Writes `&name ` before a scalar, sometimes.
    fn anchor_inline(&mut self) -> Option<Open> {
        if !self.random.chance(6) {
            return None;
        }
        let name = format!("a{}", self.unique());
        self.piece(format!("&{name} "), Role::Loose);
        Some(Open {
            name,
            start: self.pieces.len(),
        })
    }

    fn remember(&mut self, open: Option<Open>, is_mapping: bool, matched: bool) {
        let Some(Open { name, start }) = open else {
            return;
        };
        // Comments may be there where none of them can be selected.
        let clear_place = self.is_selected(matched) == Some(false);
        let is_comment = |piece: &Piece| clear_place && self.comments.contains(&piece.text);
        let is_clear = self.pieces[start..]
            .iter()
            .all(|piece| piece.role == Role::Fixed || is_comment(piece));
        self.anchors.push(Anchor {
            name,
            is_mapping,
            is_clear,
            matched,
        });
    }

    /// Returns a key as written, with its colon, and as read.
    fn key(&mut self) -> (String, String) {
        let n = self.unique();
        let (quote, name) = KEYS[self.random.below(KEYS.len())];
        let name = match self.rule {
            Rule::Default if self.random.chance(8) => format!("{name}{n}_unencrypted"),
            Rule::UnencryptedSuffix if self.random.chance(25) => format!("{name}{n}_clear"),
            Rule::EncryptedSuffix if self.random.chance(30) => format!("{name}{n}_secret"),
            Rule::EncryptedRegex if self.random.chance(30) => {
                format!("{}{n}", self.random.pick(&["data", "secret"]))
            }
            Rule::UnencryptedRegex if self.random.chance(25) => {
                format!("{}{n}", self.random.pick(&["meta", "kind"]))
            }
            _ => format!("{name}{n}"),
        };
        (format!("{quote}{name}{quote}:"), name)
    }

    /// Whether the rule's pattern matches this key or one above it.
    fn matches(&self, above: bool, key: &str) -> bool {
        above
            || match self.rule {
                Rule::Default => key.ends_with("_unencrypted"),
                Rule::UnencryptedSuffix => key.ends_with("_clear"),
                Rule::EncryptedSuffix => key.ends_with("_secret"),
                Rule::EncryptedRegex => key.starts_with("data") || key.starts_with("secret"),
                Rule::UnencryptedRegex => key.starts_with("meta") || key.starts_with("kind"),
                Rule::EncryptedComment | Rule::UnencryptedComment => false,
            }
    }

    /// Whether a leaf is selected; `None` where comments decide.
    fn is_selected(&self, matched: bool) -> Option<bool> {
        match self.rule {
            Rule::Default | Rule::UnencryptedSuffix | Rule::UnencryptedRegex => Some(!matched),
            Rule::EncryptedSuffix | Rule::EncryptedRegex => Some(matched),
            Rule::EncryptedComment | Rule::UnencryptedComment => None,
        }
    }

    fn leaf(&mut self, text: &str, exact: bool, flow: bool, matched: bool) {
        let role = match self.is_selected(matched) {
            Some(false) => Role::Fixed,
            _ if text.starts_with('!') => Role::Loose,
            Some(true) => Role::Leaf {
                quoted: flow,
                exact,
            },
            None => Role::Maybe { exact },
        };
        self.piece(text.to_owned(), role);
    }

    fn loose(&mut self, text: String, matched: bool) {
        let role = if self.is_selected(matched) == Some(false) {
            Role::Fixed
        } else {
            Role::Loose
        };
        self.piece(text, role);
    }

    /// Writes blank lines and comment lines before an entry, sometimes.
    fn between(&mut self, indent: usize) {
        if self.random.chance(12) && !self.kept_tail {
            self.fixed("\n");
        }
        if self.random.chance(self.comment_rate) {
            self.comment_lines(indent);
            if self.random.chance(20) {
                self.fixed("\n");
            }
        }
    }

    fn comment_lines(&mut self, indent: usize) {
        for _ in 0..1 + self.random.below(3) {
            self.fixed(&format!("{}#", " ".repeat(indent)));
            let text = self.comment();
            self.comment_text(text);
            self.fixed("\n");
        }
    }

    fn key_comment(&mut self) {
        // No tab here: go-yaml takes one only behind a value.
        if self.random.chance(self.comment_rate / 2) {
            self.line_comment(&[" ", "  "]);
        }
    }

    fn end_of_line(&mut self) {
        if self.random.chance(self.comment_rate) {
            self.line_comment(&[" ", " ", "  ", "\t"]);
        } else if self.random.chance(4) {
            self.fixed(self.random.clone().pick(&["\t", " ", "  "]));
        }
        self.fixed("\n");
    }

    fn line_comment(&mut self, gaps: &[&str]) {
        let gap = self.random.pick(gaps);
        self.fixed(&format!("{gap}#"));
        let text = self.comment();
        self.comment_text(text);
    }

    fn comment(&mut self) -> String {
        let marker = match self.rule {
            Rule::EncryptedComment if self.random.chance(25) => " sops:hide",
            Rule::UnencryptedComment if self.random.chance(25) => " sops:show",
            _ => "",
        };
        format!("{}{marker} {}", self.random.pick(COMMENTS), self.unique())
    }

    fn comment_text(&mut self, text: String) {
        self.comments.push(text.clone());
        self.piece(text, Role::Maybe { exact: true });
    }

    fn unique(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn fixed(&mut self, text: &str) {
        self.kept_tail &= text.trim().is_empty();
        match self.pieces.last_mut() {
            Some(Piece {
                text: last,
                role: Role::Fixed,
            }) => last.push_str(text),
            _ => self.pieces.push(Piece {
                text: text.to_owned(),
                role: Role::Fixed,
            }),
        }
    }

    fn piece(&mut self, text: String, role: Role) {
        self.kept_tail = false;
        if role == Role::Fixed {
            self.fixed(&text);
        } else {
            self.pieces.push(Piece { text, role });
        }
    }
}
