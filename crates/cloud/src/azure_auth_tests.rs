use super::*;

fn login(settings: AzureLoginSettings) -> AzureLogin {
    AzureLogin::new(settings, || Timestamp::UNIX_EPOCH)
}

fn principal() -> AzureLoginSettings {
    AzureLoginSettings {
        tenant: Some("own".to_owned()),
        client_id: Some("client".to_owned()),
        ..AzureLoginSettings::default()
    }
}

#[test]
fn the_login_server_is_an_https_url_and_the_tenant_one_segment() {
    let url = |authority: Option<&str>, tenant: &str| {
        let authority = authority.map(str::to_owned);
        let settings = AzureLoginSettings {
            authority,
            ..AzureLoginSettings::default()
        };
        login(settings).token_url(tenant).map(|url| url.to_string())
    };
    assert_eq!(
        url(None, "t").unwrap(),
        "https://login.microsoftonline.com/t/oauth2/v2.0/token"
    );
    assert_eq!(
        url(Some("https://login.chinacloudapi.cn/"), "a/b?c").unwrap(),
        "https://login.chinacloudapi.cn/a%2Fb%3Fc/oauth2/v2.0/token"
    );
    for authority in ["http://login.example", "login.example", "data:x"] {
        let message = url(Some(authority), "t").unwrap_err().to_string();
        assert!(message.starts_with("AZURE_AUTHORITY_HOST"), "{message}");
    }
}

#[test]
fn a_credential_is_used_for_its_own_tenants_alone() {
    let of = |more: Option<&str>, asked: &str| {
        let mut settings = principal();
        settings.more_tenants = more.map(str::to_owned);
        let login = login(settings);
        login
            .tenant(Credential::Environment, "own", asked)
            .map(str::to_owned)
    };
    assert_eq!(of(None, "own").unwrap(), "own");
    assert_eq!(of(None, "").unwrap(), "own");
    assert_eq!(of(Some("a;other"), "other").unwrap(), "other");
    assert_eq!(of(Some("*"), "other").unwrap(), "other");
    let message = of(Some("a"), "other").unwrap_err().to_string();
    assert!(
        message.contains("AZURE_ADDITIONALLY_ALLOWED_TENANTS"),
        "{message}"
    );
}

#[test]
fn one_variable_chooses_from_the_chain() {
    let of = |only: Option<&str>| {
        let settings = AzureLoginSettings {
            only: only.map(str::to_owned),
            ..AzureLoginSettings::default()
        };
        let selected = login(settings).selected()?;
        Ok::<_, AzureLoginError>(selected.iter().map(|one| one.name()).collect::<Vec<_>>())
    };
    assert_eq!(of(None).unwrap().len(), 4);
    assert_eq!(of(Some("dev")).unwrap(), ["AzureCLICredential"]);
    assert_eq!(of(Some("prod")).unwrap().len(), 3);
    assert_eq!(
        of(Some("managedidentitycredential")).unwrap(),
        ["ManagedIdentityCredential"]
    );
    assert_eq!(
        of(Some("AzurePowerShellCredential")),
        Err(AzureLoginError::Only)
    );
}

#[tokio::test]
async fn what_is_not_set_up_leads_on_and_what_is_wrong_ends_the_chain() {
    let unavailable = |answer| match answer {
        Err(Failed::Unavailable(cause)) => cause,
        Err(Failed::Error(error)) => panic!("{error}"),
        Ok(_) => panic!("a token"),
    };
    let asked = Asked {
        tenant: "own".to_owned(),
        resource: "r".to_owned(),
        claims: None,
    };
    let none = login(AzureLoginSettings::default());
    let cause = unavailable(none.environment(&asked).await);
    assert_eq!(cause, "AZURE_TENANT_ID is not set");
    assert!(unavailable(none.workload(&asked).await).contains("AZURE_FEDERATED_TOKEN_FILE"));
    let half = login(AzureLoginSettings {
        user_name: true,
        other_identity: Some("MSI_ENDPOINT"),
        ..principal()
    });
    assert!(unavailable(half.environment(&asked).await).contains("AZURE_USERNAME"));
    assert!(unavailable(half.managed("r").await).contains("MSI_ENDPOINT"));
    let wrong = login(AzureLoginSettings {
        certificate: Some("/absent.pem".into()),
        ..principal()
    });
    let error = wrong.chain(&asked).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("/absent.pem"), "{error}");
}

#[test]
fn claims_are_sent_with_what_the_client_can_do() {
    let of = |claims: Option<Value>| {
        let asked = Asked {
            tenant: String::new(),
            resource: String::new(),
            claims,
        };
        serde_json::from_str::<Value>(&asked.claims()).unwrap()
    };
    let own = json!({"values": ["CP1"]});
    assert_eq!(of(None), json!({"access_token": {"xms_cc": own}}));
    let asked = json!({"access_token": {"nbf": {"essential": true}}});
    let sent = json!({"access_token": {"nbf": {"essential": true}, "xms_cc": own}});
    assert_eq!(of(Some(asked)), sent);
    let odd = json!({"access_token": [1]});
    assert_eq!(of(Some(odd.clone())), odd);
}
