//! What holds for any bytes where a Secret's manifest is expected.

use selkie_seal::Certificate;
use selkie_seal::manifest::{SealPlan, seal};

/// A manifest for `selkie seal`: sealed or refused, and sealed once only.
pub fn manifest(bytes: &[u8], certificate: &Certificate) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let plan = SealPlan {
        certificate,
        scope: None,
        name: None,
        namespace: None,
        default_namespace: &|| Some("default".to_owned()),
        allow_empty_data: false,
    };
    match seal(source, &plan) {
        Ok(sealing) => {
            let second = seal(&sealing.text, &plan);
            let second = second.unwrap_or_else(|error| panic!("{source:?}: {error}"));
            assert_eq!(
                (second.secrets, second.text),
                (0, sealing.text),
                "{source:?}"
            );
        }
        Err(error) => assert!(!error.to_string().contains("defect"), "{source:?}: {error}"),
    }
}
