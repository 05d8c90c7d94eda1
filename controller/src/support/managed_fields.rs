//! What a field manager of ours set on an object: how a label that left a template is told from one
//! that somebody else put there.

use std::collections::BTreeSet;

use kube::api::ObjectMeta;

/// Labels and annotations that a field manager set earlier.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetBy {
    /// Label keys.
    pub labels: BTreeSet<String>,
    /// Annotation keys.
    pub annotations: BTreeSet<String>,
}

impl SetBy {
    /// Reads what `manager` set out of an object's managed fields.
    pub fn of(manager: &str, metadata: &ObjectMeta) -> Self {
        let mut set = Self::default();
        let entries = metadata.managed_fields.iter().flatten();
        let ours = entries
            .filter(|entry| entry.manager.as_deref() == Some(manager))
            .filter_map(|entry| entry.fields_v1.as_ref());
        for fields in ours {
            let keys = |of: &str| {
                let members = fields.0.pointer(&format!("/f:metadata/{of}"));
                members
                    .and_then(|members| members.as_object())
                    .into_iter()
                    .flat_map(|members| members.keys())
                    .filter_map(|key| key.strip_prefix("f:").map(str::to_owned))
            };
            set.labels.extend(keys("f:labels"));
            set.annotations.extend(keys("f:annotations"));
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_name_what_was_set() {
        let entry = |manager: &str, key: &str| {
            json!({
                "manager": manager,
                "fieldsV1": { "f:metadata": { "f:labels": { ".": {}, key: {} }, "f:annotations": { "f:note": {} } } },
            })
        };
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "managedFields": [entry("me", "f:mine"), entry("other", "f:theirs")],
        }))
        .unwrap();
        let set = SetBy::of("me", &metadata);
        assert_eq!(set.labels, BTreeSet::from(["mine".to_owned()]));
        assert_eq!(set.annotations, BTreeSet::from(["note".to_owned()]));
    }
}
