//! Key groups, thresholds and the order of attempts, with keys that store what they wrap in clear.

use std::cell::RefCell;

use super::*;
use crate::key_spec::KeySpec;
use crate::selection::Selection;

struct Clear(KeyKind, &'static str);

impl MasterKey for Clear {
    fn kind(&self) -> KeyKind {
        self.0
    }

    fn id(&self) -> &str {
        self.1
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let spec = match self.0 {
            KeyKind::Pgp => KeySpec::Pgp {
                fingerprint: self.1.to_owned(),
            },
            KeyKind::Hckms => KeySpec::Hckms {
                key_id: self.1.to_owned(),
            },
            _ => KeySpec::Age {
                recipient: self.1.to_owned(),
            },
        };
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(spec.entry(&hex, jiff::Timestamp::UNIX_EPOCH))
    }
}

/// Opens the entries whose id is listed, and notes what it is asked.
#[derive(Default)]
struct Source {
    opens: Vec<&'static str>,
    fits: Vec<&'static str>,
    asked: RefCell<Vec<String>>,
}

impl DataKeySource for Source {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.fits.contains(&entry.id().as_str())
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        self.asked.borrow_mut().push(entry.id());
        if !self.opens.contains(&entry.id().as_str()) {
            return Err(UnwrapError::NotMine);
        }
        let hex = entry.field("enc").unwrap();
        let byte = |i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        Ok(Zeroizing::new((0..hex.len() / 2).map(byte).collect()))
    }
}

fn metadata(groups: Vec<Vec<KeyEntry>>, threshold: usize) -> Metadata {
    Metadata {
        groups,
        threshold,
        last_modified: String::new(),
        mac: String::new(),
        whole_mac: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        version: String::new(),
        own_spelling: true,
    }
}

fn three_groups(asked: Option<usize>) -> (DataKey, Wrapped) {
    let key = DataKey::generate().unwrap();
    let (a, b) = (Clear(KeyKind::Age, "a"), Clear(KeyKind::Age, "b"));
    let (b2, c) = (Clear(KeyKind::Pgp, "b2"), Clear(KeyKind::Age, "c"));
    let groups: [Vec<&dyn MasterKey>; 3] = [vec![&a], vec![&b, &b2], vec![&c]];
    let wrapped = wrap(&key, &groups, asked).unwrap();
    (key, wrapped)
}

#[test]
fn two_of_three_groups_open_and_no_more_are_asked() {
    let (key, wrapped) = three_groups(Some(2));
    assert_eq!(wrapped.threshold, 2);
    let metadata = metadata(wrapped.groups, wrapped.threshold);
    let source = Source {
        opens: vec!["a", "b2", "c"],
        fits: vec!["c"],
        ..Source::default()
    };
    let found = recover(&metadata, &source, None).unwrap();
    assert_eq!(found.expose(), key.expose());
    assert_eq!(*source.asked.borrow(), ["c", "a"]);

    let source = Source {
        opens: vec!["b2", "c"],
        ..Source::default()
    };
    let found = recover(&metadata, &source, None).unwrap();
    assert_eq!(found.expose(), key.expose());
    assert_eq!(*source.asked.borrow(), ["a", "b", "b2", "c"]);
}

#[test]
fn a_share_too_few_names_every_cause() {
    let (_, wrapped) = three_groups(None);
    assert_eq!(wrapped.threshold, 3);
    let metadata = metadata(wrapped.groups, wrapped.threshold);
    let source = Source {
        opens: vec!["a", "c"],
        ..Source::default()
    };
    let error = recover(&metadata, &source, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 of the 3 shares of the data key found (3 key groups); \
         no identity fits group 2: age b, pgp b2"
    );
}

#[test]
fn groups_and_thresholds_that_lose_the_file_are_refused() {
    let key = DataKey::generate().unwrap();
    let a = Clear(KeyKind::Age, "a");
    let full = || -> Vec<&dyn MasterKey> { vec![&a] };
    for (groups, asked, error) in [
        (vec![], None, GroupError::None),
        (vec![vec![]], None, GroupError::None),
        (vec![full(), vec![]], None, GroupError::Empty(2)),
        (
            vec![full(), full()],
            Some(3),
            GroupError::Threshold {
                threshold: 3,
                groups: 2,
            },
        ),
        (
            vec![full(), full()],
            Some(1),
            GroupError::Threshold {
                threshold: 1,
                groups: 2,
            },
        ),
        (vec![full(); 256], None, GroupError::TooMany(256)),
    ] {
        assert_eq!(wrap(&key, &groups, asked).unwrap_err(), error);
    }
    // With one group a threshold means nothing.
    let one = wrap(&key, &[full()], Some(9)).unwrap();
    assert_eq!((one.groups.len(), one.threshold), (1, 0));
}

#[test]
fn a_wrapped_secret_of_another_length_is_a_damaged_entry() {
    let a = Clear(KeyKind::Age, "a");
    let whole = a.wrap(&[7; 32]).unwrap();
    let share = a.wrap(&[7; 33]).unwrap();
    let source = Source {
        opens: vec!["a"],
        ..Source::default()
    };
    for groups in [vec![vec![share]], vec![vec![whole.clone()], vec![whole]]] {
        let error = recover(&metadata(groups, 0), &source, None).unwrap_err();
        assert!(error.to_string().contains("bytes instead of 3"), "{error}");
    }
}

#[test]
fn the_order_of_types_can_be_given() {
    let keys = [
        Clear(KeyKind::Hckms, "h:1"),
        Clear(KeyKind::Pgp, "p"),
        Clear(KeyKind::Age, "a"),
        Clear(KeyKind::Age, "a2"),
    ];
    let group: Vec<KeyEntry> = keys.iter().map(|key| key.wrap(&[1; 32]).unwrap()).collect();
    let metadata = metadata(vec![group], 0);
    let asked = |fits: Vec<&'static str>, order: Option<&str>| {
        let source = Source {
            fits,
            ..Source::default()
        };
        let order: Option<DecryptionOrder> = order.map(|text| text.parse().unwrap());
        recover(&metadata, &source, order.as_ref()).unwrap_err();
        source.asked.into_inner()
    };
    assert_eq!(asked(vec![], None), ["a", "a2", "p", "h:1"]);
    assert_eq!(asked(vec!["p"], None), ["p", "a", "a2", "h:1"]);
    assert_eq!(
        asked(vec!["a2"], Some("hckms, pgp,unknown")),
        ["h:1", "p", "a2", "a"]
    );
    assert_eq!(
        "age,pgp,age".parse::<DecryptionOrder>(),
        Err(DecryptionOrderError("age".to_owned()))
    );
}
