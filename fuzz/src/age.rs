//! What holds for any bytes where an age file, age identities or age recipients are expected.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use selkie_keys::age::{
    AgeIdentities, AgeIdentity, AgeRecipient, IdentitySource, SourceForm, open, parse_recipients,
};
use selkie_secret::SecretBytes;
use selkie_sops::MasterKey as _;

const SECRET: &[u8; 32] = b"a data key of thirty-two bytes..";

/// The throw-away keys of the two types whose stanzas are read here; SSH ones come through the pool.
static IDENTITIES: LazyLock<[AgeIdentity; 2]> = LazyLock::new(|| {
    ["age.txt", "age-pq.txt"].map(|name| {
        let text = example(name);
        let line = text.lines().find(|line| line.starts_with("AGE-SECRET"));
        AgeIdentity::parse_native(line.expect("an identity")).expect("an identity")
    })
});

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys-example");
    fs::read_to_string(folder.join(name)).expect("an example key")
}

/// The first byte tells what the rest is.
pub fn any(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'f', rest)) => file(rest),
        Some((b'i', rest)) => identities(rest, SourceForm::Identities),
        Some((b's', rest)) => identities(rest, SourceForm::SshKey),
        Some((b'r', rest)) => recipients(rest),
        _ => {}
    }
}

/// A file opens to what was put in, or not at all: its header and its text are authenticated.
fn file(bytes: &[u8]) {
    let identities = IDENTITIES.each_ref().map(|one| one as &dyn ::age::Identity);
    let Ok(mut reader) = open(bytes, &identities) else {
        return;
    };
    let mut plaintext = Vec::new();
    if reader.read_to_end(&mut plaintext).is_ok() {
        assert_eq!(plaintext, SECRET);
    }
}

/// A source gives identities or a report, and no report repeats a line of it.
fn identities(bytes: &[u8], form: SourceForm) {
    let source = IdentitySource {
        name: "fuzz".to_owned(),
        content: Ok(SecretBytes::new(bytes.to_vec())),
        form,
    };
    let pool = AgeIdentities::from_sources(vec![source]);
    for report in pool.sources() {
        assert!(report.problem.is_none() || report.identities == 0);
        let problem = report.problem.unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let shown = |line: &str| line.len() > 40 && problem.contains(line);
        assert!(!text.lines().any(shown), "{problem}");
    }
    let _ = format!("{pool:?}");
}

/// What parses comes back the same from its text.
fn recipients(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for recipient in parse_recipients(text).unwrap_or_default() {
        let again: AgeRecipient = recipient.id().parse().expect("a recipient");
        assert_eq!(again.id(), recipient.id());
    }
}

/// Writes files for both types, armored, the example identities and recipients.
pub fn write_seeds(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let write =
        |name: &str, mark: &str, text: &str| fs::write(folder.join(name), [mark, text].concat());
    for name in ["age", "age-pq", "ssh_ed25519", "ssh_rsa"] {
        let text = example(&format!("{name}.pub"));
        write(&format!("recipient-{name}"), "r", &text)?;
        let recipient: AgeRecipient = text.trim().parse().expect("a recipient");
        let entry = recipient.wrap(SECRET).expect("a wrapped key");
        write(
            &format!("file-{name}"),
            "f",
            entry.field("enc").expect("a file"),
        )?;
    }
    for name in ["age.txt", "age-pq.txt"] {
        write(name, "i", &example(name))?;
    }
    for name in ["ssh_ed25519", "ssh_rsa", "ssh_protected"] {
        write(name, "s", &example(name))?;
    }
    Ok(())
}
