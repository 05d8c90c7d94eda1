//! Tables for the two decisions, with no server and no clock.

use selkie_secret::SecretBytes;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn identity() -> Identity {
    Identity {
        namespace: "team".to_owned(),
        name: "es".to_owned(),
        uid: "uid-1".to_owned(),
    }
}

fn wish(change: &Value) -> Wish {
    let mut spec = json!({
        "secretStoreRef": { "name": "vault" },
        "target": { "name": "db" },
        "data": [{ "secretKey": "user", "remoteRef": { "key": "a" } }],
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let spec = serde_json::from_value(spec).unwrap();
    Wish::parse("es", &labels, &BTreeMap::new(), &spec).unwrap()
}

fn every(seconds: u64) -> Wish {
    wish(&json!({ "refreshInterval": format!("{seconds}s") }))
}

fn data(value: &str) -> Members {
    let value = SecretBytes::new(value.as_bytes().to_vec());
    Members::from([("user".to_owned(), value)])
}

/// A past in which version `v` was synchronised at `fetched`.
fn past(fetched: Option<i64>) -> Past {
    Past {
        synced_version: Some("v".to_owned()),
        refreshed: true,
        fetched: fetched.map(at),
        ..Past::default()
    }
}

fn decide(wish: &Wish, past: &Past, version: &str, drift: Option<Drift>, now: i64) -> Next {
    let identity = identity();
    let observed = Observed {
        identity: &identity,
        wish,
        version,
        past,
        started: at(0),
    };
    next(&observed, drift, at(now))
}

fn because(next: &Next) -> Option<Because> {
    match next {
        Next::Fetch { because, .. } => Some(*because),
        Next::Wait(_) => None,
    }
}

/// The Secret as it is made, with what the API server adds.
fn made(wish: &Wish, value: &str) -> SecretObject {
    let plan = plan(&identity(), wish, None, &Past::default(), &data(value)).unwrap();
    let Plan::Create(secret) = plan else {
        panic!("{plan:?}");
    };
    let mut secret = secret.0;
    secret.metadata.uid = Some("secret-1".to_owned());
    secret.type_.get_or_insert("Opaque".to_owned());
    secret
}

fn found(wish: &Wish, live: Option<&SecretObject>, past: &Past) -> Option<Drift> {
    let identity = identity();
    let observed = Observed {
        identity: &identity,
        wish,
        version: "v",
        past,
        started: at(0),
    };
    drift(&observed, live)
}

/// A look between the start of a slot and the turn in it told a failing ExternalSecret that it is in order.
#[test]
fn after_a_failure_every_look_fetches() {
    let periodic = every(60);
    let before = past(Some(1_000));
    let mut failed = before.clone();
    failed.fetch_failed();
    let looks: Vec<_> = (1_000..1_180).collect();
    let waits = |past| {
        looks
            .iter()
            .filter(|now| because(&decide(&periodic, past, "v", None, **now)).is_none())
            .count()
    };
    assert!(waits(&before) > 0);
    assert_eq!(waits(&failed), 0);
}

/// external-secrets.md 6.2.
#[test]
fn when_a_refresh_is_due() {
    let never = Past::default();
    let no_time = Past {
        refreshed: false,
        ..past(None)
    };
    let once = wish(&json!({ "refreshPolicy": "CreatedOnce" }));
    let zero = wish(&json!({ "refreshInterval": "0" }));
    let on_change = wish(&json!({ "refreshPolicy": "OnChange" }));
    let periodic = every(60);
    let drift = Some(Drift::Data);
    let changed = Some(Because::Changed);
    let repair = Some(Because::Drift(Drift::Data));
    for (name, wish, past, version, drift, expected) in [
        ("once, never", &once, &never, "v", None, changed),
        ("once, no time", &once, &no_time, "v", None, changed),
        ("once, done", &once, &past(None), "v", None, None),
        ("once, edited", &once, &past(None), "w", None, None),
        ("once, drift", &once, &past(None), "v", drift, repair),
        ("zero, done", &zero, &past(None), "v", None, None),
        ("zero, edited", &zero, &past(None), "w", None, None),
        ("zero, drift", &zero, &past(None), "v", drift, repair),
        ("on change, never", &on_change, &never, "v", None, changed),
        ("on change, done", &on_change, &past(None), "v", None, None),
        (
            "on change, edited",
            &on_change,
            &past(None),
            "w",
            None,
            changed,
        ),
        ("periodic, never", &periodic, &never, "v", None, changed),
        (
            "periodic, fresh",
            &periodic,
            &past(Some(0)),
            "v",
            None,
            None,
        ),
        (
            "periodic, edited",
            &periodic,
            &past(Some(0)),
            "w",
            None,
            changed,
        ),
        (
            "periodic, drift",
            &periodic,
            &past(Some(0)),
            "v",
            drift,
            repair,
        ),
        (
            "periodic, late",
            &periodic,
            &past(Some(-120)),
            "v",
            None,
            Some(Because::Due),
        ),
    ] {
        let next = decide(wish, past, version, drift, 0);
        assert_eq!(because(&next), expected, "{name}");
    }
}

#[test]
fn each_interval_has_one_turn() {
    let wish = every(60);
    let mut fetched = 0;
    let mut turns = Vec::new();
    for now in 0..600 {
        if let Next::Fetch { not_before, .. } = decide(&wish, &past(Some(fetched)), "v", None, now)
        {
            assert!(not_before <= at(now) && not_before > at(now - 60));
            fetched = now;
            turns.push(now);
        }
    }
    assert!((9..=10).contains(&turns.len()), "{turns:?}");
    let steps: Vec<i64> = turns.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| *step == 60), "{steps:?}");
}

#[test]
fn waits_end_with_a_turn() {
    let wish = every(60);
    let Next::Wait(Some(turn)) = decide(&wish, &past(Some(0)), "v", None, 1) else {
        panic!("not due yet");
    };
    let at_turn = turn.as_second() - NOW + 1;
    assert_eq!(
        because(&decide(&wish, &past(Some(0)), "v", None, at_turn)),
        Some(Because::Due)
    );
    assert!(at_turn <= 68);
}

#[test]
fn externalsecrets_of_one_store_share_their_reads() {
    let wish = every(60);
    let slot = |uid: &str, now: i64| {
        let identity = Identity {
            uid: uid.to_owned(),
            ..identity()
        };
        let observed = Observed {
            identity: &identity,
            wish: &wish,
            version: "v",
            past: &past(Some(now - 300)),
            started: at(-1000),
        };
        match next(&observed, None, at(now)) {
            Next::Fetch { not_before, .. } => Some(not_before),
            Next::Wait(_) => None,
        }
    };
    let start = slot("a", 30).unwrap();
    assert_eq!(slot("b", 30), Some(start));
    assert_eq!(slot("c", 30), Some(start));
}

#[test]
fn a_new_process_spreads_its_first_round() {
    let wish = every(3600);
    let Next::Wait(Some(turn)) = decide(&wish, &past(None), "v", None, 0) else {
        panic!("at once");
    };
    assert!(turn > at(0) && turn <= at(30), "{turn}");
    assert_eq!(
        because(&decide(&wish, &past(None), "v", None, 31)),
        Some(Because::Due)
    );
}

#[test]
fn what_counts_as_drift() {
    let wish = every(60);
    let none = Past::default();
    assert_eq!(found(&wish, None, &none), Some(Drift::Missing));
    assert_eq!(found(&wish, Some(&made(&wish, "x")), &none), None);
    let changed = |change: fn(&mut SecretObject)| {
        let mut live = made(&wish, "x");
        change(&mut live);
        found(&wish, Some(&live), &none)
    };
    let edited = |live: &mut SecretObject| {
        let value = SecretBytes::new(b"y".to_vec());
        live.data.0.insert("user".to_owned(), value);
    };
    assert_eq!(changed(edited), Some(Drift::Data));
    assert_eq!(
        changed(|live| live.metadata.owner_references = None),
        Some(Drift::Owner)
    );
    let unmarked = |live: &mut SecretObject| {
        live.metadata.labels.as_mut().unwrap().remove(MANAGED_LABEL);
    };
    assert_eq!(changed(unmarked), Some(Drift::Metadata));
    let relabelled = |live: &mut SecretObject| {
        let labels = live.metadata.labels.as_mut().unwrap();
        labels.insert("team".to_owned(), "b".to_owned());
    };
    assert_eq!(changed(relabelled), Some(Drift::Metadata));
    let foreign = |live: &mut SecretObject| {
        let labels = live.metadata.labels.as_mut().unwrap();
        labels.insert("theirs".to_owned(), "b".to_owned());
    };
    assert_eq!(changed(foreign), None);
    // Somebody who edits the data and the hash is found out by what this process wrote.
    let other = Past {
        hash: Some(data_hash(&data("z"))),
        ..Past::default()
    };
    assert_eq!(
        found(&wish, Some(&made(&wish, "x")), &other),
        Some(Drift::Data)
    );
    let typed = self::wish(&json!({ "target": { "name": "db", "template": { "type": "x/y" } } }));
    let mut live = made(&typed, "x");
    live.type_ = Some("Opaque".to_owned());
    assert_eq!(found(&typed, Some(&live), &none), Some(Drift::Type));
}

#[test]
fn a_secret_made_anew_by_hand_gets_its_type_back() {
    let wish = every(60);
    let mut live = made(&wish, "x");
    live.type_ = Some("kubernetes.io/basic-auth".to_owned());
    live.metadata.uid = Some("secret-2".to_owned());
    let past = Past {
        secret: Some(("secret-1".to_owned(), Some("Opaque".to_owned()))),
        ..Past::default()
    };
    assert_eq!(found(&wish, Some(&live), &past), Some(Drift::Type));
    let Plan::Recreate(secret) = plan(&identity(), &wish, Some(&live), &past, &data("x")).unwrap()
    else {
        panic!("a type can only be changed by making the Secret anew");
    };
    assert_eq!(secret.0.type_.as_deref(), Some("Opaque"));
    // A new process does not know, and keeps what is there.
    assert_eq!(found(&wish, Some(&live), &Past::default()), None);
}

#[test]
fn what_is_written() {
    let wish = every(60);
    let none = Past::default();
    let live = made(&wish, "x");
    let plan = |live: &SecretObject, value: &str| {
        plan(&identity(), &wish, Some(live), &none, &data(value))
    };
    assert_eq!(plan(&live, "x"), Ok(Plan::Keep));
    assert!(matches!(plan(&live, "y"), Ok(Plan::Replace(_))));

    // Others' labels and annotations stay; data of others goes.
    let mut touched = live.duplicate();
    touched
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("l".to_owned(), "1".to_owned());
    let annotations = touched.metadata.annotations.as_mut().unwrap();
    annotations.insert("a".to_owned(), "1".to_owned());
    assert_eq!(plan(&touched, "x"), Ok(Plan::Keep));
    touched
        .data
        .0
        .insert("more".to_owned(), SecretBytes::default());
    let Ok(Plan::Replace(secret)) = plan(&touched, "x") else {
        panic!("the other key goes");
    };
    assert_eq!(secret.0.metadata.labels.as_ref().unwrap()["l"], "1");
    assert_eq!(secret.0.metadata.annotations.as_ref().unwrap()["a"], "1");
    assert_eq!(secret.0.data.0.keys().collect::<Vec<_>>(), ["user"]);

    // What was set earlier and is no longer wanted goes.
    let mut stale = live.duplicate();
    stale
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("old".to_owned(), "1".to_owned());
    stale.metadata.managed_fields = serde_json::from_value(json!([{
        "manager": "externalsecrets.external-secrets.io/es",
        "fieldsV1": { "f:metadata": { "f:labels": { "f:old": {}, "f:team": {} } } },
    }]))
    .unwrap();
    let Ok(Plan::Replace(secret)) = plan(&stale, "x") else {
        panic!("the old label goes");
    };
    let labels = secret.0.metadata.labels.unwrap();
    assert!(!labels.contains_key("old") && labels["team"] == "a");

    // Older objects' owner references stay as they are written.
    let mut older = live.duplicate();
    let owners = older.metadata.owner_references.as_mut().unwrap();
    owners[0].api_version = "external-secrets.io/v1beta1".to_owned();
    assert_eq!(plan(&older, "x"), Ok(Plan::Keep));
}

#[test]
fn the_marks_of_a_new_secret() {
    let secret = made(&every(60), "x");
    let labels = secret.metadata.labels.unwrap();
    assert_eq!(labels[MANAGED_LABEL], "true");
    assert_eq!(labels[CREATED_BY_LABEL], created_by("team", "es"));
    let annotations = secret.metadata.annotations.unwrap();
    assert_eq!(annotations[DATA_HASH_ANNOTATION], data_hash(&data("x")));
    let owner = &secret.metadata.owner_references.unwrap()[0];
    assert_eq!(
        (&*owner.api_version, &*owner.kind, &*owner.name, &*owner.uid),
        ("external-secrets.io/v1", "ExternalSecret", "es", "uid-1")
    );
    assert_eq!(
        (owner.controller, owner.block_owner_deletion),
        (Some(true), Some(true))
    );
}

#[test]
fn somebody_elses_secret_is_left_alone() {
    let wish = every(60);
    let owned = |kind: &str, api: &str, name: &str| {
        let mut live = made(&wish, "theirs");
        let owner = &mut live.metadata.owner_references.as_mut().unwrap()[0];
        owner.kind = kind.to_owned();
        owner.api_version = api.to_owned();
        owner.name = name.to_owned();
        owner.uid = "other".to_owned();
        plan(
            &identity(),
            &wish,
            Some(&live),
            &Past::default(),
            &data("x"),
        )
        .unwrap_err()
    };
    assert_eq!(
        owned("ExternalSecret", "external-secrets.io/v1", "first").to_string(),
        "target is owned by another ExternalSecret: first"
    );
    assert_eq!(
        owned("SealedSecret", "bitnami.com/v1alpha1", "s"),
        Conflict::OtherOwner("SealedSecret s".to_owned())
    );
    // Without an owner it is adopted.
    let mut alone = made(&wish, "theirs");
    alone.metadata.owner_references = None;
    let adopted = plan(
        &identity(),
        &wish,
        Some(&alone),
        &Past::default(),
        &data("x"),
    );
    assert!(matches!(adopted, Ok(Plan::Replace(_))));
    // But not under another type: that would delete it.
    let typed = self::wish(&json!({ "target": { "name": "db", "template": { "type": "x/y" } } }));
    let refused = plan(
        &identity(),
        &typed,
        Some(&alone),
        &Past::default(),
        &data("x"),
    );
    assert!(matches!(refused, Err(Conflict::Type { .. })));
}

#[test]
fn immutable_secrets() {
    let wish = wish(&json!({ "target": { "name": "db", "immutable": true } }));
    let live = made(&wish, "x");
    assert_eq!(live.immutable, Some(true));
    let plan = |value: &str| {
        plan(
            &identity(),
            &wish,
            Some(&live),
            &Past::default(),
            &data(value),
        )
    };
    assert_eq!(plan("x"), Ok(Plan::Keep));
    assert_eq!(plan("y"), Err(Conflict::Immutable));
}

const TOKEN: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// What the template does not say may be on the Secret already: the final one is judged.
#[test]
fn no_secret_that_kubernetes_would_fill_with_a_token() {
    let refused = |plan: Result<Plan, Conflict>| {
        let error = plan.unwrap_err();
        assert!(
            matches!(&error, Conflict::Refused { type_, .. } if type_ == TOKEN),
            "{error}"
        );
    };
    let annotated = |live: &mut SecretObject| {
        let annotations = live.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT.to_owned(), "admin".to_owned());
    };
    let none = Past::default();
    let typed = wish(&json!({ "target": { "name": "db", "template": { "type": TOKEN } } }));

    // Recreate: the type comes from the template, the annotation was put on by somebody else.
    let mut live = made(&every(60), "x");
    annotated(&mut live);
    refused(plan(&identity(), &typed, Some(&live), &none, &data("x")));

    // The same when the type is the one that the Secret had when it was last in order.
    let past = Past {
        secret: Some(("other".to_owned(), Some(TOKEN.to_owned()))),
        ..Past::default()
    };
    refused(plan(
        &identity(),
        &every(60),
        Some(&live),
        &past,
        &data("x"),
    ));

    // Replace: the type is on the Secret, and so is the annotation.
    let mut live = made(&typed, "x");
    annotated(&mut live);
    refused(plan(
        &identity(),
        &every(60),
        Some(&live),
        &none,
        &data("y"),
    ));

    // Replace: the annotation comes from the ExternalSecret, without a template.
    let live = made(&typed, "x");
    let mut copied = every(60);
    copied
        .annotations
        .insert(ACCOUNT.to_owned(), "admin".to_owned());
    refused(plan(&identity(), &copied, Some(&live), &none, &data("x")));

    // Create, in the type of the one that was deleted.
    refused(plan(&identity(), &copied, None, &past, &data("x")));

    // Neither alone is refused.
    assert!(plan(&identity(), &typed, None, &none, &data("x")).is_ok());
    assert!(plan(&identity(), &copied, None, &none, &data("x")).is_ok());
}

/// An immutable Secret is not deleted to give it another type.
#[test]
fn an_immutable_secret_keeps_its_type() {
    let immutable = wish(&json!({ "target": { "name": "db", "immutable": true } }));
    let live = made(&immutable, "x");
    let typed = wish(&json!({ "target": { "name": "db", "template": { "type": "x/y" } } }));
    let none = Past::default();
    assert_eq!(
        plan(&identity(), &typed, Some(&live), &none, &data("x")),
        Err(Conflict::Immutable)
    );
    let mut free = live.duplicate();
    free.immutable = None;
    let recreated = plan(&identity(), &typed, Some(&free), &none, &data("x"));
    assert!(matches!(recreated, Ok(Plan::Recreate(_))));
}
