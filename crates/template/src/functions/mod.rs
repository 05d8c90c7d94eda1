//! The functions that a template can call, one file for each family.

mod args;
mod builtin;
mod cast;
pub(crate) mod crypto;
mod dates;
mod defaults;
mod dicts;
mod encoding;
mod lists;
mod math;
mod merge;
pub(crate) mod methods;
mod paths;
mod reflection;
mod regexes;
pub(crate) mod semver;
mod strings;
mod url;
mod words;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use args::Args;

use crate::error::Failure;
use crate::run::Run;
use crate::value::{Element, List, Map, MapElement, Value};

/// A set of functions.
pub struct Functions {
    table: HashMap<&'static str, Function>,
}

impl Functions {
    /// Go's builtin functions and sprig 3.3 without `env`, `expandenv` and `getHostByName`: what the controller of
    /// Sealed Secrets offers (sealed-secrets.md 6.2).
    pub fn sealed_secrets() -> &'static Self {
        static SET: LazyLock<Functions> = LazyLock::new(|| Functions::of(&SPRIG));
        &SET
    }

    /// The names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.table.keys().copied()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Function> {
        self.table.get(name)
    }

    /// Later tables win over earlier ones, and all over the builtin functions.
    fn of(tables: &[&[Entry]]) -> Self {
        let mut table = HashMap::new();
        for (name, signature, body) in builtin::TABLE {
            let mut function = Function::new(signature, *body);
            function.short_circuits = matches!(*name, "and" | "or");
            table.insert(*name, function);
        }
        for (name, signature, body) in tables.iter().copied().flatten() {
            table.insert(*name, Function::new(signature, *body));
        }
        Self { table }
    }
}

/// Sprig's families.
const SPRIG: [&[Entry]; 13] = [
    crypto::TABLE,
    dates::TABLE,
    defaults::TABLE,
    dicts::TABLE,
    encoding::TABLE,
    lists::TABLE,
    math::TABLE,
    paths::TABLE,
    reflection::TABLE,
    regexes::TABLE,
    semver::TABLE,
    strings::TABLE,
    url::TABLE,
];

/// Name, signature and body. A signature is the types of the parameters; `...` stands before that of a variadic one.
type Entry = (&'static str, &'static str, Body);
type Body = fn(&mut Run<'_, '_>, &[Value]) -> Result<Value, Failure>;

/// A function or a method; of a method, the first value is the receiver and no parameter.
pub(crate) struct Function {
    pub(crate) parameters: Vec<Type>,
    pub(crate) variadic: Option<Type>,
    pub(crate) body: Body,
    short_circuits: bool,
}

impl Function {
    fn new(signature: &str, body: Body) -> Self {
        let mut variadic = None;
        let mut parameters = Vec::new();
        for word in signature.split_whitespace() {
            match word.strip_prefix("...") {
                Some(word) => variadic = Some(Type::of(word)),
                None => parameters.push(Type::of(word)),
            }
        }
        Self {
            parameters,
            variadic,
            body,
            short_circuits: false,
        }
    }

    /// Whether it is `and` or `or`, which the executor handles.
    pub(crate) fn short_circuits(&self) -> bool {
        self.short_circuits
    }
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// `interface{}`
    Any,
    /// `reflect.Value`: what the builtin functions take.
    Value,
    Bool,
    Int,
    Int64,
    Uint32,
    Float,
    String,
    /// `[]interface{}`
    List,
    /// `map[string]interface{}`
    Map,
    Time,
    Duration,
    Month,
    Certificate,
    Version,
}

impl Type {
    fn of(word: &str) -> Self {
        match word {
            "any" => Self::Any,
            "value" => Self::Value,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "int64" => Self::Int64,
            "uint32" => Self::Uint32,
            "float" => Self::Float,
            "string" => Self::String,
            "list" => Self::List,
            "map" => Self::Map,
            "time" => Self::Time,
            "duration" => Self::Duration,
            "month" => Self::Month,
            "certificate" => Self::Certificate,
            "version" => Self::Version,
            other => unreachable!("no type is called {other}"),
        }
    }

    /// Go's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Value => "reflect.Value",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Float => "float64",
            Self::String => "string",
            Self::List => "[]interface {}",
            Self::Map => "map[string]interface {}",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::Month => "time.Month",
            Self::Certificate => "sprig.certificate",
            Self::Version => "*semver.Version",
        }
    }

    /// What nil becomes, where the type has one.
    pub(crate) fn nil(self) -> Option<Value> {
        match self {
            Self::Any => Some(Value::Nil),
            Self::Value => Some(Value::Invalid),
            Self::List => Some(List::nil(Element::Any).into()),
            Self::Map => Some(Map::nil().into()),
            _ => None,
        }
    }

    /// Whether a value is assignable to it.
    pub(crate) fn takes(self, value: &Value) -> bool {
        use crate::value::{IntType, UintType};
        match (self, value) {
            (Self::Any | Self::Value, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Int, Value::Int(IntType::Int, _))
            | (Self::Int64, Value::Int(IntType::Int64, _))
            | (Self::Duration, Value::Int(IntType::Duration, _))
            | (Self::Month, Value::Int(IntType::Month, _))
            | (Self::Uint32, Value::Uint(UintType::Uint32, _))
            | (Self::Float, Value::Float(_))
            | (Self::String, Value::String(_))
            | (Self::Time, Value::Time(_))
            | (Self::Certificate, Value::Certificate(_)) => true,
            (Self::Version, Value::Version(version)) => !version.by_value,
            (Self::List, Value::List(list)) => list.element == Element::Any,
            (Self::Map, Value::Map(map)) => map.element == MapElement::Any,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sealed-secrets.md 6.2, and Go's own functions.
    const NAMES: &str = "abbrev abbrevboth add add1 add1f addf adler32sum ago all any append atoi b32dec b32enc b64dec
        b64enc base bcrypt biggest buildCustomCert camelcase cat ceil chunk clean coalesce compact concat contains date
        dateInZone dateModify date_in_zone date_modify decryptAES deepCopy deepEqual default derivePassword dict dig dir
        div divf duration durationRound empty encryptAES ext fail first float64 floor fromJson genCA genCAWithKey
        genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey get has hasKey
        hasPrefix hasSuffix hello htmlDate htmlDateInZone htpasswd indent initial initials int int64 isAbs join
        kebabcase keys kindIs kindOf last list lower max maxf merge mergeOverwrite min minf mod mul mulf mustAppend
        mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson mustHas mustInitial mustLast mustMerge
        mustMergeOverwrite mustPrepend mustPush mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll
        mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse mustSlice mustToDate mustToJson mustToPrettyJson
        mustToRawJson mustUniq mustWithout must_date_modify nindent nospace now omit osBase osClean osDir osExt osIsAbs
        pick pluck plural prepend push quote randAlpha randAlphaNum randAscii randBytes randInt randNumeric regexFind
        regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest
        reverse round semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice snakecase sortAlpha split
        splitList splitn squote sub subf substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson
        toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq
        unixEpoch unset until untilStep untitle upper urlJoin urlParse uuidv4 values without wrap wrapWith
        and or not eq ne lt le gt ge len index print printf println html js urlquery call";

    #[test]
    fn every_function_of_the_reference_is_there_and_no_other() {
        let mut names: Vec<&str> = Functions::sealed_secrets().names().collect();
        let mut wanted: Vec<&str> = NAMES.split_whitespace().collect();
        names.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
    }
}
