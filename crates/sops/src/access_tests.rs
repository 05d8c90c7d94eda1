//! Who loses access, from a table and against every set of holders.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::*;
use crate::rekey::KeyChanges;

/// Reads `ab|c/2`: a group of a and b, one of c, of which two are needed.
fn target(text: &str) -> KeyTarget {
    let (groups, threshold) = match text.split_once('/') {
        Some((groups, threshold)) => (groups, Some(threshold.parse().unwrap())),
        None => (text, None),
    };
    let key = |name: char| KeySpec::Age {
        recipient: name.to_string(),
    };
    KeyTarget {
        groups: groups
            .split('|')
            .map(|group| group.chars().map(key).collect())
            .collect(),
        threshold,
    }
}

/// Writes who lost access: `a, b+c`.
fn lost(before: &str, after: &str) -> String {
    let lost = lost_access(&target(before), &target(after));
    let sets = lost.iter().flat_map(|lost| &lost.readers).map(|set| {
        let keys: Vec<String> = set.iter().map(KeySpec::identity).collect();
        keys.join("+")
    });
    sets.collect::<Vec<_>>().join(", ")
}

#[test]
fn whoever_opened_a_file_and_no_longer_does_is_told() {
    for (before, after, expected) in [
        // One group.
        ("a", "a", ""),
        ("a", "ab", ""),
        ("ab", "a", "b"),
        ("abc", "d", "a, b, c"),
        ("ab", "ba", ""),
        // Into several groups: nobody does it alone any more, unless he is in all of them.
        ("a", "a|b", "a"),
        ("a", "a|ab", ""),
        ("ab", "a|b", "a, b"),
        ("ab", "ab|a", "b"),
        ("ab", "a|b|ab/2", ""),
        // Out of several groups.
        ("a|b", "ab", ""),
        ("a|b", "a", ""),
        ("a|b", "c", "a+b"),
        ("a|b/2", "a|c/2", "a+b"),
        // Moved to the group of another.
        ("a|b", "ab|c", "a+b"),
        ("a|b|c/2", "ab|c/2", "a+b"),
        // Out of one group and still in another.
        ("a|ab", "a|b", "a"),
        ("ab|ac", "ab|c", "a"),
        // Another order changes nothing.
        ("a|b|c/2", "c|a|b/2", ""),
        // A higher threshold, a lower one.
        ("a|b|c/2", "a|b|c/3", "a+b, a+c, b+c"),
        ("a|b|c/3", "a|b|c/2", ""),
        ("ab|a|c/2", "ab|a|c/3", "a, b+c"),
        // One more group: needed by the threshold, or not.
        ("a|b", "a|b|c", "a+b"),
        ("a|b/2", "a|b|c/2", ""),
        ("a|b/2", "a|b|c/3", "a+b"),
        // Everybody of the group.
        ("ab|c", "b|c", "a+c"),
        ("abc|d", "c|d", "a+d, b+d"),
        // A threshold of all is the number of groups, one below two is two.
        ("a|b/0", "a|b/2", ""),
        ("a|b/1", "a|b/2", ""),
        // How many groups a file without a threshold needs, nobody knows.
        ("a|b|c", "a|b|c/2", ""),
        ("a|b|c/0", "a|b|c/3", "a+b, a+c, b+c"),
        ("a|b|c", "ad|b|c", "a+b, a+c, b+c"),
        ("a|b|c/2", "a|b|c", "a+b, a+c, b+c"),
        // Nobody opened it before.
        ("a|b/3", "a", ""),
        ("", "a", ""),
    ] {
        assert_eq!(lost(before, after), expected, "{before} -> {after}");
    }
}

#[test]
fn many_groups_are_on_the_safe_side() {
    let groups = |count: usize, threshold: usize| KeyTarget {
        groups: (0..count)
            .map(|number| {
                vec![KeySpec::Age {
                    recipient: number.to_string(),
                }]
            })
            .collect(),
        threshold: Some(threshold),
    };
    let before = groups(255, 100);
    let mut moved = before.clone();
    moved.groups.swap(0, 1);
    // Nobody lost anything; who could say so in time?
    let unsure = lost_access(&before, &moved);
    assert_eq!(
        unsure,
        Some(LostAccess {
            readers: Vec::new()
        })
    );
    assert_eq!(lost_access(&before, &groups(255, 100)), None);
    assert_eq!(lost_access(&before, &groups(255, 99)), None);
    // All but one, and two, are few choices.
    let all = groups(255, 255);
    let mut moved = all.clone();
    moved.groups.swap(0, 1);
    assert_eq!(lost_access(&all, &moved), None);
    let two = groups(255, 2);
    let mut moved = two.clone();
    moved.groups.swap(0, 1);
    assert_eq!(lost_access(&two, &moved), None);
    moved.groups[7] = moved.groups[8].clone();
    let lost = lost_access(&two, &moved).unwrap();
    assert_eq!(lost.readers.len(), MAX_TOLD);
    let told = format!("{:?}", lost.readers);
    assert!(told.contains("\"7\""), "{told}");
}

/// Keys of up to five holders in up to five groups, and a threshold, that may not fit.
fn targets() -> impl Strategy<Value = (Vec<Vec<u8>>, Option<usize>)> {
    let group = proptest::collection::vec(0..5_u8, 0..4);
    let groups = proptest::collection::vec(group, 1..6);
    (groups, proptest::option::of(0..6_usize))
}

fn with_keys((groups, threshold): &(Vec<Vec<u8>>, Option<usize>)) -> KeyTarget {
    let key = |number: &u8| KeySpec::Age {
        recipient: number.to_string(),
    };
    KeyTarget {
        groups: groups
            .iter()
            .map(|group| group.iter().map(key).collect())
            .collect(),
        threshold: *threshold,
    }
}

/// How many groups a set of holders has a key of.
fn shares(target: &KeyTarget, set: &[KeySpec]) -> usize {
    let groups = target.groups.iter();
    let open = groups.filter(|group| group.iter().any(|key| set.contains(key)));
    open.count()
}

/// Whether somebody could have opened a file that is there: what `data_key::recover` would try.
fn opened(file: &KeyTarget, set: &[KeySpec]) -> bool {
    let shares = shares(file, set);
    match (file.groups.len(), file.threshold) {
        (0 | 1, _) => shares == 1,
        (_, None | Some(0..=2)) => shares >= 2,
        (_, Some(threshold)) => shares >= threshold,
    }
}

/// Whether somebody opens a file that is written: `data_key::wrap` splits for all groups where no
/// threshold is asked for.
fn opens(written: &KeyTarget, set: &[KeySpec]) -> bool {
    let shares = shares(written, set);
    match (written.groups.len(), written.threshold) {
        (0 | 1, _) => shares == 1,
        (groups, None | Some(0)) => shares >= 2 && shares == groups,
        (_, Some(threshold)) => shares >= 2 && shares >= threshold,
    }
}

#[test]
fn it_is_so_for_every_set_of_holders() {
    let mut runner = TestRunner::new(Config {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(10),
        ..Config::default()
    });
    let checked = runner.run(&(targets(), targets()), |(before, after)| {
        let (before, after) = (with_keys(&before), with_keys(&after));
        let key = |number: u32| KeySpec::Age {
            recipient: number.to_string(),
        };
        let set = |bits: u32| -> Vec<KeySpec> {
            let numbers = (0..5).filter(|number| bits >> number & 1 == 1);
            numbers.map(key).collect()
        };
        let lost = |set: &[KeySpec]| opened(&before, set) && !opens(&after, set);
        let any = (0..32).any(|bits| lost(&set(bits)));
        let found = lost_access(&before, &after);
        prop_assert_eq!(found.is_some(), any);
        for told in found.iter().flat_map(|found| &found.readers) {
            prop_assert!(lost(told));
            for left_out in 0..told.len() {
                let mut fewer = told.clone();
                fewer.remove(left_out);
                prop_assert!(!opened(&before, &fewer), "{told:?} is not minimal");
            }
        }
        for alone in (0..5).map(|number| set(1 << number)) {
            let told = found
                .as_ref()
                .is_some_and(|found| found.readers.contains(&alone));
            prop_assert_eq!(told, lost(&alone));
        }
        // Without time to find out, access is never taken for kept.
        let unsure = Access::between(&before, &after).unwrap();
        let unsure = unsure.lost(&mut Work(0));
        prop_assert!(unsure.is_some() || !any);
        Ok(())
    });
    checked.unwrap();
}

/// Metadata of somebody else, in sizes that would take hours if each key were compared with each.
#[test]
fn a_hostile_file_holds_nobody_up() {
    const MANY: usize = 100_000;
    let age = |number: usize| KeySpec::Age {
        recipient: number.to_string(),
    };
    let azure = |number: usize| KeySpec::AzureKv {
        vault_url: "https://vault".to_owned(),
        name: "name".to_owned(),
        version: Some(number.to_string()),
    };
    let rule = |key: &KeySpec| KeyTarget {
        groups: vec![vec![key.clone()]],
        threshold: None,
    };
    let kinds: [&dyn Fn(usize) -> KeySpec; 2] = [&age, &azure];
    for key in kinds {
        let one_group = KeyTarget {
            groups: vec![(0..MANY).map(key).collect()],
            threshold: None,
        };
        let changes = KeyChanges::between(&one_group.groups, 0, &rule(&key(1)));
        assert_eq!(changes.removed.len(), MANY - 1);
        assert_eq!(changes.lost.unwrap().readers.len(), MANY - 1);
        let several = KeyTarget {
            groups: (0..250)
                .map(|group| (0..MANY / 250).map(|n| key(group + 250 * n)).collect())
                .collect(),
            threshold: Some(250),
        };
        let lost = lost_access(&several, &rule(&age(MANY))).unwrap();
        assert!(lost.readers.iter().all(|set| set.len() == 250));
    }
    // As many groups as can be, all of them needed.
    let apart = |count: usize| KeyTarget {
        groups: (0..count).map(|number| vec![age(number)]).collect(),
        threshold: Some(count),
    };
    let lost = lost_access(&apart(255), &rule(&age(999))).unwrap();
    assert_eq!(lost.readers.len(), 1);
    assert_eq!(lost.readers[0].len(), 255);
    // More than can be.
    let nobody_knows = Some(LostAccess {
        readers: Vec::new(),
    });
    assert_eq!(lost_access(&apart(MANY), &rule(&age(1))), nobody_knows);
    assert_eq!(lost_access(&rule(&age(1)), &apart(MANY)), nobody_knows);
    assert_eq!(lost_access(&apart(MANY), &apart(MANY)), None);
    let changes = KeyChanges::between(&apart(MANY).groups, MANY, &rule(&age(1)));
    assert_eq!(changes.removed.len(), MANY - 1);
}
