use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use super::*;

/// Answers each request in turn with these texts, and gives back what was asked.
fn server(answers: Vec<String>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut request).unwrap(), 0);
            }
            let lower = request.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).unwrap();
            let length = length.lines().next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            asked.push(request);
        }
        asked
    });
    (address, asked)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn spec(address: &str) -> KeySpec {
    KeySpec::parse(KeyKind::HcVault, &format!("{address}/v1/team/sops/keys/k")).unwrap()
}

fn settings(named: &str) -> VaultSettings {
    VaultSettings {
        address: Some(named.to_owned()),
        token: Some(SecretString::new("s.canary".to_owned())),
        timeout: Some(Duration::from_millis(500)),
        ..VaultSettings::default()
    }
}

fn wrap(settings: VaultSettings, address: &str) -> Result<KeyEntry, WrapError> {
    let service = Arc::new(VaultTransit::new(settings, &Arc::default()));
    VaultTransitKey::new(&spec(address), &service, jiff::Timestamp::UNIX_EPOCH).wrap(b"data key")
}

#[test]
fn a_key_is_wrapped_and_unwrapped_as_vault_wants_it() {
    let (at, asked) = server(vec![
        answer("200 OK", "", r#"{"data":{"ciphertext":"vault:v1:abc"}}"#),
        answer("200 OK", "", r#"{"data":{"plaintext":"ZGF0YSBrZXk="}}"#),
    ]);
    let address = format!("http://{at}");
    let mut settings = settings(&address);
    settings.namespace = Some("team".to_owned());
    let service = Arc::new(VaultTransit::new(settings, &Arc::default()));
    let key = VaultTransitKey::new(&spec(&address), &service, jiff::Timestamp::UNIX_EPOCH);
    let entry = key.wrap(b"data key").unwrap();
    assert_eq!(entry.field("enc"), Some("vault:v1:abc"));
    assert_eq!(entry.field("vault_address"), Some(&*address));
    assert_eq!(entry.field("created_at"), Some("1970-01-01T00:00:00Z"));
    assert_eq!(&**service.unwrap_key(&entry).unwrap(), b"data key");
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("PUT /v1/team/sops/encrypt/k HTTP/1.1\r\n"));
    assert!(asked[0].ends_with(r#"{"plaintext":"ZGF0YSBrZXk="}"#));
    assert!(asked[0].contains("x-vault-token: s.canary\r\n"));
    assert!(asked[0].contains("x-vault-namespace: team\r\n"));
    assert!(asked[1].starts_with("PUT /v1/team/sops/decrypt/k HTTP/1.1\r\n"));
    assert!(asked[1].ends_with(r#"{"ciphertext":"vault:v1:abc"}"#));
}

/// Whoever can change the file can name a server: it must not even be connected to.
#[test]
fn a_server_that_the_user_did_not_name_is_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    for (allow_list, unnamed) in [
        (None, Unnamed::Refused),
        (Some("all"), Unnamed::Refused),
        (Some("none"), Unnamed::Refused),
        (Some("none"), Unnamed::Warned),
        (Some("https://v.example"), Unnamed::Warned),
    ] {
        let mut settings = settings("https://mine.example");
        settings.allow_list = allow_list.map(str::to_owned);
        settings.unnamed = unnamed;
        let text = wrap(settings, &address).unwrap_err().to_string();
        assert!(text.contains("SOPS_HC_VAULT_ALLOWLIST"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_redirect_gets_no_token() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = elsewhere.local_addr().unwrap();
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = format!("location: http://{target}/v1/team/sops/encrypt/k\r\n");
        let (at, asked) = server(vec![answer(status, &location, "")]);
        let address = format!("http://{at}");
        let text = wrap(settings(&address), &address).unwrap_err().to_string();
        assert!(text.contains("gets no token"), "{text}");
        asked.join().unwrap();
    }
    let nobody = elsewhere.accept().unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
}

/// Gives this machine's address for every name, as a name server of an attacker would.
struct Rebinding;

impl Resolver for Rebinding {
    fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }
}

#[test]
fn the_connection_goes_to_the_address_that_was_checked() {
    let (at, asked) = server(vec![answer(
        "200 OK",
        "",
        r#"{"data":{"ciphertext":"vault:v1:abc"}}"#,
    )]);
    // No name server knows this name: only the pinned address can be reached.
    let address = format!("http://vault.invalid:{}", at.port());
    let mut settings = settings(&address);
    settings.unnamed = Unnamed::Refused;
    let refused = VaultTransit::with_resolver(settings, &Arc::default(), Arc::new(Rebinding));
    let key = VaultTransitKey::new(
        &spec(&address),
        &Arc::new(refused),
        jiff::Timestamp::UNIX_EPOCH,
    );
    let text = key.wrap(b"data key").unwrap_err().to_string();
    assert!(text.contains("this machine"), "{text}");
    // Where sops's behaviour is kept, the same name is reached at the address that was checked.
    let settings = VaultSettings {
        unnamed: Unnamed::Warned,
        ..VaultSettings::default()
    };
    let kept = VaultTransit::with_resolver(settings, &Arc::default(), Arc::new(Rebinding));
    let kept = Arc::new(kept);
    let key = VaultTransitKey::new(&spec(&address), &kept, jiff::Timestamp::UNIX_EPOCH);
    key.wrap(b"data key").unwrap();
    let host = format!("host: vault.invalid:{}\r\n", at.port());
    assert!(asked.join().unwrap()[0].contains(&host));
    let warnings = kept.take_warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(kept.take_warnings().is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let of = |status: &str, body: &str, token: bool| {
        let again = if status.starts_with('5') { 3 } else { 1 };
        let (at, asked) = server(vec![answer(status, "", body); again]);
        let address = format!("http://{at}");
        let mut settings = settings(&address);
        settings.timeout = Some(Duration::from_secs(5));
        if !token {
            settings.token = None;
        }
        let text = wrap(settings, &address).unwrap_err().to_string();
        asked.join().unwrap();
        let shown = ["canary", "ZGF0YSBrZXk"].map(|secret| text.contains(secret));
        assert_eq!(shown, [false, false], "{text}");
        text
    };
    let denied = r#"{"errors":["permission denied"]}"#;
    let echo = r#"{"errors":["s.canary may not encrypt {\"plaintext\":\"ZGF0YSBrZXk=\"}"]}"#;
    for (status, body, token, expected) in [
        ("403 Forbidden", denied, true, "policies allow update"),
        ("403 Forbidden", denied, false, "VAULT_TOKEN"),
        ("403 Forbidden", echo, true, "(token) may not encrypt"),
        (
            "400 Bad Request",
            r#"{"errors":["missing client token"]}"#,
            false,
            "VAULT_TOKEN",
        ),
        (
            "404 Not Found",
            r#"{"errors":[]}"#,
            true,
            "check the engine's path",
        ),
        ("404 Not Found", "", true, "not as Vault does"),
        (
            "404 Not Found",
            r#"{"errors":["no handler for route"]}"#,
            true,
            "no handler",
        ),
        (
            "503 Unavailable",
            r#"{"errors":["Vault is sealed"]}"#,
            true,
            "sealed",
        ),
        ("503 Unavailable", "", true, "sealed"),
        ("200 OK", "{}", true, "data.ciphertext"),
        (
            "200 OK",
            r#"{"data":{"ciphertext":"a b"}}"#,
            true,
            "not one word",
        ),
    ] {
        let text = of(status, body, token);
        assert!(text.contains(expected), "{status}: {text}");
        assert!(
            text.contains("team/sops") || status.starts_with('5'),
            "{text}"
        );
    }
}

#[test]
fn a_server_that_never_answers_takes_bounded_time_and_then_rests() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = Arc::new(VaultTransit::new(settings(&address), &Arc::default()));
    let key = VaultTransitKey::new(&spec(&address), &service, jiff::Timestamp::UNIX_EPOCH);
    let start = Instant::now();
    for _ in 0..20 {
        let text = key.wrap(b"data key").unwrap_err().to_string();
        assert!(text.contains("did not answer"), "{text}");
    }
    // Three time limits of half a second, and seventeen refusals at once.
    assert!(start.elapsed() < Duration::from_secs(6));
}

#[test]
fn the_token_file_is_read_and_trimmed_and_may_be_absent() {
    let folder = std::env::temp_dir().join(format!("selkie-token-{}", std::process::id()));
    let path = folder.join("token");
    let of = |settings: VaultSettings| VaultTransit::new(settings, &Arc::default()).token();
    let from_file = || VaultSettings {
        token_file: Some(path.clone()),
        ..VaultSettings::default()
    };
    assert!(of(VaultSettings::default()).unwrap().is_none());
    assert!(of(from_file()).unwrap().is_none());
    fs::create_dir_all(&folder).unwrap();
    fs::write(&path, " s.canary\n").unwrap();
    assert_eq!(of(from_file()).unwrap().unwrap().expose(), "s.canary");
    let mut both = from_file();
    both.token = Some(SecretString::new("s.other".to_owned()));
    assert_eq!(of(both).unwrap().unwrap().expose(), "s.other");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = of(from_file()).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_allow_list_is_read_as_sops_reads_it() {
    let admits = |list: Option<&str>, unnamed, address: &str| {
        let settings = VaultSettings {
            address: Some("https://mine.example".to_owned()),
            allow_list: list.map(str::to_owned),
            unnamed,
            proxied: true,
            ..VaultSettings::default()
        };
        let policy = policy(&settings).unwrap();
        policy.admit(address, &NoNames).is_ok()
    };
    for (list, unnamed, address, expected) in [
        (None, Unnamed::Refused, "https://mine.example", true),
        (None, Unnamed::Refused, "https://v.example", false),
        (None, Unnamed::Warned, "https://v.example", true),
        (Some(""), Unnamed::Refused, "https://v.example", false),
        (Some("all"), Unnamed::Refused, "https://v.example", true),
        (Some("none"), Unnamed::Warned, "https://v.example", false),
        (Some("none"), Unnamed::Warned, "https://mine.example", false),
        (
            Some("https://a, https://v.example"),
            Unnamed::Refused,
            "https://v.example/",
            true,
        ),
        (
            Some("https://v.example/"),
            Unnamed::Warned,
            "https://v.example",
            true,
        ),
        (
            Some("https://v.exam"),
            Unnamed::Warned,
            "https://v.example",
            false,
        ),
        (
            Some("https://v.example"),
            Unnamed::Warned,
            "https://mine.example",
            false,
        ),
    ] {
        assert_eq!(
            admits(list, unnamed, address),
            expected,
            "{list:?} {address}"
        );
    }
    for list in [",", "https://v.example,", "https://v.example, ,https://a"] {
        let settings = VaultSettings {
            allow_list: Some(list.to_owned()),
            ..VaultSettings::default()
        };
        let error = policy(&settings).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
    }
}

/// Knows no name, as behind a proxy.
struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(Vec::new())
    }
}
