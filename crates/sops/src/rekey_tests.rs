//! Rotation, other keys, key groups.

use std::collections::HashSet;

use super::*;
use crate::afresh::{AfreshError, check_afresh};
use crate::clear_key::ClearKey;
use crate::decrypt::DecryptOptions;
use crate::encrypt::{EncryptPlan, Encryption, encrypt};
use crate::keys::{DataKeySource, UnwrapError};
use crate::selection::Selection;

const A: ClearKey = ClearKey("age1a");
const B: ClearKey = ClearKey("age1b");
const C: ClearKey = ClearKey("age1c");

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_060).unwrap()
}

/// Wraps for A, B and C; for anything else it fails.
fn make(spec: &KeySpec) -> Result<Box<dyn MasterKey>, WrapError> {
    for key in [A, B, C] {
        if key.spec() == *spec {
            return Ok(Box::new(key));
        }
    }
    Err(WrapError {
        kind: spec.kind(),
        id: spec.identity(),
        reason: "unusable".to_owned(),
    })
}

const PLAIN: &str = "\
# note
a: one
n: 1.50   # inline
list: [x, 'x', {y: \"z\"}]
text: |
    first
    second
flow_unencrypted: clear
---
b: 5
";

fn encrypted(groups: Vec<Vec<&dyn MasterKey>>, threshold: Option<usize>) -> String {
    let plan = EncryptPlan {
        groups,
        threshold,
        selection: Selection::default(),
        mac_only_encrypted: false,
        whole_mac: false,
        now: jiff::Timestamp::from_second(1_800_000_000).unwrap(),
    };
    match encrypt(PLAIN, Format::Yaml, &plan).unwrap() {
        Encryption::Encrypted(encrypted) => encrypted.text,
        other => panic!("{other:?}"),
    }
}

struct Both(ClearKey, ClearKey);

impl DataKeySource for Both {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<zeroize::Zeroizing<Vec<u8>>, UnwrapError> {
        self.0
            .unwrap_key(entry)
            .or_else(|_| self.1.unwrap_key(entry))
    }
}

fn open<'s>(source: &'s str, key: &dyn DataKeySource) -> Option<OpenFile<'s>> {
    OpenFile::open(source, Format::Yaml, key, &DecryptOptions::default()).ok()
}

fn opens(source: &str, key: &dyn DataKeySource) -> bool {
    open(source, key).is_some_and(|opened| opened.plain_text().unwrap() == PLAIN)
}

fn tokens(source: &str) -> HashSet<&str> {
    let tokens = source.split("ENC[").skip(1);
    tokens.map(|rest| rest.split(']').next().unwrap()).collect()
}

fn target(groups: &[&[&ClearKey]]) -> KeyTarget {
    let group = |group: &&[&ClearKey]| group.iter().map(|key| key.spec()).collect();
    KeyTarget {
        groups: groups.iter().map(group).collect(),
        threshold: None,
    }
}

#[test]
fn rotation_leaves_no_ciphertext_and_every_clear_byte() {
    let before = encrypted(vec![vec![&A]], None);
    let rotated = open(&before, &A).unwrap();
    let rotated = rotated.rotated(&[B.spec()], &[], &make, now()).unwrap();
    assert!(rotated.renewed && rotated.changes.removed.is_empty());
    assert!(opens(&rotated.text, &A) && opens(&rotated.text, &B));
    assert!(tokens(&before).is_disjoint(&tokens(&rotated.text)));
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("    "));
        lines
            .map(|line| line.split("ENC[").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(bare(&before), bare(&rotated.text));
    assert_eq!(rotated.text.matches("recipient: age1b").count(), 2);
    assert!(
        rotated
            .text
            .contains("lastmodified: \"2027-01-15T08:01:00Z\"")
    );

    let again = open(&rotated.text, &B).unwrap();
    let again = again.rotated(&[], &[A.spec()], &make, now()).unwrap();
    assert_eq!(again.changes.removed, [A.spec()]);
    assert!(opens(&again.text, &B) && !opens(&again.text, &A));
    let last = open(&again.text, &B).unwrap();
    let error = last.rotated(&[], &[B.spec()], &make, now()).unwrap_err();
    assert!(error.to_string().contains("last key"), "{error}");
}

#[test]
fn an_unusable_key_leaves_the_file_as_it_is() {
    let before = encrypted(vec![vec![&A]], None);
    let opened = open(&before, &A).unwrap();
    let odd = ClearKey("age1odd").spec();
    let error = opened
        .rotated(std::slice::from_ref(&odd), &[], &make, now())
        .unwrap_err();
    assert!(error.to_string().contains("age1odd"), "{error}");
    let keep = DataKeyChange::Keep;
    let error = opened
        .with_group(&[odd], None, keep, &make, now())
        .unwrap_err();
    assert!(error.to_string().contains("unusable"), "{error}");
    let error = opened
        .with_group(&[], None, keep, &make, now())
        .unwrap_err();
    assert!(
        error.to_string().contains("key group 2 has no key"),
        "{error}"
    );
    let error = opened
        .with_group(&[B.spec()], Some(5), keep, &make, now())
        .unwrap_err();
    assert!(error.to_string().contains("threshold of 5"), "{error}");
}

#[test]
fn other_keys_with_the_old_data_key_change_the_block_alone() {
    let before = encrypted(vec![vec![&A]], None);
    let changes = key_changes(&before, Format::Yaml, &target(&[&[&A, &B]])).unwrap();
    assert_eq!(changes.groups[0].added, [B.spec()]);
    assert_eq!(changes.groups[0].kept, [A.spec()]);
    assert!(!changes.is_empty() && changes.removed.is_empty());
    assert!(
        key_changes(&before, Format::Yaml, &target(&[&[&A]]))
            .unwrap()
            .is_empty()
    );

    let opened = open(&before, &A).unwrap();
    let keep = DataKeyChange::RenewIfNarrowed;
    let same = opened.with_keys(&target(&[&[&A]]), keep, &make, now());
    assert!(same.unwrap().is_none());
    let more = opened.with_keys(&target(&[&[&A, &B]]), keep, &make, now());
    let more = more.unwrap().unwrap();
    assert!(!more.renewed && opens(&more.text, &A) && opens(&more.text, &B));
    assert_eq!(tokens(&before), tokens(&more.text));
    // What was there is there still, in the same order.
    let mut rest = more.text.lines();
    assert!(
        before.lines().all(|line| rest.any(|other| other == line)),
        "{}",
        more.text
    );

    let opened = open(&more.text, &A).unwrap();
    let fewer = target(&[&[&B]]);
    let kept = opened.with_keys(&fewer, DataKeyChange::Keep, &make, now());
    let kept = kept.unwrap().unwrap();
    assert!(!kept.renewed && tokens(&before) == tokens(&kept.text));
    assert!(opens(&kept.text, &B) && !opens(&kept.text, &A));
    let renewed = opened
        .with_keys(&fewer, keep, &make, now())
        .unwrap()
        .unwrap();
    assert!(renewed.renewed && tokens(&before).is_disjoint(&tokens(&renewed.text)));
    assert!(opens(&renewed.text, &B) && !opens(&renewed.text, &A));
}

#[test]
fn groups_come_and_go() {
    let one = encrypted(vec![vec![&A]], None);
    let two = open(&one, &A).unwrap();
    let keep = DataKeyChange::Keep;
    let two = two
        .with_group(&[B.spec()], None, keep, &make, now())
        .unwrap();
    assert_eq!(two.changes.threshold, (0, 2));
    assert!(two.text.contains("shamir_threshold: 2"), "{}", two.text);
    assert!(!opens(&two.text, &A) && opens(&two.text, &Both(A, B)));
    assert_eq!(tokens(&one), tokens(&two.text));

    let three = open(&two.text, &Both(A, B)).unwrap();
    let three = three
        .with_group(&[C.spec()], None, keep, &make, now())
        .unwrap();
    assert_eq!(three.changes.threshold, (2, 2));
    assert!(opens(&three.text, &Both(C, B)) && opens(&three.text, &Both(A, C)));

    let opened = open(&three.text, &Both(A, B)).unwrap();
    let error = opened
        .without_group(3, None, keep, &make, now())
        .unwrap_err();
    assert!(error.to_string().contains("no key group 3"), "{error}");
    let fewer = opened.without_group(2, None, keep, &make, now()).unwrap();
    assert_eq!(fewer.changes.removed, [C.spec()]);
    assert!(opens(&fewer.text, &Both(A, B)) && !opens(&fewer.text, &Both(A, C)));

    let opened = open(&fewer.text, &Both(A, B)).unwrap();
    let error = opened
        .without_group(0, None, keep, &make, now())
        .unwrap_err();
    assert!(
        error.to_string().contains("give a new threshold"),
        "{error}"
    );
    let single = opened
        .without_group(0, Some(1), keep, &make, now())
        .unwrap();
    assert!(opens(&single.text, &B) && !single.text.contains("key_groups"));
    assert!(!single.text.contains("shamir_threshold"));
    let opened = open(&single.text, &B).unwrap();
    let error = opened
        .without_group(0, None, keep, &make, now())
        .unwrap_err();
    assert!(error.to_string().contains("last key"), "{error}");

    // A rotation splits the new key over the same groups.
    let opened = open(&three.text, &Both(A, B)).unwrap();
    let rotated = opened.rotated(&[], &[], &make, now()).unwrap();
    assert!(opens(&rotated.text, &Both(C, B)) && rotated.changes.is_empty());
    assert!(tokens(&three.text).is_disjoint(&tokens(&rotated.text)));
}

/// Nobody leaves all groups in any of these, and yet somebody loses access.
#[test]
fn whoever_loses_access_gets_no_data_key_that_counts() {
    let narrow = DataKeyChange::RenewIfNarrowed;
    let changed = |source: &str, by: &dyn DataKeySource, target: &KeyTarget| {
        let opened = open(source, by).unwrap();
        let changed = opened.with_keys(target, narrow, &make, now());
        changed.unwrap().unwrap()
    };
    let renewed = |before: &str, after: &Rekeyed, readers: &[&[&ClearKey]]| {
        assert!(after.renewed && after.changes.removed.is_empty());
        assert!(tokens(before).is_disjoint(&tokens(&after.text)));
        let specs = readers.iter().map(|set| set.iter().map(|key| key.spec()));
        let specs: Vec<Vec<KeySpec>> = specs.map(Iterator::collect).collect();
        assert_eq!(after.changes.lost.as_ref().unwrap().readers, specs);
    };
    // Moved to the group of another.
    let before = encrypted(vec![vec![&A], vec![&B]], None);
    let moved = changed(&before, &Both(A, B), &target(&[&[&A, &B], &[&C]]));
    renewed(&before, &moved, &[&[&A, &B]]);
    assert!(!opens(&moved.text, &Both(A, B)) && opens(&moved.text, &Both(A, C)));
    // Out of one group, still in another.
    let before = encrypted(vec![vec![&A], vec![&A, &B]], None);
    let left = changed(&before, &A, &target(&[&[&A], &[&B]]));
    renewed(&before, &left, &[&[&A]]);
    // A higher threshold.
    let before = encrypted(vec![vec![&A], vec![&B], vec![&C]], Some(2));
    let mut higher = target(&[&[&A], &[&B], &[&C]]);
    higher.threshold = Some(3);
    let higher = changed(&before, &Both(A, B), &higher);
    renewed(&before, &higher, &[&[&A, &B], &[&A, &C], &[&B, &C]]);
    // A new group that is needed; and one that is not.
    let before = encrypted(vec![vec![&A]], None);
    let opened = open(&before, &A).unwrap();
    let group = opened.with_group(&[B.spec()], None, narrow, &make, now());
    renewed(&before, &group.unwrap(), &[&[&A]]);
    let before = encrypted(vec![vec![&A], vec![&B]], None);
    let opened = open(&before, &Both(A, B)).unwrap();
    let group = opened.with_group(&[C.spec()], None, narrow, &make, now());
    let group = group.unwrap();
    assert!(!group.renewed && tokens(&before) == tokens(&group.text));
    let group = opened.with_group(&[C.spec()], Some(3), narrow, &make, now());
    renewed(&before, &group.unwrap(), &[&[&A, &B]]);
    // Groups in another order, a lower threshold: everybody reads on.
    let before = encrypted(vec![vec![&A], vec![&B], vec![&C]], Some(3));
    let mut lower = target(&[&[&C], &[&A], &[&B]]);
    lower.threshold = Some(2);
    struct All;
    impl DataKeySource for All {
        fn unwrap_key(&self, entry: &KeyEntry) -> Result<zeroize::Zeroizing<Vec<u8>>, UnwrapError> {
            Both(A, B)
                .unwrap_key(entry)
                .or_else(|_| C.unwrap_key(entry))
        }
    }
    let lower = changed(&before, &All, &lower);
    assert!(!lower.renewed && lower.changes.lost.is_none());
    assert_eq!(tokens(&before), tokens(&lower.text));
    assert!(opens(&lower.text, &Both(A, C)));
}

#[test]
fn what_a_removed_reader_could_see_is_listed() {
    let source = encrypted(vec![vec![&A]], None);
    let leaves = encrypted_leaves(&source, Format::Yaml).unwrap();
    let paths: Vec<&str> = leaves.iter().map(|leaf| leaf.path.as_str()).collect();
    assert_eq!(
        paths,
        ["a", "n", "list[0]", "list[1]", "list[2].y", "text", "b"]
    );
    assert_eq!(leaves[0].line, 2);
    assert!(is_encrypted(&source, Format::Yaml));
    assert!(
        !is_encrypted(PLAIN, Format::Yaml)
            && !is_encrypted("a: [", Format::Yaml)
            && !is_encrypted("", Format::Yaml)
    );
    let version = source.find("    version:").unwrap();
    assert!(!is_encrypted(&source[..version], Format::Yaml));
}

#[test]
fn fields_that_sops_does_not_know_stay() {
    let before = encrypted(vec![vec![&A]], None);
    let before = before.replace("sops:\n", "sops:\n    kms: []\n    x-note: {by: me}\n");
    let before = before.replace(
        "          recipient: age1a",
        "          hint: mine\n          recipient: age1a",
    );
    let rotated = open(&before, &A).unwrap();
    let rotated = rotated.rotated(&[], &[], &make, now()).unwrap();
    assert!(opens(&rotated.text, &A));
    for kept in ["x-note:", "by: me", "hint: mine"] {
        assert_eq!(rotated.text.matches(kept).count(), 2, "{}", rotated.text);
    }
}

/// What a rule without a version means is found out only when something is wrapped.
#[test]
fn a_vault_key_without_a_version_is_the_one_in_any() {
    let key = |text: &str| KeySpec::parse(KeyKind::AzureKv, text).unwrap();
    let newest = key("https://v.vault.azure.net/keys/k");
    let first = key("https://v.vault.azure.net/keys/k/1");
    assert!(same(&newest, &first) && same(&first, &newest) && same(&newest, &newest));
    assert!(!same(&first, &key("https://v.vault.azure.net/keys/k/2")));
    assert!(!same(
        &newest,
        &key("https://v.vault.azure.net/keys/other/1")
    ));
    assert!(!same(&newest, &key("https://w.vault.azure.net/keys/k/1")));
    let target = KeyTarget {
        groups: vec![vec![newest]],
        threshold: None,
    };
    assert!(KeyChanges::between(&[vec![first]], 0, &target).is_empty());
}

/// Any two shares that fit open a file that lost its threshold: whoever holds two had the data key.
#[test]
fn a_file_without_a_threshold_gets_a_new_data_key_where_two_no_longer_open_it() {
    let split = encrypted(vec![vec![&A], vec![&B], vec![&C]], Some(2));
    let source = split.replace("    shamir_threshold: 2\n", "");
    assert_ne!(source, split);
    let file = open(&source, &Both(A, B)).unwrap();
    assert_eq!(file.keys().threshold, None);
    let raised = KeyTarget {
        threshold: Some(3),
        ..file.keys()
    };
    let one_more = target(&[&[&A], &[&B, &C], &[&C]]);
    let keep = DataKeyChange::RenewIfNarrowed;
    for wish in [raised, one_more] {
        let rekeyed = file.with_keys(&wish, keep, &make, now()).unwrap().unwrap();
        assert!(rekeyed.renewed && rekeyed.changes.lost.is_some());
        assert!(tokens(&source).is_disjoint(&tokens(&rekeyed.text)));
    }
    let as_it_is = KeyTarget {
        threshold: Some(2),
        ..file.keys()
    };
    let kept = file.with_keys(&as_it_is, keep, &make, now()).unwrap();
    assert!(kept.is_none());
}

/// What is written into a file by somebody else stays, or the file is not encrypted anew.
#[test]
fn unknown_metadata_is_no_reason_to_refuse_but_where_it_would_be_lost() {
    let source = encrypted(vec![vec![&A]], None);
    let file = open(&source, &A).unwrap();
    file.check_afresh().unwrap();
    check_afresh(&source, Format::Yaml).unwrap();
    let source = source.replacen(
        "    lastmodified:",
        "    MAC_only_encrypted: false\n    team: payments\n    note: {a: b}\n    lastmodified:",
        1,
    );
    let file = open(&source, &A).unwrap();
    let error = file.check_afresh().unwrap_err();
    assert!(matches!(&error, AfreshError::Unknown(names) if names == &["team", "note"]));
    assert!(
        error.to_string().contains("team, note of its metadata"),
        "{error}"
    );
    let error = check_afresh(&source, Format::Yaml).unwrap_err();
    assert!(matches!(error, AfreshError::Unknown(_)));
    let rotated = file.rotated(&[], &[], &make, now()).unwrap();
    assert!(rotated.text.contains("team: payments"));
}

/// A new data key that looked old would be renewed by every run.
#[test]
fn the_time_of_an_old_data_key_does_not_stay() {
    for old in ["\"\"", "\"2001-01-01T00:00:00Z\""] {
        let source = encrypted(vec![vec![&A]], None);
        let source = source.replace(
            "recipient: age1a\n",
            &format!("recipient: age1a\n          created_at: {old}\n"),
        );
        let times = |text: &str| crate::status(text, Format::Yaml).unwrap().wrapped;
        assert_eq!(times(&source).len(), 1, "{source}");
        let file = open(&source, &A).unwrap();
        let rotated = file.rotated(&[], &[], &make, now()).unwrap();
        assert!(times(&rotated.text).is_empty(), "{}", rotated.text);
        let kept = file.with_keys(&target(&[&[&A, &B]]), DataKeyChange::Keep, &make, now());
        assert_eq!(times(&kept.unwrap().unwrap().text).len(), 1);
    }
}
