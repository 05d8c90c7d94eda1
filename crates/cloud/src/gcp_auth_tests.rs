use super::*;

fn login(settings: GcpLoginSettings) -> GcpLogin {
    GcpLogin::new(settings, || Timestamp::UNIX_EPOCH)
}

fn refused(json: &str) -> String {
    let settings = GcpLoginSettings {
        credentials: Some(SecretString::new(json.to_owned())),
        ..GcpLoginSettings::default()
    };
    login(settings).find().map(drop).unwrap_err().to_string()
}

#[test]
fn credentials_that_cannot_be_used_say_why_and_show_nothing() {
    for (json, words) in [
        ("canary", "neither the path of a file nor JSON"),
        ("{}", "its type is missing"),
        (r#"{"type": "canary"}"#, "their type is none of"),
        (r#"{"type": {"canary": 1}}"#, "has not the form"),
        (r#"{"type": "service_account"}"#, "client_email is missing"),
        (
            r#"{"type": "service_account", "client_email": "a@b", "private_key": "canary"}"#,
            "private_key: it is no RSA key",
        ),
        (
            r#"{"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n"}"#,
            "encrypted with a passphrase",
        ),
        (
            r#"{"type": "authorized_user", "client_secret": "canary"}"#,
            "refresh_token is missing",
        ),
        (r#"{"type": "gdch_service_account"}"#, "not supported"),
        (
            r#"{"type": "external_account"}"#,
            "credential_source is missing",
        ),
        (
            r#"{"type": "external_account", "audience": "a", "subject_token_type": "t", "credential_source": {"environment_id": "aws1", "url": "http://169.254.169.254"}}"#,
            "an AWS identity",
        ),
        (
            r#"{"type": "external_account", "audience": "a", "subject_token_type": "t", "credential_source": {"executable": {"command": "canary"}}}"#,
            "a program",
        ),
        (
            r#"{"type": "impersonated_service_account", "source_credentials": {"type": "authorized_user", "refresh_token": "canary"}}"#,
            "service_account_impersonation_url",
        ),
    ] {
        let message = refused(json);
        assert!(
            message.starts_with("the credentials of GOOGLE_CREDENTIALS cannot"),
            "{message}"
        );
        assert!(message.contains(words), "{json}: {message}");
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn the_order_is_that_of_sops() {
    let folder = std::env::temp_dir().join(format!("selkie-gcp-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, refresh: &str| {
        let path = folder.join(name);
        let json = json!({"type": "authorized_user", "refresh_token": refresh});
        fs::write(&path, json.to_string()).unwrap();
        path
    };
    let (named, default, user) = (file("named", "n"), file("default", "d"), file("user", "u"));
    let place = |settings| login(settings).find().map(|found| found.place);
    let secret = |text: &str| Some(SecretString::new(text.to_owned()));
    let settings = || GcpLoginSettings {
        credentials: secret(named.to_str().unwrap()),
        access_token: secret("t"),
        application_credentials: Some(default.clone()),
        user_file: Some(user.clone()),
        ..GcpLoginSettings::default()
    };
    assert_eq!(place(settings()).unwrap(), "GOOGLE_CREDENTIALS");
    let mut less = settings();
    less.credentials = None;
    assert_eq!(place(less).unwrap(), "GOOGLE_OAUTH_ACCESS_TOKEN");
    let mut less = settings();
    (less.credentials, less.access_token) = (None, None);
    assert_eq!(place(less).unwrap(), "GOOGLE_APPLICATION_CREDENTIALS");
    let less = GcpLoginSettings {
        user_file: Some(user.clone()),
        ..GcpLoginSettings::default()
    };
    assert_eq!(
        place(less).unwrap(),
        "gcloud's application default credentials"
    );
    assert_eq!(
        place(GcpLoginSettings::default()).unwrap(),
        "the metadata service"
    );
    let absent = GcpLoginSettings {
        application_credentials: Some(folder.join("absent")),
        ..GcpLoginSettings::default()
    };
    let message = place(absent).unwrap_err().to_string();
    assert!(
        message.contains("GOOGLE_APPLICATION_CREDENTIALS cannot be read"),
        "{message}"
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn credentials_of_another_universe_are_not_sent() {
    let json =
        json!({"type": "authorized_user", "refresh_token": "r", "universe_domain": "u.example"});
    let settings = GcpLoginSettings {
        credentials: Some(SecretString::new(json.to_string())),
        ..GcpLoginSettings::default()
    };
    let message = login(settings)
        .access()
        .await
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("SOPS_GCP_KMS_UNIVERSE_DOMAIN=u.example"),
        "{message}"
    );
}

#[test]
fn subject_tokens_are_text_or_a_field_of_json() {
    let token = |text, field| credentials::subject(text, field).map(|t| t.expose().to_owned());
    assert_eq!(token("abc", None).unwrap(), "abc");
    assert_eq!(token(r#"{"a": "b"}"#, Some("a")).unwrap(), "b");
    for text in ["canary", r#"{"a": 1}"#, r#"{"c": "canary"}"#] {
        let message = token(text, Some("a")).unwrap_err();
        assert!(!message.contains("canary"), "{message}");
    }
}
