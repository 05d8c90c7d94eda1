//! What holds for any bytes where kubeseal expects Secrets or SealedSecrets.

use selkie_seal::Certificate;
use selkie_seal::manifest::SealPlan;
use selkie_seal::object::{
    Additions, EditManifestError, OutputFormat, PlainSecret, SealedSecret, merge_into,
    replace_values,
};

/// Secrets are sealed or refused, and what is printed says the same when it is read again.
pub fn secrets(bytes: &[u8], certificate: &Certificate) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let plan = SealPlan {
        certificate,
        scope: None,
        name: None,
        namespace: None,
        default_namespace: &|| Some("default".to_owned()),
        allow_empty_data: true,
    };
    for secret in PlainSecret::read(source).unwrap_or_default() {
        let Ok(sealed) = secret.seal(&plan) else {
            continue;
        };
        let json = sealed.print(OutputFormat::Json);
        for text in [&json, &sealed.print(OutputFormat::Yaml)] {
            let again = SealedSecret::read(text);
            let again = again.unwrap_or_else(|error| panic!("{source:?}: {error}:\n{text}"));
            assert_eq!(again.len(), 1, "{source:?}");
            assert_eq!(again[0].print(OutputFormat::Json), json, "{source:?}");
        }
    }
}

/// SealedSecrets are changed or refused; a change that changes nothing keeps every byte.
pub fn sealed(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let refused = |error: EditManifestError| {
        let is_defect = matches!(error, EditManifestError::SelfCheck);
        assert!(!is_defect, "{source:?}: {error}");
    };
    match replace_values::<EditManifestError>(source, |_, _| Ok(None)) {
        Ok(same) => assert_eq!(same.text, source),
        Err(error) => refused(error),
    }
    let new = |_: &_, _: &_| Ok(Some("AQ==".to_owned()));
    if let Err(error) = replace_values::<EditManifestError>(source, new) {
        refused(error);
    }
    let additions = Additions {
        values: vec![("k".to_owned(), "AQ==".to_owned())],
        labels: vec![("l".to_owned(), "x".to_owned())],
        annotations: vec![("a".to_owned(), "y: z".to_owned())],
    };
    match merge_into(source, &additions) {
        Ok(merged) => {
            let again = merge_into(&merged, &additions);
            let again = again.unwrap_or_else(|error| panic!("{source:?}: {error}:\n{merged}"));
            assert_eq!(again, merged, "{source:?}");
        }
        Err(error) => refused(error),
    }
}
