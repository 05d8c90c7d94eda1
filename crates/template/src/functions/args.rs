//! The arguments of a call, whose types the executor has checked.

use std::rc::Rc;

use super::crypto::Certificate;
use super::semver::Version;
use crate::time::Time;
use crate::value::{Element, List, Map, Str, Value};

/// Reads arguments by position. A type that was not checked gives an empty value.
pub(crate) trait Args {
    fn str(&self, at: usize) -> Str;
    fn int(&self, at: usize) -> i64;
    fn float(&self, at: usize) -> f64;
    fn bool(&self, at: usize) -> bool;
    fn map(&self, at: usize) -> Map;
    fn list(&self, at: usize) -> List;
    fn time(&self, at: usize) -> Time;
    fn version(&self, at: usize) -> Option<Rc<Version>>;
    fn certificate(&self, at: usize) -> Option<Rc<Certificate>>;
    fn rest(&self, from: usize) -> &[Value];
}

impl Args for [Value] {
    fn str(&self, at: usize) -> Str {
        match self.get(at) {
            Some(Value::String(text)) => text.clone(),
            _ => Str::from(""),
        }
    }

    fn int(&self, at: usize) -> i64 {
        match self.get(at) {
            Some(Value::Int(_, value)) => *value,
            Some(Value::Uint(_, value)) => i64::try_from(*value).unwrap_or(i64::MAX),
            _ => 0,
        }
    }

    fn float(&self, at: usize) -> f64 {
        match self.get(at) {
            Some(Value::Float(value)) => *value,
            _ => 0.0,
        }
    }

    fn bool(&self, at: usize) -> bool {
        matches!(self.get(at), Some(Value::Bool(true)))
    }

    fn map(&self, at: usize) -> Map {
        match self.get(at) {
            Some(Value::Map(map)) => map.clone(),
            _ => Map::nil(),
        }
    }

    fn list(&self, at: usize) -> List {
        match self.get(at) {
            Some(Value::List(list)) => list.clone(),
            _ => List::nil(Element::Any),
        }
    }

    fn time(&self, at: usize) -> Time {
        match self.get(at) {
            Some(Value::Time(time)) => time.clone(),
            _ => Time::zero(),
        }
    }

    fn version(&self, at: usize) -> Option<Rc<Version>> {
        match self.get(at) {
            Some(Value::Version(version)) => Some(Rc::clone(version)),
            _ => None,
        }
    }

    fn certificate(&self, at: usize) -> Option<Rc<Certificate>> {
        match self.get(at) {
            Some(Value::Certificate(certificate)) => Some(Rc::clone(certificate)),
            _ => None,
        }
    }

    fn rest(&self, from: usize) -> &[Value] {
        self.get(from..).unwrap_or_default()
    }
}
