//! sprig: types and kinds.

use super::defaults::deep_equal;
use super::{Args as _, Entry};
use crate::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("typeOf", "any", |_, a| Ok(Value::string(a[0].type_name()))),
    ("kindOf", "any", |_, a| Ok(Value::string(a[0].kind_name()))),
    ("typeIs", "string any", |_, a| {
        Ok((*a.str(0) == *a[1].type_name().as_bytes()).into())
    }),
    ("typeIsLike", "string any", |_, a| {
        let name = a[1].type_name();
        let wanted = a.str(0);
        let pointer = name
            .strip_prefix('*')
            .is_some_and(|name| name.as_bytes() == &*wanted);
        Ok((*wanted == *name.as_bytes() || pointer).into())
    }),
    ("kindIs", "string any", |_, a| {
        Ok((*a.str(0) == *a[1].kind_name().as_bytes()).into())
    }),
    ("deepEqual", "any any", |run, a| {
        Ok(deep_equal(run, &a[0], &a[1])?.into())
    }),
];
