//! Table tests of `decide` and `report`: no server, no clock.

use serde_json::{Value, json};

use super::*;
use crate::{sealed::unseal::EntryError, support::ownership::MANAGED};

const UID: &str = "00000000-sealed";
const KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

/// A SealedSecret `ns/db` of generation 3; `edit` changes its JSON.
fn sealed(edit: impl FnOnce(&mut Value)) -> SealedSecret {
    let mut object = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "name": "db", "namespace": "ns", "uid": UID, "generation": 3 },
        "spec": {
            "encryptedData": { "password": "AgA=" },
            "template": { "metadata": { "labels": { "app": "db" }, "annotations": { "note": "n" } } },
        },
    });
    edit(&mut object);
    serde_json::from_value(object).unwrap()
}

fn owner(kind: &str, uid: &str) -> Value {
    let api_version = match kind {
        "SealedSecret" => "bitnami.com/v1alpha1",
        _ => "external-secrets.io/v1",
    };
    json!({ "apiVersion": api_version, "kind": kind, "name": "db", "uid": uid, "controller": true })
}

/// The Secret that the SealedSecret above makes, as the API server returns it; `edit` changes it.
fn live(edit: impl FnOnce(&mut Value)) -> SecretObject {
    let mut object = json!({
        "metadata": {
            "name": "db", "namespace": "ns", "uid": "secret", "resourceVersion": "7",
            "labels": { "app": "db" }, "annotations": { "note": "n" },
            "ownerReferences": [owner("SealedSecret", UID)],
            "managedFields": [{
                "manager": FIELD_MANAGER, "operation": "Update",
                "fieldsV1": { "f:metadata": {
                    "f:labels": { ".": {}, "f:app": {}, "f:old": {} },
                    "f:annotations": { "f:note": {}, "f:old/one": {} },
                }},
            }],
        },
        "type": "Opaque",
        "data": { "password": "c2VjcmV0" },
    });
    edit(&mut object);
    serde_json::from_value(object).unwrap()
}

fn opened(values: &[(&str, &str)]) -> Result<Content, UnsealError> {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into()));
    Ok(SecretData(values.collect()).into())
}

fn values() -> Result<Content, UnsealError> {
    opened(&[("password", "secret")])
}

fn plan(sealed: &SealedSecret, live: Option<&SecretObject>) -> Result<Write, Failure> {
    decide(Observed {
        sealed,
        live,
        wrote: None,
        allow_privileged: false,
        opened: values(),
    })
}

/// The write as text for comparison: what it is, and the body with its values.
fn body(write: &Result<Write, Failure>) -> (&'static str, Value) {
    match write {
        Ok(Write::Nothing) => ("nothing", Value::Null),
        Ok(Write::Create(new)) => ("create", serde_json::to_value(new).unwrap()),
        Ok(Write::Update(wanted)) => ("update", serde_json::to_value(wanted).unwrap()),
        Ok(Write::Replace { new, .. }) => ("replace", serde_json::to_value(new).unwrap()),
        Err(failure) => ("failure", json!(failure.status)),
    }
}

#[test]
fn a_new_secret_has_everything_of_the_template() {
    let sealed = sealed(|object| {
        object["spec"]["template"] = json!({
            "type": "kubernetes.io/basic-auth", "immutable": true,
            "metadata": {
                "name": "ignored", "namespace": "ignored", "uid": "ignored", "resourceVersion": "1",
                "labels": { "a": "b" }, "annotations": { "c": "d" }, "finalizers": ["e/f"],
                "ownerReferences": [owner("ExternalSecret", "x")],
            },
        });
    });
    let (kind, created) = body(&plan(&sealed, None));
    assert_eq!(kind, "create");
    assert_eq!(
        created,
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "annotations": { "c": "d" }, "finalizers": ["e/f"], "labels": { "a": "b" },
                "name": "db", "namespace": "ns", "ownerReferences": [owner_in_order()],
            },
            "type": "kubernetes.io/basic-auth", "immutable": true,
            "data": { "password": "c2VjcmV0" },
        })
    );
}

fn owner_in_order() -> Value {
    json!({
        "apiVersion": "bitnami.com/v1alpha1", "controller": true, "kind": "SealedSecret",
        "name": "db", "uid": UID,
    })
}

#[test]
fn what_is_in_order_is_not_written() {
    type Edit = fn(&mut Value);
    let same: [(&str, Edit); 6] = [
        ("as made", |_| {}),
        ("foreign label", |o| {
            o["metadata"]["labels"]["team"] = json!("x");
        }),
        ("foreign annotation", |o| {
            o["metadata"]["annotations"]["x/y"] = json!("z");
        }),
        ("foreign finalizer", |o| {
            o["metadata"]["finalizers"] = json!(["x/y"]);
        }),
        ("another type, none in the template", |o| {
            o["type"] = json!("example.com/x");
        }),
        ("block owner deletion", |o| {
            o["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
        }),
    ];
    for (name, edit) in same {
        let live = live(edit);
        assert_eq!(
            body(&plan(&sealed(|_| {}), Some(&live))).0,
            "nothing",
            "{name}"
        );
    }
}

#[test]
fn drift_is_put_back() {
    type Edit = fn(&mut Value);
    let drifts: [(&str, Edit); 10] = [
        ("value", |o| o["data"]["password"] = json!("b3RoZXI=")),
        ("value gone", |o| o["data"] = Value::Null),
        ("value added", |o| o["data"]["extra"] = json!("")),
        ("label changed", |o| {
            o["metadata"]["labels"]["app"] = json!("x");
        }),
        ("labels gone", |o| o["metadata"]["labels"] = Value::Null),
        ("annotation gone", |o| {
            o["metadata"]["annotations"] = json!({});
        }),
        ("our former label", |o| {
            o["metadata"]["labels"]["old"] = json!("x");
        }),
        ("our former annotation", |o| {
            o["metadata"]["annotations"]["old/one"] = json!("x");
        }),
        ("owner of before", |o| {
            o["metadata"]["ownerReferences"] = json!([owner("SealedSecret", "before")]);
        }),
        ("owner twice", |o| {
            o["metadata"]["ownerReferences"] = json!([owner_in_order(), {
                "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "uid": "before",
            }]);
        }),
    ];
    let expected =
        serde_json::to_value(live(|o| o["metadata"]["managedFields"] = Value::Null)).unwrap();
    for (name, edit) in drifts {
        let live = live(edit);
        let (kind, written) = body(&plan(&sealed(|_| {}), Some(&live)));
        assert_eq!((kind, &written), ("update", &expected), "{name}");
    }
}

#[test]
fn what_others_added_survives_an_update() {
    let live = live(|o| {
        o["data"]["password"] = json!("b3RoZXI=");
        o["metadata"]["labels"] = json!({ "app": "db", "team": "x" });
        o["metadata"]["annotations"]["x/y"] = json!("z");
        let loose = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c" });
        o["metadata"]["ownerReferences"] = json!([loose, owner_in_order()]);
    });
    let (kind, written) = body(&plan(&sealed(|_| {}), Some(&live)));
    assert_eq!(kind, "update");
    assert_eq!(
        written["metadata"]["labels"],
        json!({ "app": "db", "team": "x" })
    );
    assert_eq!(
        written["metadata"]["annotations"],
        json!({ "note": "n", "x/y": "z" })
    );
    assert_eq!(
        written["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(written["metadata"]["resourceVersion"], "7");
    assert_eq!(written["data"], json!({ "password": "c2VjcmV0" }));
}

#[test]
fn a_label_of_another_manager_is_foreign() {
    let live = live(|o| {
        o["metadata"]["managedFields"][0]["manager"] = json!("kubectl-label");
        o["metadata"]["labels"]["old"] = json!("x");
    });
    assert_eq!(body(&plan(&sealed(|_| {}), Some(&live))).0, "nothing");
}

#[test]
fn an_owner_that_was_taken_away_comes_back_if_we_wrote_the_secret() {
    let live = live(|o| o["metadata"]["ownerReferences"] = Value::Null);
    let decided = |wrote| {
        let sealed = sealed(|_| {});
        let observed = Observed {
            sealed: &sealed,
            live: Some(&live),
            wrote,
            allow_privileged: false,
            opened: values(),
        };
        body(&decide(observed))
    };
    let (kind, written) = decided(Some("secret"));
    assert_eq!(kind, "update");
    assert_eq!(
        written["metadata"]["ownerReferences"],
        json!([owner_in_order()])
    );
    assert_eq!(decided(Some("another")).0, "failure");
    assert_eq!(decided(None).0, "failure");
}

#[test]
fn secrets_of_others_are_not_touched() {
    let denied = "failed update: Resource \"db\" already exists and is not managed by SealedSecret";
    for (owners, expected) in [
        (json!([]), denied.to_owned()),
        (
            json!([owner("ExternalSecret", "x")]),
            format!("{denied} (it is controlled by ExternalSecret \"db\")"),
        ),
    ] {
        let live = live(|o| o["metadata"]["ownerReferences"] = owners);
        let failure = plan(&sealed(|_| {}), Some(&live)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unmanaged);
        assert_eq!(failure.status, expected);
        assert_eq!(failure.kind.event_reason(), "ErrUpdateFailed");
        assert_eq!(format!("failed update: {}", failure.event), failure.status);
    }
}

#[test]
fn a_secret_that_was_handed_over_is_overwritten() {
    let live = live(|o| {
        o["metadata"]["ownerReferences"] = Value::Null;
        o["metadata"]["annotations"] = json!({ MANAGED: "true" });
        o["data"] = json!({ "password": "b3RoZXI=", "theirs": "" });
    });
    let (kind, written) = body(&plan(&sealed(|_| {}), Some(&live)));
    assert_eq!(kind, "update");
    assert_eq!(written["data"], json!({ "password": "c2VjcmV0" }));
    assert_eq!(
        written["metadata"]["ownerReferences"],
        json!([owner_in_order()])
    );
    assert_eq!(
        written["metadata"]["annotations"],
        json!({ "note": "n", MANAGED: "true" })
    );
}

#[test]
fn a_secret_that_asks_for_a_patch_is_merged_into() {
    let live = live(|o| {
        o["metadata"]["ownerReferences"] = Value::Null;
        o["metadata"]["annotations"] = json!({ "sealedsecrets.bitnami.com/patch": "true" });
        o["metadata"]["labels"] = json!({ "old": "theirs" });
        o["data"] = json!({ "password": "b3RoZXI=", "theirs": "" });
    });
    let (kind, written) = body(&plan(&sealed(|_| {}), Some(&live)));
    assert_eq!(kind, "update");
    assert_eq!(
        written["data"],
        json!({ "password": "c2VjcmV0", "theirs": "" })
    );
    assert_eq!(
        written["metadata"]["labels"],
        json!({ "app": "db", "old": "theirs" })
    );
    assert_eq!(written["metadata"].get("ownerReferences"), None);
}

#[test]
fn without_owner_when_the_template_says_so() {
    let skips = sealed(|object| {
        object["spec"]["template"]["metadata"]["annotations"] = json!({ SKIP_OWNER: "true" });
    });
    let (kind, created) = body(&plan(&skips, None));
    assert_eq!(kind, "create");
    assert_eq!(created["metadata"].get("ownerReferences"), None);
    let live = live(|o| {
        o["metadata"]["ownerReferences"] = Value::Null;
        o["metadata"]["annotations"] = json!({ SKIP_OWNER: "true", "note": "n" });
        o["metadata"]["managedFields"] = Value::Null;
    });
    assert_eq!(body(&plan(&skips, Some(&live))).0, "nothing");
}

#[test]
fn another_type_replaces_only_what_is_ours() {
    let typed = sealed(|o| o["spec"]["template"]["type"] = json!("kubernetes.io/basic-auth"));
    let ours = live(|o| {
        o["metadata"]["labels"]["team"] = json!("x");
    });
    match plan(&typed, Some(&ours)).unwrap() {
        Write::Replace {
            uid,
            resource_version,
            new,
        } => {
            assert_eq!((uid.as_str(), resource_version.as_str()), ("secret", "7"));
            assert_eq!(new.type_.as_deref(), Some("kubernetes.io/basic-auth"));
            assert_eq!(
                new.metadata.labels.unwrap()["team"],
                "x",
                "foreign labels come along"
            );
            assert_eq!(
                (new.metadata.uid, new.metadata.resource_version),
                (None, None)
            );
        }
        other => panic!("{other:?}"),
    }
    let handed_over = live(|o| {
        o["metadata"]["ownerReferences"] = Value::Null;
        o["metadata"]["annotations"] = json!({ MANAGED: "true" });
    });
    let failure = plan(&typed, Some(&handed_over)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Update);
    assert!(
        failure.status.contains("kubernetes.io/basic-auth"),
        "{}",
        failure.status
    );
}

#[test]
fn an_immutable_secret_is_left_and_said_so() {
    let immutable = |edit: fn(&mut Value)| {
        let live = live(|o| {
            o["immutable"] = json!(true);
            edit(o);
        });
        plan(&sealed(|_| {}), Some(&live))
    };
    let failure = immutable(|o| o["data"]["password"] = json!("b3RoZXI=")).unwrap_err();
    assert!(
        failure
            .event
            .starts_with("Error updating ns/db: the target Secret is immutable. ")
    );
    assert!(
        failure
            .status
            .ends_with("field is immutable when `immutable` is set")
    );
    // Labels may change.
    let written = immutable(|o| o["metadata"]["labels"] = Value::Null);
    assert_eq!(body(&written).0, "update");
}

#[test]
fn a_secret_on_its_way_out_is_waited_for() {
    let live = live(|o| {
        o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        o["metadata"]["finalizers"] = json!(["x/y"]);
    });
    let failure = plan(&sealed(|_| {}), Some(&live)).unwrap_err();
    assert!(
        failure.status.contains("waits for its finalizers (x/y)"),
        "{}",
        failure.status
    );
}

#[test]
fn what_does_not_open_writes_nothing() {
    let sealed = sealed(|_| {});
    let entries = [
        ("a", EntryError::NoKey),
        ("b", EntryError::Base64 { position: 2 }),
    ];
    let entries = entries.map(|(key, error)| (key.to_owned(), error));
    let failure = decide(Observed {
        sealed: &sealed,
        live: Some(&live(|o| o["data"] = Value::Null)),
        wrote: None,
        allow_privileged: false,
        opened: Err(UnsealError::Entries(entries.into())),
    })
    .unwrap_err();
    let text = "no key could decrypt secret (a); illegal base64 data at input byte 2 (b)";
    assert_eq!(failure.status, text);
    assert_eq!(failure.event, format!("Failed to unseal: {text}"));
    assert_eq!(failure.kind.event_reason(), "ErrUnsealFailed");
}

#[test]
fn template_metadata_that_cannot_be_read_is_named() {
    let sealed = sealed(|o| o["spec"]["template"]["metadata"]["labels"] = json!({ "a": 1 }));
    let failure = plan(&sealed, None).unwrap_err();
    assert!(
        failure
            .status
            .starts_with("spec.template.metadata cannot be read: ")
    );
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn failed(message: &str) -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::Unseal,
        status: message.to_owned(),
        event: format!("Failed to unseal: {message}"),
    })
}

#[test]
fn the_status_is_written_when_it_changes() {
    let first = report(Some(1), None, None, &Outcome::Synced, true, at(0));
    let status = first.status.unwrap();
    assert_eq!(status.observed_generation, Some(1));
    let condition = &status.conditions[0];
    assert_eq!(
        (condition.type_.as_str(), condition.status.as_str()),
        ("Synced", "True")
    );
    let said = (condition.reason.as_deref(), condition.message.as_deref());
    assert_eq!(said, (Some("Unsealed"), None));
    assert_eq!(condition.last_update_time, Some(Time(at(0))));
    assert_eq!(condition.last_transition_time, condition.last_update_time);
    assert_eq!(first.note.unwrap().reason, "Unsealed");

    let again = report(
        Some(1),
        Some(&status),
        Some(&Outcome::Synced),
        &Outcome::Synced,
        false,
        at(9),
    );
    assert_eq!(
        again,
        Report {
            status: None,
            note: None
        }
    );

    let next = report(
        Some(2),
        Some(&status),
        Some(&Outcome::Synced),
        &Outcome::Synced,
        true,
        at(9),
    );
    let next = next.status.unwrap();
    assert_eq!(next.observed_generation, Some(2));
    assert_eq!(next.conditions[0].last_update_time, Some(Time(at(9))));
    assert_eq!(next.conditions[0].last_transition_time, Some(Time(at(0))));
}

#[test]
fn a_new_cause_is_written_though_the_condition_stays_false() {
    let first = report(Some(1), None, None, &failed("one"), false, at(0));
    let status = first.status.unwrap();
    assert_eq!(status.conditions[0].status, "False");
    assert_eq!(status.conditions[0].message.as_deref(), Some("one"));
    let note = first.note.unwrap();
    assert_eq!(
        (note.reason, note.message.as_str()),
        ("ErrUnsealFailed", "Failed to unseal: one")
    );

    let same = report(
        Some(1),
        Some(&status),
        Some(&failed("one")),
        &failed("one"),
        false,
        at(1),
    );
    assert_eq!(
        same,
        Report {
            status: None,
            note: None
        }
    );

    let other = report(
        Some(1),
        Some(&status),
        Some(&failed("one")),
        &failed("two"),
        false,
        at(2),
    );
    let condition = &other.status.unwrap().conditions[0];
    assert_eq!(condition.message.as_deref(), Some("two"));
    assert_eq!(condition.last_transition_time, Some(Time(at(0))));
    assert!(other.note.is_some());

    let back = report(
        Some(1),
        Some(&status),
        Some(&failed("one")),
        &Outcome::Synced,
        true,
        at(3),
    );
    let condition = &back.status.unwrap().conditions[0];
    assert_eq!(
        (condition.status.as_str(), &condition.message),
        ("True", &None)
    );
    assert_eq!(condition.last_transition_time, Some(Time(at(3))));
}

#[test]
fn taking_over_from_upstream_is_silent() {
    let theirs: SealedSecretStatus = serde_json::from_value(json!({
        "observedGeneration": 4,
        "conditions": [{
            "type": "Synced", "status": "True",
            "lastUpdateTime": "2025-01-01T00:00:00Z", "lastTransitionTime": "2025-01-01T00:00:00Z",
        }],
    }))
    .unwrap();
    let taken = report(Some(4), Some(&theirs), None, &Outcome::Synced, false, at(0));
    assert_eq!(
        taken,
        Report {
            status: None,
            note: None
        }
    );
}

#[test]
fn conditions_of_others_stay_behind_ours() {
    let theirs: SealedSecretStatus = serde_json::from_value(json!({
        "conditions": [{ "type": "Other", "status": "True" }],
    }))
    .unwrap();
    let status = report(Some(1), Some(&theirs), None, &Outcome::Synced, false, at(0)).status;
    let status = status.unwrap();
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| &condition.type_)
        .collect();
    assert_eq!(types, ["Synced", "Other"]);
}

const TOKEN: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// The Secret as it would be written is judged, whatever type and annotation come from.
#[test]
fn no_secret_that_kubernetes_would_fill_with_a_token() {
    let typed = |object: &mut Value| object["spec"]["template"]["type"] = json!(TOKEN);
    let annotated = |object: &mut Value| {
        object["spec"]["template"]["metadata"]["annotations"][ACCOUNT] = json!("admin");
    };
    let both = sealed(|object| {
        typed(object);
        annotated(object);
    });
    let token = |account: Option<&str>| {
        live(|object| {
            object["type"] = json!(TOKEN);
            if let Some(account) = account {
                object["metadata"]["annotations"][ACCOUNT] = json!(account);
            }
        })
    };
    let patch = |mut secret: SecretObject| {
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(
            "sealedsecrets.bitnami.com/patch".to_owned(),
            "true".to_owned(),
        );
        secret
    };
    let left = live(|object| object["metadata"]["annotations"][ACCOUNT] = json!("admin"));
    for (name, sealed, live) in [
        ("create", &both, None),
        (
            "replace, the annotation was left",
            &sealed(typed),
            Some(left),
        ),
        (
            "update, the type was left",
            &sealed(annotated),
            Some(token(None)),
        ),
        ("merge", &sealed(annotated), Some(patch(token(None)))),
        (
            "another account",
            &sealed(annotated),
            Some(patch(token(Some("default")))),
        ),
    ] {
        let failure = plan(sealed, live.as_ref()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Update, "{name}");
        assert!(
            failure
                .status
                .contains("a token of ServiceAccount \"admin\""),
            "{name}"
        );
    }
    // The annotation alone, and what is there already.
    assert!(plan(&sealed(annotated), None).is_ok());
    let there = patch(token(Some("admin")));
    assert!(plan(&sealed(|_| ()), Some(&there)).is_ok());
}

#[test]
fn no_secret_that_is_a_token_or_a_sealing_key() {
    let typed = |type_: &'static str| {
        sealed(move |object| object["spec"]["template"]["type"] = json!(type_))
    };
    let labelled = sealed(|object| {
        object["spec"]["template"]["metadata"]["labels"][KEY] = json!("compromised");
    });
    let plain = sealed(|_| ());
    let key = live(|object| {
        object["metadata"]["labels"][KEY] = json!("active");
        object["metadata"]["annotations"][MANAGED] = json!("true");
        object["data"]["password"] = json!("b3RoZXI=");
    });
    let bootstrap = "bootstrap.kubernetes.io/token";
    for (name, sealed, live, text) in [
        (
            "token type",
            &typed(TOKEN),
            None,
            "of type kubernetes.io/service-account-token",
        ),
        (
            "bootstrap token",
            &typed(bootstrap),
            None,
            "of type bootstrap.kubernetes.io/token",
        ),
        ("key", &labelled, None, "it would be a sealing key"),
        (
            "a key that was handed over",
            &plain,
            Some(&key),
            "it would be a sealing key",
        ),
    ] {
        let decided = |allow_privileged| {
            decide(Observed {
                sealed,
                live,
                wrote: None,
                allow_privileged,
                opened: values(),
            })
        };
        let failure = decided(false).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Update, "{name}");
        assert!(failure.status.contains(text), "{name}: {}", failure.status);
        assert!(decided(true).is_ok(), "{name}");
    }
}

/// The deprecated form brings labels and type of its own (sealed-secrets.md 6.4).
#[test]
fn the_deprecated_form_brings_its_own_shape() {
    let shape = Shape {
        metadata: TemplateMetadata {
            labels: BTreeMap::from([("own".to_owned(), "1".to_owned())]),
            ..TemplateMetadata::default()
        },
        type_: Some("example.com/x".to_owned()),
        immutable: Some(true),
    };
    let content = Content {
        data: values().unwrap().data,
        shape: Some(shape),
    };
    let decided = decide(Observed {
        sealed: &sealed(|_| ()),
        live: None,
        wrote: None,
        allow_privileged: false,
        opened: Ok(content),
    });
    let (kind, created) = body(&decided);
    assert_eq!(kind, "create");
    assert_eq!(created["metadata"]["labels"], json!({ "own": "1" }));
    assert_eq!(
        created["metadata"]["ownerReferences"],
        json!([owner_in_order()])
    );
    assert_eq!(created["type"], "example.com/x");
    assert_eq!(created["immutable"], true);
}
