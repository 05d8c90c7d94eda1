//! Makes templates from a seed: blocks, variables and calls with arguments that mostly, but not always, fit.

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::Case;

/// Makes the case of a seed.
pub(crate) fn case(seed: u64) -> Case {
    let mut maker = Maker {
        random: ChaCha8Rng::seed_from_u64(seed),
        variables: 0,
        ranges: 0,
    };
    let template = maker.list(3);
    let texts = seed.is_multiple_of(3);
    let data = if texts {
        json!({"a": "text", "b": "", "c": "é☃ x", "n": "12", "l": "a,b,c", "j": "{\"k\":[1,2]}"})
    } else {
        json!({
            "a": "text", "b": "", "c": "é☃ x", "n": 12, "f": 2.5, "t": true, "z": null,
            "l": [3, "x", null, [1, 2]], "m": {"k": {"q": "deep"}, "e": {}}
        })
    };
    Case {
        template,
        data,
        texts,
        missing: if seed % 10 == 9 { "error" } else { "" }.to_owned(),
    }
}

struct Maker {
    random: ChaCha8Rng,
    /// Variables that are visible: `$v0` to before this one.
    variables: usize,
    ranges: usize,
}

/// What an expression should give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bool,
    List,
    Dict,
    Any,
    /// A small integer, as it is: of a large one Go makes more than fits into memory.
    Small,
    /// A dictionary that nothing else holds, so that no circle arises: Go prints one until its stack is full.
    NewDict,
}

/// Name, types of the arguments and of the result. `&` in front: the last argument may be repeated.
const FUNCTIONS: &[(&str, &[Kind], Kind)] = {
    use Kind::{Any, Bool, Dict, List, NewDict, Number, Small, Text};
    &[
        ("abbrev", &[Number, Text], Text),
        ("abbrevboth", &[Number, Number, Text], Text),
        ("add", &[Any, Any], Number),
        ("add1", &[Any], Number),
        ("addf", &[Any, Any], Number),
        ("and", &[Any, Any], Any),
        ("append", &[List, Any], List),
        ("atoi", &[Text], Number),
        ("b32dec", &[Text], Text),
        ("b32enc", &[Text], Text),
        ("b64dec", &[Text], Text),
        ("b64enc", &[Text], Text),
        ("base", &[Text], Text),
        ("camelcase", &[Text], Text),
        ("cat", &[Any, Any, Any], Text),
        ("ceil", &[Any], Number),
        ("chunk", &[Number, List], List),
        ("clean", &[Text], Text),
        ("coalesce", &[Any, Any], Any),
        ("compact", &[List], List),
        ("concat", &[List, List], List),
        ("contains", &[Text, Text], Bool),
        ("date \"2006-01-02 15:04:05 MST\"", &[Small], Text),
        ("deepCopy", &[Any], Any),
        ("deepEqual", &[Any, Any], Bool),
        ("default", &[Any, Any], Any),
        ("dict \"k\"", &[Any], Dict),
        ("dig \"k\" \"q\"", &[Any, Dict], Any),
        ("dir", &[Text], Text),
        ("div", &[Number, Number], Number),
        ("divf", &[Number, Number], Number),
        ("duration", &[Any], Text),
        ("durationRound", &[Any], Text),
        ("empty", &[Any], Bool),
        ("eq", &[Any, Any], Bool),
        ("ext", &[Text], Text),
        ("first", &[List], Any),
        ("float64", &[Any], Number),
        ("floor", &[Any], Number),
        ("fromJson", &[Text], Any),
        ("ge", &[Number, Number], Bool),
        ("get", &[Dict, Text], Any),
        ("gt", &[Text, Text], Bool),
        ("has", &[Any, List], Bool),
        ("hasKey", &[Dict, Text], Bool),
        ("hasPrefix", &[Text, Text], Bool),
        ("html", &[Any], Text),
        ("indent", &[Small, Text], Text),
        ("index", &[List, Number], Any),
        ("index", &[Dict, Text], Any),
        ("initial", &[List], List),
        ("initials", &[Text], Text),
        ("int", &[Any], Number),
        ("int64", &[Any], Number),
        ("join", &[Text, Any], Text),
        ("js", &[Any], Text),
        ("kebabcase", &[Text], Text),
        ("kindOf", &[Any], Text),
        ("last", &[List], Any),
        ("le", &[Any, Any], Bool),
        ("len", &[Any], Number),
        ("list", &[Any, Any], List),
        ("lower", &[Text], Text),
        ("lt", &[Any, Any], Bool),
        ("max", &[Any, Any], Number),
        ("maxf", &[Any, Any], Number),
        ("merge", &[NewDict, NewDict], Dict),
        ("mergeOverwrite", &[NewDict, NewDict], Dict),
        ("min", &[Any, Any], Number),
        ("mod", &[Number, Number], Number),
        ("mul", &[Any, Any], Number),
        ("mulf", &[Number, Number], Number),
        ("mustFromJson", &[Text], Any),
        ("mustToJson", &[Any], Text),
        ("ne", &[Any, Any], Bool),
        ("nindent", &[Small, Text], Text),
        ("nospace", &[Text], Text),
        ("not", &[Any], Bool),
        ("omit", &[Dict, Text], Dict),
        ("or", &[Any, Any], Any),
        ("pick", &[Dict, Text], Dict),
        ("pluck", &[Text, Dict], List),
        ("plural \"one\" \"many\"", &[Number], Text),
        ("prepend", &[List, Any], List),
        ("print", &[Any, Any, Any], Text),
        ("printf \"%v|%5v|%-6v|%+v\"", &[Any, Any, Any, Any], Text),
        ("printf \"%d %x %s %q\"", &[Any, Any, Any, Any], Text),
        ("printf \"%#v %T\"", &[Any, Any], Text),
        ("printf \"%08.3f|%g|%e\"", &[Any, Any, Any], Text),
        ("printf", &[Text, Any], Text),
        ("println", &[Any, Any], Text),
        ("quote", &[Any, Any], Text),
        ("regexFind", &[Text, Text], Text),
        ("regexFindAll \"[a-z]+\"", &[Text, Number], List),
        ("regexMatch", &[Text, Text], Bool),
        ("regexQuoteMeta", &[Text], Text),
        ("regexReplaceAll \"(.)(.)\"", &[Text, Text], Text),
        ("regexSplit \",|x*\"", &[Text, Number], List),
        ("repeat 2", &[Text], Text),
        ("replace", &[Text, Text, Text], Text),
        ("rest", &[List], List),
        ("reverse", &[List], List),
        ("round", &[Any, Number], Number),
        ("semver", &[Text], Any),
        ("seq", &[Small, Small], Text),
        ("set", &[NewDict, Text, Text], Dict),
        ("sha256sum", &[Text], Text),
        ("slice", &[List, Number], List),
        ("snakecase", &[Text], Text),
        ("sortAlpha", &[List], List),
        ("split \",\"", &[Text], Dict),
        ("splitList", &[Text, Text], List),
        ("splitn \",\" 2", &[Text], Dict),
        ("squote", &[Any], Text),
        ("sub", &[Any, Any], Number),
        ("subf", &[Number, Number], Number),
        ("substr 0", &[Number, Text], Text),
        ("swapcase", &[Text], Text),
        ("ternary", &[Any, Any, Bool], Any),
        ("title", &[Text], Text),
        ("toDate \"2006-01-02\"", &[Text], Any),
        ("toDecimal", &[Any], Number),
        ("toJson", &[Any], Text),
        ("toPrettyJson", &[Any], Text),
        ("toRawJson", &[Any], Text),
        ("toString", &[Any], Text),
        ("toStrings", &[Any], List),
        ("trim", &[Text], Text),
        ("trimAll", &[Text, Text], Text),
        ("trimPrefix", &[Text, Text], Text),
        ("trimSuffix", &[Text, Text], Text),
        ("trunc", &[Number, Text], Text),
        ("typeOf", &[Any], Text),
        ("uniq", &[List], List),
        ("unset", &[Dict, Text], Dict),
        ("until", &[Small], List),
        ("untilStep 0 9", &[Number], List),
        ("untitle", &[Text], Text),
        ("upper", &[Text], Text),
        ("urlParse", &[Text], Dict),
        ("urlquery", &[Any], Text),
        ("without", &[List, Any], List),
        ("wrap", &[Number, Text], Text),
        ("wrapWith 3 \"|\"", &[Text], Text),
    ]
};

const TEXTS: &[&str] = &[
    "\"\"",
    "\"a\"",
    "\"Hello World\"",
    "\"a,b,,c\"",
    "\"é☃ß\"",
    "`raw \\n`",
    "\"x\\ny\\tz\"",
    "\"12\"",
    "\"-3.50\"",
    "\"0x1F\"",
    "\"[1,{\\\"k\\\":null}]\"",
    "\"{\\\"k\\\":{\\\"q\\\":1.5}}\"",
    "\"YQ==\"",
    "\"k\"",
    "\"%d-%s\"",
    "\"a.*\"",
    "\"(\"",
    "\"1.2.3-rc.1\"",
    "\"2023-11-14\"",
    "\"/a/../b.txt\"",
    "\"http://u:p@h:1/p?q#f\"",
    "\"\\xff\\x00\"",
    "\"FooBar_baz-2x\"",
    "\"<a & 'b'>\"",
    "\"  spaces  here \"",
    "\"true\"",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "10",
    "1.5",
    "-2.25",
    "1e3",
    "1e21",
    "0x1f",
    "0b11",
    "1_000",
    "'a'",
    "100000000.0",
    "5",
    "0.1",
    "-0.0",
];
const DICTS: &[&str] = &[
    "(dict \"k\" 1)",
    "(dict)",
    "(dict \"k\" (dict \"q\" \"v\") \"a\" nil)",
    "(dict \"x\" \"\" \"l\" (list 1))",
];
const OTHERS: &[&str] = &[
    "true",
    "false",
    "nil",
    ".",
    "$",
    ".a",
    ".b",
    ".c",
    ".n",
    ".l",
    ".m",
    ".f",
    ".t",
    ".z",
    ".nope",
    ".m.k",
    ".m.k.q",
    ".z.x",
    "now.Month.String.x",
    "1i",
];

impl Maker {
    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    /// A few actions and texts.
    fn list(&mut self, depth: usize) -> String {
        let count = self.random.random_range(1..=3);
        (0..count).map(|_| self.node(depth)).collect()
    }

    fn node(&mut self, depth: usize) -> String {
        let (open, close) = if self.chance(15) {
            ("{{- ", " -}}")
        } else {
            ("{{ ", " }}")
        };
        let outer = self.variables;
        let kind = if depth == 0 {
            0
        } else {
            self.random.random_range(0..14)
        };
        let node = match kind {
            10 => {
                let head = self.pipeline(Kind::Any, 2);
                let (yes, no) = (self.list(depth - 1), self.list(depth - 1));
                format!("{open}if {head}{close}{yes}{{{{ else }}}}{no}{{{{ end }}}}")
            }
            11 => {
                let head = self.pipeline(Kind::Any, 2);
                let body = self.list(depth - 1);
                format!("{open}with {head}{close}{body}{{{{ end }}}}")
            }
            12 | 13 => {
                let kind = if self.chance(70) {
                    Kind::List
                } else {
                    Kind::Dict
                };
                // Nothing that may be a large number: Go would count up to it.
                let head = self.call(kind, 2).unwrap_or_else(|| "list 1".to_owned());
                let names = match self.random.random_range(0..3) {
                    0 => String::new(),
                    1 => {
                        self.variables += 1;
                        format!("$v{outer} := ")
                    }
                    _ => {
                        self.variables += 2;
                        format!("$v{}, $v{} := ", outer, outer + 1)
                    }
                };
                self.ranges += 1;
                let mut body = self.list(depth - 1);
                if self.chance(20) {
                    body.push_str(self.pick(&["{{ break }}", "{{ continue }}"]));
                }
                self.ranges -= 1;
                format!("{open}range {names}{head}{close}{body}{{{{ end }}}}")
            }
            9 => {
                let value = self.pipeline(Kind::Any, 2);
                let name = self.variables;
                self.variables += 1;
                return format!("{open}$v{name} := {value}{close}");
            }
            8 => self
                .pick(&["text", " ", "\n", "{", "}", "é☃", "<b>"])
                .to_owned(),
            _ => {
                let value = self.pipeline(Kind::Any, 3);
                format!("{open}{value}{close}")
            }
        };
        self.variables = outer;
        node
    }

    /// A call, a value or several piped into each other.
    fn pipeline(&mut self, kind: Kind, depth: usize) -> String {
        let mut out = self
            .call(kind, depth)
            .unwrap_or_else(|| self.value(kind, depth));
        while self.chance(20) {
            let next = self.pick(&[
                "upper",
                "toJson",
                "quote",
                "len",
                "default 1",
                "printf \"%v\"",
                "trunc 3",
                "toString",
                "int",
                "list",
                "first",
                "join \"-\"",
                "typeOf",
                "not",
                "add 1",
                "html",
                "repeat 2",
                "fromJson",
            ]);
            out = format!("{out} | {next}");
        }
        out
    }

    fn call(&mut self, kind: Kind, depth: usize) -> Option<String> {
        if depth == 0 {
            return None;
        }
        let fitting: Vec<_> = FUNCTIONS
            .iter()
            .filter(|(_, _, gives)| kind == Kind::Any || *gives == kind)
            .collect();
        let (name, wanted, _) = fitting.choose(&mut self.random).copied()?;
        let mut out = (*name).to_owned();
        for wanted in *wanted {
            let fixed = matches!(wanted, Kind::Small | Kind::NewDict);
            let kind = if !fixed && self.chance(4) {
                Kind::Any
            } else {
                *wanted
            };
            out.push(' ');
            out.push_str(&self.value(kind, depth - 1));
        }
        Some(out)
    }

    /// An operand: a constant, a field, a variable or a call in parentheses.
    fn value(&mut self, kind: Kind, depth: usize) -> String {
        if kind == Kind::Small {
            return self.pick(&["0", "1", "2", "5", "-3", "12"]).to_owned();
        }
        if kind == Kind::NewDict {
            return self.pick(DICTS).to_owned();
        }
        if depth > 0
            && self.chance(45)
            && let Some(call) = self.call(kind, depth)
        {
            return format!("({call})");
        }
        if self.variables > 0 && self.chance(15) {
            let variable = self.random.random_range(0..self.variables);
            return format!("$v{variable}");
        }
        match kind {
            Kind::Text => self.pick(TEXTS).to_owned(),
            Kind::Number | Kind::Small => self.pick(NUMBERS).to_owned(),
            Kind::Bool => self.pick(&["true", "false", "true", ".t"]).to_owned(),
            Kind::List => self
                .pick(&[
                    "(list 1 \"a\" nil 2.5)",
                    "(list)",
                    "(until 3)",
                    "(splitList \",\" \"a,b\")",
                    "(list \"a\" \"b\")",
                    "(list (list 1) (dict))",
                ])
                .to_owned(),
            Kind::Dict | Kind::NewDict => self.pick(DICTS).to_owned(),
            Kind::Any => match self.random.random_range(0..3) {
                0 => self.pick(TEXTS).to_owned(),
                1 => self.pick(NUMBERS).to_owned(),
                _ => self.pick(OTHERS).to_owned(),
            },
        }
    }
}
