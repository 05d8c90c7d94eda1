//! sprig: semantic versions, as `Masterminds/semver` reads, compares and constrains them.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("semver", "string", |_, a| {
        let version = text(&a.str(0)).and_then(Version::parse);
        version
            .map(|version| Value::Version(Rc::new(version)))
            .ok_or_else(no_version)
    }),
    ("semverCompare", "string string", compare),
];

fn no_version() -> Failure {
    Failure::new("invalid semantic version")
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn compare(run: &mut Run<'_, '_>, a: &[Value]) -> Result<Value, Failure> {
    let constraint = a.str(0);
    run.step(constraint.len())?;
    let constraints = text(&constraint)
        .and_then(Constraints::parse)
        .ok_or_else(|| Failure::new("improper constraint"))?;
    let version = text(&a.str(1))
        .and_then(Version::parse)
        .ok_or_else(no_version)?;
    Ok(constraints.check(&version).into())
}

/// A version: major, minor, patch, pre-release, metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) pre: String,
    pub(crate) metadata: String,
    pub(crate) original: String,
    /// It is a `semver.Version` and no pointer to one, so that fewer methods can be called.
    pub(crate) by_value: bool,
}

#[expect(clippy::unwrap_used, reason = "fixed patterns")]
fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static LOOSE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"^v?([0-9]+)(\.[0-9]+)?(\.[0-9]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?$",
    )
});

fn group<'t>(found: &Captures<'t>, at: usize) -> &'t str {
    found.get(at).map_or("", |part| part.as_str())
}

impl Version {
    pub(crate) fn parse(source: &str) -> Option<Self> {
        let found = LOOSE.captures(source)?;
        let number = |at: usize| {
            let digits = group(&found, at).trim_start_matches('.');
            if digits.is_empty() {
                Some(0)
            } else {
                digits.parse::<u64>().ok()
            }
        };
        let pre = group(&found, 5);
        // A number in a pre-release has no leading zero.
        let zero_first = |part: &str| {
            part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit())
        };
        if pre.split('.').any(zero_first) {
            return None;
        }
        Some(Self {
            major: number(1)?,
            minor: number(2)?,
            patch: number(3)?,
            pre: pre.to_owned(),
            metadata: group(&found, 8).to_owned(),
            original: source.to_owned(),
            by_value: false,
        })
    }

    /// The order of versions; metadata does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |v: &Self| (v.major, v.minor, v.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare_pre(&self.pre, &other.pre),
            }
        })
    }

    /// The same version with other numbers and nothing behind them.
    pub(crate) fn bumped(&self, major: u64, minor: u64, patch: u64) -> Self {
        let mut next = Self {
            major,
            minor,
            patch,
            pre: String::new(),
            metadata: String::new(),
            original: String::new(),
            by_value: true,
        };
        let prefix = if self.original.starts_with('v') {
            "v"
        } else {
            ""
        };
        next.original = format!("{prefix}{next}");
        next
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

fn compare_pre(one: &str, two: &str) -> Ordering {
    let (mut ones, mut twos) = (one.split('.'), two.split('.'));
    loop {
        let (one, two) = (ones.next(), twos.next());
        if one.is_none() && two.is_none() {
            return Ordering::Equal;
        }
        let order = compare_part(one.unwrap_or(""), two.unwrap_or(""));
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Numbers come before words; nothing comes first.
fn compare_part(one: &str, two: &str) -> Ordering {
    if one == two {
        return Ordering::Equal;
    }
    if one.is_empty() {
        return Ordering::Less;
    }
    if two.is_empty() {
        return Ordering::Greater;
    }
    match (one.parse::<u64>(), two.parse::<u64>()) {
        (Ok(one), Ok(two)) if one > two => Ordering::Greater,
        (Ok(_), Ok(_)) => Ordering::Less,
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => one.cmp(two),
    }
}

// ---- constraints ----

const VERSION: &str = r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?";
const OPERATORS: &str = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^";
/// Go's `\s`.
const SPACE: &str = r"[\t\n\f\r ]";

static ONE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        "^{SPACE}*({OPERATORS}){SPACE}*({VERSION}){SPACE}*$"
    ))
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        "{SPACE}*({VERSION}){SPACE}+-{SPACE}+({VERSION}){SPACE}*"
    ))
});
static FIND: LazyLock<Regex> =
    LazyLock::new(|| compiled(&format!("({OPERATORS}){SPACE}*({VERSION})")));
static VALID: LazyLock<Regex> = LazyLock::new(|| {
    let one = format!("({OPERATORS}){SPACE}*({VERSION}){SPACE}*");
    compiled(&format!("^({SPACE}*{one})((?:{SPACE}+|,{SPACE}*){one})*$"))
});

/// Alternatives (`||`) of constraints that all have to hold.
struct Constraints(Vec<Vec<Constraint>>);

impl Constraints {
    fn parse(source: &str) -> Option<Self> {
        let source = with_ranges_spelled_out(source);
        let alternatives = source.split("||").map(|part| {
            if !VALID.is_match(part) {
                return None;
            }
            FIND.find_iter(part)
                .map(|found| Constraint::parse(found.as_str()))
                .collect()
        });
        alternatives.collect::<Option<Vec<_>>>().map(Self)
    }

    fn check(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let with_pre = all
                .iter()
                .any(|constraint| !constraint.version.pre.is_empty());
            all.iter()
                .all(|constraint| constraint.check(version, with_pre))
        })
    }
}

/// `1.2 - 2.3` is `>= 1.2, <= 2.3`.
fn with_ranges_spelled_out(source: &str) -> String {
    let mut out = source.to_owned();
    for found in RANGE.captures_iter(source) {
        let (low, high) = (group(&found, 1), group(&found, 11));
        out = out.replacen(group(&found, 0), &format!(">= {low}, <= {high} "), 1);
    }
    out
}

struct Constraint {
    operator: String,
    version: Version,
    /// Something is a wildcard or missing; then from the minor or the patch number on.
    dirty: bool,
    minor_dirty: bool,
    patch_dirty: bool,
}

impl Constraint {
    fn parse(source: &str) -> Option<Self> {
        let found = ONE.captures(source)?;
        let part = |at: usize| group(&found, at);
        let is_wild = |text: &str| matches!(text.trim_start_matches('.'), "x" | "X" | "*" | "");
        let (mut dirty, mut minor_dirty, mut patch_dirty) = (true, false, false);
        let pre = part(6);
        // A leading dot belongs to the part behind it.
        let version = if is_wild(part(3)) {
            format!("0.0.0{pre}")
        } else if is_wild(part(4)) {
            minor_dirty = true;
            format!("{}.0.0{pre}", part(3))
        } else if is_wild(part(5)) {
            patch_dirty = true;
            format!("{}{}.0{pre}", part(3), part(4))
        } else {
            dirty = false;
            part(2).to_owned()
        };
        Some(Self {
            operator: part(1).to_owned(),
            version: Version::parse(&version)?,
            dirty,
            minor_dirty,
            patch_dirty,
        })
    }

    fn check(&self, version: &Version, with_pre: bool) -> bool {
        if !version.pre.is_empty() && !with_pre {
            return false;
        }
        let order = version.compare(&self.version);
        match self.operator.as_str() {
            "!=" => self.differs(version),
            ">" => self.is_below(version),
            "<" => order == Ordering::Less,
            ">=" | "=>" => order != Ordering::Less,
            "<=" | "=<" => self.is_at_least(version),
            "~" | "~>" => self.tilde(version),
            "^" => self.caret(version),
            _ if self.dirty => self.tilde(version),
            _ => order == Ordering::Equal,
        }
    }

    fn differs(&self, version: &Version) -> bool {
        let own = &self.version;
        if self.dirty {
            if own.major != version.major {
                return true;
            }
            if own.minor != version.minor && !self.minor_dirty {
                return true;
            }
            if self.minor_dirty {
                return false;
            }
            if own.patch != version.patch && !self.patch_dirty {
                return true;
            }
            if self.patch_dirty {
                let pre = !version.pre.is_empty() || !own.pre.is_empty();
                return pre && compare_pre(&version.pre, &own.pre) != Ordering::Equal;
            }
        }
        version.compare(own) != Ordering::Equal
    }

    /// `>`
    fn is_below(&self, version: &Version) -> bool {
        let own = &self.version;
        if self.dirty {
            if version.major != own.major {
                return version.major > own.major;
            }
            if self.minor_dirty {
                return false;
            }
            if self.patch_dirty {
                return version.minor > own.minor;
            }
        }
        version.compare(own) == Ordering::Greater
    }

    /// `<=`
    fn is_at_least(&self, version: &Version) -> bool {
        let own = &self.version;
        if !self.dirty {
            return version.compare(own) != Ordering::Greater;
        }
        if version.major != own.major {
            return version.major < own.major;
        }
        version.minor <= own.minor || self.minor_dirty
    }

    fn tilde(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.compare(own) == Ordering::Less {
            return false;
        }
        let is_zero = own.major == 0 && own.minor == 0 && own.patch == 0;
        if is_zero && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        version.major == own.major && (version.minor == own.minor || self.minor_dirty)
    }

    fn caret(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.compare(own) == Ordering::Less {
            return false;
        }
        if own.major > 0 || self.minor_dirty {
            return version.major == own.major;
        }
        if version.major > 0 {
            return false;
        }
        if own.minor > 0 || self.patch_dirty {
            return version.minor == own.minor;
        }
        version.minor == 0 && version.patch == own.patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_hold_as_in_the_original() {
        for (constraint, version, wanted) in [
            ("^1.2.3", "1.9.0", true),
            ("^1.2.3", "2.0.0", false),
            ("~1.2", "1.2.9", true),
            ("1.x", "1.7.0", true),
            (">=1.2, <2 || =3.0.0", "3.0.0", true),
            ("1.2 - 1.4", "1.4.0", true),
            (">1", "2.0.0-rc1", false),
            (">1-0", "2.0.0-rc1", true),
            ("*", "0.0.1", true),
            ("!=1.2.x", "1.2.4", false),
        ] {
            let constraints = Constraints::parse(constraint).unwrap();
            let version = Version::parse(version).unwrap();
            assert_eq!(
                constraints.check(&version),
                wanted,
                "{constraint} {version}"
            );
        }
        assert!(Constraints::parse("hello").is_none());
        assert!(Version::parse("1.2.3-01").is_none());
    }
}
