//! The values of a template: Go's kinds and the types that a template can get hold of.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::functions::crypto::Certificate;
use crate::functions::semver::Version;
use crate::time::Time;

/// A dynamic value.
///
/// `Debug` shows the type alone.
#[derive(Clone)]
pub(crate) enum Value {
    /// No value at all: a missing key, Go's zero `reflect.Value`. Prints as `<no value>`.
    Invalid,
    /// A nil interface: a null in a list or map.
    Nil,
    Bool(bool),
    Int(IntType, i64),
    Uint(UintType, u64),
    Float(f64),
    Complex(f64, f64),
    String(Str),
    List(List),
    Map(Map),
    Time(Time),
    /// `*semver.Version`.
    Version(Rc<Version>),
    /// sprig's `certificate`.
    Certificate(Rc<Certificate>),
}

/// The signed integer types that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntType {
    Int,
    Int64,
    Duration,
    Month,
    Weekday,
}

/// The unsigned integer types that occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UintType {
    Uint8,
    Uint32,
    Uint64,
}

impl Value {
    pub(crate) fn int(value: i64) -> Self {
        Self::Int(IntType::Int, value)
    }

    pub(crate) fn int64(value: i64) -> Self {
        Self::Int(IntType::Int64, value)
    }

    pub(crate) fn string(text: impl Into<Str>) -> Self {
        Self::String(text.into())
    }

    /// Go's name of the type; of nothing, `<nil>` as `%T` prints it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Invalid | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(kind, _) => match kind {
                IntType::Int => "int",
                IntType::Int64 => "int64",
                IntType::Duration => "time.Duration",
                IntType::Month => "time.Month",
                IntType::Weekday => "time.Weekday",
            },
            Self::Uint(kind, _) => match kind {
                UintType::Uint8 => "uint8",
                UintType::Uint32 => "uint32",
                UintType::Uint64 => "uint64",
            },
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::String(_) => "string",
            Self::List(list) => list.element.list_type(),
            Self::Map(map) => match map.element {
                MapElement::Any => "map[string]interface {}",
                MapElement::String => "map[string]string",
            },
            Self::Time(_) => "time.Time",
            Self::Version(version) if version.by_value => "semver.Version",
            Self::Version(_) => "*semver.Version",
            Self::Certificate(_) => "sprig.certificate",
        }
    }

    /// Go's name of the kind.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Invalid | Self::Nil => "invalid",
            Self::Int(IntType::Int | IntType::Month | IntType::Weekday, _) => "int",
            Self::Int(..) => "int64",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Time(_) | Self::Certificate(_) => "struct",
            Self::Version(version) if version.by_value => "struct",
            Self::Version(_) => "ptr",
            other => other.type_name(),
        }
    }

    /// Whether it is nothing or a null.
    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Invalid | Self::Nil)
    }

    /// Whether it is nothing, a null, or a nil list or map.
    pub(crate) fn is_nil_of_its_type(&self) -> bool {
        match self {
            Self::Invalid | Self::Nil => true,
            Self::List(list) => list.nil,
            Self::Map(map) => map.entries.is_none(),
            _ => false,
        }
    }

    /// What `if` and `with` ask: not the zero value; a struct always is true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Invalid | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(_, value) => *value != 0,
            Self::Uint(_, value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => map.len() > 0,
            Self::Time(_) | Self::Version(_) | Self::Certificate(_) => true,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Str> for Value {
    fn from(text: Str) -> Self {
        Self::String(text)
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Self::List(list)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

/// A Go string: any bytes, shared, cleared when the last holder goes.
#[derive(Clone)]
pub(crate) struct Str {
    bytes: Rc<Zeroizing<Vec<u8>>>,
    /// It stands in the template as it is, so that a message may show it.
    literal: bool,
}

impl Str {
    /// Text that stands in the template.
    pub(crate) fn literal(bytes: &[u8]) -> Self {
        Self {
            literal: true,
            ..Self::from(bytes)
        }
    }

    /// The text, when it stands in the template and so is no secret.
    pub(crate) fn shown(&self) -> Option<String> {
        self.literal
            .then(|| String::from_utf8_lossy(&self.bytes).into_owned())
    }
}

impl From<&[u8]> for Str {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Vec<u8>> for Str {
    fn from(bytes: Vec<u8>) -> Self {
        Zeroizing::new(bytes).into()
    }
}

impl From<Zeroizing<Vec<u8>>> for Str {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self {
            bytes: Rc::new(bytes),
            literal: false,
        }
    }
}

impl Deref for Str {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::borrow::Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// A Go slice; never changed once made.
#[derive(Clone)]
pub(crate) struct List {
    pub(crate) element: Element,
    pub(crate) items: Rc<Vec<Value>>,
    pub(crate) nil: bool,
    /// How deep lists lie in it, itself included.
    pub(crate) depth: u32,
}

/// The element type of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// `[]interface{}`
    Any,
    /// `[]string`
    String,
    /// `[]int`
    Int,
    /// `[][]interface{}`
    List,
}

impl Element {
    fn list_type(self) -> &'static str {
        match self {
            Self::Any => "[]interface {}",
            Self::String => "[]string",
            Self::Int => "[]int",
            Self::List => "[][]interface {}",
        }
    }
}

impl List {
    /// A slice of the element type given; its items must be of that type.
    pub(crate) fn new(element: Element, items: Vec<Value>) -> Self {
        let depth = items.iter().map(|item| match item {
            Value::List(list) => list.depth,
            _ => 0,
        });
        Self {
            element,
            depth: 1 + depth.max().unwrap_or(0),
            items: Rc::new(items),
            nil: false,
        }
    }

    pub(crate) fn any(items: Vec<Value>) -> Self {
        Self::new(Element::Any, items)
    }

    pub(crate) fn strings(items: impl IntoIterator<Item = impl Into<Str>>) -> Self {
        let items = items.into_iter().map(|item| Value::String(item.into()));
        Self::new(Element::String, items.collect())
    }

    /// The nil slice.
    pub(crate) fn nil(element: Element) -> Self {
        Self {
            nil: true,
            ..Self::new(element, Vec::new())
        }
    }
}

/// The entries of a map, sorted by key as Go prints and walks them.
pub(crate) type Entries = BTreeMap<Str, Value>;

/// A Go map with string keys: shared and changeable.
#[derive(Clone)]
pub(crate) struct Map {
    pub(crate) element: MapElement,
    /// None is the nil map.
    pub(crate) entries: Option<Rc<RefCell<Entries>>>,
}

/// The element type of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapElement {
    /// `map[string]interface{}`
    Any,
    /// `map[string]string`
    String,
}

impl Map {
    pub(crate) fn nil() -> Self {
        Self {
            element: MapElement::Any,
            entries: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries
            .as_ref()
            .map_or(0, |entries| entries.borrow().len())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        self.entries.as_ref()?.borrow().get(key).cloned()
    }

    /// A copy of the entries, so that the map may change while they are walked.
    pub(crate) fn snapshot(&self) -> Vec<(Str, Value)> {
        let Some(entries) = &self.entries else {
            return Vec::new();
        };
        let entries = entries.borrow();
        entries
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Whether both are the same map in memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.entries, &other.entries) {
            (Some(one), Some(two)) => Rc::ptr_eq(one, two),
            (None, None) => true,
            _ => false,
        }
    }
}
