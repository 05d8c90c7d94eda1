//! What happens when somebody else changes a Secret: pure decisions.

use std::{collections::VecDeque, time::Duration};

use clap::ValueEnum;
use kube::api::ObjectMeta;
use selkie_api::{SealedSecret, sealed_secret::TemplateMetadata};
use tokio::time::Instant;

use super::decide::{FIELD_MANAGER, Failure, FailureKind};
use crate::support::ownership::{MANAGED, PATCH};

/// Annotation of a SealedSecret that sets its policy: `repair`, `report` or `off`.
pub const DRIFT_ANNOTATION: &str = "selkie/drift";

/// Reversions within [`SPAN`] after which it stops.
const REVERSIONS: usize = 3;
/// The time in which reversions count, and without a change of others after which they begin anew.
pub const SPAN: Duration = Duration::from_secs(10 * 60);

/// What is done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Drift {
    /// The Secret is put right.
    Repair,
    /// The condition says so.
    Report,
    /// Nothing.
    Off,
}

/// Returns the policy of one object: its own word, or that of the process, or that what was made here is repaired and
/// what was adopted is reported.
pub fn policy(sealed: &SealedSecret, of_process: Option<Drift>, adopted: bool) -> Drift {
    let own = word(sealed).and_then(|word| Drift::from_str(word, false).ok());
    own.or(of_process).unwrap_or(match adopted {
        true => Drift::Report,
        false => Drift::Repair,
    })
}

/// Returns what the object says of its policy.
pub fn word(sealed: &SealedSecret) -> Option<&str> {
    let annotations = sealed.metadata.annotations.as_ref()?;
    annotations.get(DRIFT_ANNOTATION).map(String::as_str)
}

/// Returns whether a Secret was somebody else's before: it carries the mark that handed it over, and not because the
/// template has it.
pub fn is_adopted(live: &ObjectMeta, template: &TemplateMetadata) -> bool {
    let annotations = live.annotations.as_ref();
    [MANAGED, PATCH].iter().any(|mark| {
        let here = annotations.and_then(|all| all.get(*mark));
        here.is_some_and(|value| value == "true") && template.annotations.get(*mark) != here
    })
}

/// Returns who changed the Secret last, besides us: the field manager, as the API server books it.
pub fn changed_by(live: &ObjectMeta) -> Option<&str> {
    let entries = live.managed_fields.iter().flatten();
    let others = entries.filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    // Of equal times, the last one in the list.
    let last = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last?.manager.as_deref()
}

/// Says that the Secret is not as it should be, and is left so.
pub fn reported(live: &ObjectMeta) -> Failure {
    let text = format!(
        "{}; it is left as it is, as drift of this Secret is reported only (annotation {DRIFT_ANNOTATION}: repair puts \
         it right)",
        head(live)
    );
    failure(text)
}

/// Says that somebody else keeps changing the Secret, and that it is left as it is now.
pub fn fought(live: &ObjectMeta) -> Failure {
    let text = format!(
        "{}, again after {REVERSIONS} repairs within ten minutes; it is left as it is until ten minutes have passed \
         without a change, or the SealedSecret changes",
        head(live)
    );
    failure(text)
}

fn head(live: &ObjectMeta) -> String {
    let name = live.name.as_deref().unwrap_or_default();
    let by = match changed_by(live) {
        Some(manager) => format!("field manager {manager:?}"),
        None => "somebody else".to_owned(),
    };
    format!("Secret {name:?} was changed by {by}")
}

fn failure(text: String) -> Failure {
    Failure {
        kind: FailureKind::Drift,
        status: text.clone(),
        event: text,
    }
}

/// The reversions of one Secret.
#[derive(Clone, Debug, Default)]
pub struct Reversions(VecDeque<Instant>);

impl Reversions {
    /// Returns whether there were too many; each further change keeps it so.
    pub fn are_exhausted(&mut self, now: Instant) -> bool {
        self.0
            .retain(|at| now.saturating_duration_since(*at) < SPAN);
        let exhausted = self.0.len() >= REVERSIONS;
        if exhausted {
            self.0.iter_mut().for_each(|at| *at = now);
        }
        exhausted
    }

    /// Counts a reversion that was written.
    pub fn count(&mut self, now: Instant) {
        self.0.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sealed(word: Option<&str>) -> SealedSecret {
        let annotations = word.map(|word| json!({ DRIFT_ANNOTATION: word }));
        serde_json::from_value(json!({
            "metadata": { "name": "db", "annotations": annotations }, "spec": { "encryptedData": {} },
        }))
        .unwrap()
    }

    #[test]
    fn the_nearest_word_counts() {
        use Drift::{Off, Repair, Report};
        for (word, of_process, adopted, expected) in [
            (None, None, false, Repair),
            (None, None, true, Report),
            (None, Some(Off), false, Off),
            (None, Some(Repair), true, Repair),
            (Some("off"), Some(Repair), false, Off),
            (Some("repair"), Some(Report), true, Repair),
            (Some("Repair"), Some(Report), false, Report),
            (Some("x"), None, true, Report),
        ] {
            let found = policy(&sealed(word), of_process, adopted);
            assert_eq!(found, expected, "{word:?} {of_process:?} {adopted}");
        }
    }

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn who_handed_a_secret_over_sees_no_repair() {
        let live = |mark: &str, value: &str| meta(json!({ "annotations": { mark: value } }));
        let none = TemplateMetadata::default();
        let own = TemplateMetadata {
            annotations: [(MANAGED.to_owned(), "true".to_owned())].into(),
            ..TemplateMetadata::default()
        };
        assert!(is_adopted(&live(MANAGED, "true"), &none));
        assert!(is_adopted(&live(PATCH, "true"), &own));
        assert!(!is_adopted(&live(MANAGED, "true"), &own));
        assert!(!is_adopted(&live(MANAGED, "TRUE"), &none));
        assert!(!is_adopted(&ObjectMeta::default(), &none));
    }

    #[test]
    fn the_other_one_is_named() {
        let entry = |manager: &str, second: u8| json!({ "manager": manager, "time": format!("2026-01-01T00:00:0{second}Z") });
        let live = meta(json!({ "name": "db", "managedFields": [
            entry("kubectl-edit", 3), entry("other", 2), entry(FIELD_MANAGER, 9),
        ] }));
        assert_eq!(changed_by(&live), Some("kubectl-edit"));
        let text = fought(&live).status;
        assert!(
            text.starts_with("Secret \"db\" was changed by field manager \"kubectl-edit\""),
            "{text}"
        );
        assert_eq!(changed_by(&ObjectMeta::default()), None);
        assert!(
            reported(&ObjectMeta::default())
                .status
                .contains("somebody else")
        );
    }

    #[test]
    fn three_reversions_and_no_more_until_it_is_quiet() {
        let start = Instant::now();
        let at = |minute: u64| start + Duration::from_secs(60 * minute);
        let reverts = |reversions: &mut Reversions, minute: u64| {
            let exhausted = reversions.are_exhausted(at(minute));
            if !exhausted {
                reversions.count(at(minute));
            }
            !exhausted
        };
        let mut fast = Reversions::default();
        for (minute, expected) in [
            (0, true),
            (1, true),
            (2, true),
            (3, false),
            (9, false),
            (18, false),
            (28, true),
        ] {
            assert_eq!(reverts(&mut fast, minute), expected, "{minute}");
        }
        let mut slow = Reversions::default();
        for minute in [0, 5, 10, 15, 20] {
            assert!(reverts(&mut slow, minute), "{minute}");
        }
    }
}
