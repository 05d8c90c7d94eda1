use std::sync::Mutex;

use super::*;

/// Gives a name's answers in turn, the last one again and again.
struct Names(Mutex<Vec<Vec<&'static str>>>);

impl Names {
    fn always(answer: &[&'static str]) -> Self {
        Self(Mutex::new(vec![answer.to_vec()]))
    }
}

impl Resolver for Names {
    fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut answers = self.0.lock().unwrap();
        let answer = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        };
        if answer.is_empty() {
            return Err(io::Error::other("no such name"));
        }
        Ok(answer
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
            .collect())
    }
}

const PUBLIC: &str = "203.0.113.7";

fn policy(unnamed: Unnamed, named: &[&str]) -> EndpointPolicy {
    let mut policy = EndpointPolicy::new("Vault server", "VAULT_ADDR", unnamed);
    for text in named {
        policy.name(text).unwrap();
    }
    policy
}

fn admit(named: &[&str], address: &str) -> Result<Admitted, EndpointError> {
    policy(Unnamed::Refused, named).admit(address, &Names::always(&[PUBLIC]))
}

#[test]
fn only_what_the_user_names_passes() {
    for (named, address) in [
        ("https://v.example", "https://v.example"),
        ("https://v.example/", "https://v.example:443"),
        ("https://V.Example.", "https://v.example"),
        ("https://v.example", "https://v.example./"),
        ("https://v.example:8200", "https://v.example:8200/"),
        ("https://v.example/team", "https://v.example/team/a"),
        ("https://", "https://any.example"),
        ("http://10.0.0.7:8200", "http://10.0.0.7:8200"),
        ("http://10.0.0.7:8200", "http://0xa.0.0.7:8200"),
        ("https://[2001:db8::1]", "https://[2001:DB8:0::1]"),
    ] {
        assert!(admit(&[named], address).is_ok(), "{named} {address}");
    }
    for (named, address) in [
        ("https://v.example", "https://v.example.evil.example"),
        ("https://v.example", "https://evil.example/v.example"),
        ("https://v.example", "http://v.example"),
        ("https://v.example", "https://v.example:8200"),
        ("https://v.example:8200", "https://v.example"),
        ("https://v.example/team", "https://v.example/teammate"),
        ("https://v.example/team", "https://v.example/team/../other"),
        ("https://v.example/team", "https://v.example/team/%2e%2e/x"),
        ("https://v.example", "https://evil.example\\@v.example"),
        ("http://", "https://any.example"),
    ] {
        let error = admit(&[named], address).unwrap_err();
        let refused = matches!(error, EndpointError::Unnamed { .. });
        assert!(refused, "{named} {address}: {error}");
    }
    let error = admit(&[], "https://v.example:8200/").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file names the Vault server https://v.example:8200, and nothing of yours does, so it \
         gets no credentials; if you trust it, name it in VAULT_ADDR"
    );
}

#[test]
fn what_is_no_plain_address_is_refused() {
    for address in [
        "",
        "v.example",
        "//v.example",
        "ftp://v.example",
        "file:///etc/passwd",
        "unix:///run/vault.sock",
        "https://user@v.example",
        "https://user:canary@v.example",
        "https://v.example:99999",
        "https://",
        "https:// v.example",
        "https://1.2.3.4.5",
    ] {
        for unnamed in [Unnamed::Refused, Unnamed::Warned, Unnamed::Allowed] {
            let error = policy(unnamed, &["https://v.example"])
                .admit(address, &Names::always(&[PUBLIC]))
                .unwrap_err();
            assert!(
                matches!(error, EndpointError::Malformed { .. }),
                "{address}: {error}"
            );
            assert!(!error.to_string().contains("canary"));
        }
    }
    for text in [
        "",
        "v.example:8200",
        "https://u:canary@v.example",
        "ftp://x",
    ] {
        let error = policy(Unnamed::Refused, &[]).name(text).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

/// Every spelling of an address that nobody may contact, in every mode and even when named.
#[test]
fn metadata_and_the_like_are_refused_however_spelled() {
    for host in [
        "169.254.169.254",
        "169.254.0.1",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[fe80::1]",
        "[febf::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "0.0.0.0",
        "0",
        "0.1.2.3",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
    ] {
        let address = format!("http://{host}:8200");
        for unnamed in [Unnamed::Refused, Unnamed::Warned, Unnamed::Allowed] {
            let error = policy(unnamed, &[&address])
                .admit(&address, &Names::always(&[PUBLIC]))
                .unwrap_err();
            assert!(
                matches!(error, EndpointError::Forbidden { .. }),
                "{host}: {error}"
            );
        }
    }
}

#[test]
fn a_name_that_leads_to_such_an_address_is_refused() {
    for answer in [
        &["169.254.169.254"][..],
        &[PUBLIC, "169.254.169.254"],
        &["::ffff:169.254.169.254"],
        &["fe80::1"],
        &["fd00:ec2::254"],
        &["0.0.0.0"],
        &["2002:a9fe:a9fe::"],
    ] {
        for unnamed in [Unnamed::Refused, Unnamed::Warned, Unnamed::Allowed] {
            let error = policy(unnamed, &["https://v.example"])
                .admit("https://v.example", &Names::always(answer))
                .unwrap_err();
            assert!(
                matches!(error, EndpointError::Forbidden { .. }),
                "{answer:?}: {error}"
            );
        }
    }
}

#[test]
fn this_machine_has_to_be_named_as_such() {
    let here = |unnamed, named: &[&str], address: &str, answer| {
        policy(unnamed, named).admit(address, &Names::always(&[answer]))
    };
    for (named, address) in [
        ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
        ("http://127.0.0.1:8200", "http://0x7f000001:8200"),
        ("http://[::1]:8200", "http://[::1]:8200"),
        ("http://localhost:8200", "http://localhost:8200"),
    ] {
        let admitted = here(Unnamed::Refused, &[named], address, "127.0.0.1");
        assert_eq!(admitted.unwrap().warning(), None, "{named} {address}");
    }
    // A name that the user trusts, and that somebody lets lead to this machine.
    let rebound = "https://v.example";
    for answer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        for unnamed in [Unnamed::Refused, Unnamed::Allowed] {
            let error = here(unnamed, &[rebound], rebound, answer).unwrap_err();
            assert!(
                matches!(error, EndpointError::ThisMachine { .. }),
                "{answer}: {error}"
            );
        }
    }
    // "All servers" does not mean this machine.
    for address in ["http://127.0.0.1:8200", "http://2130706433:8200"] {
        let error = here(Unnamed::Allowed, &[], address, PUBLIC).unwrap_err();
        assert!(
            matches!(error, EndpointError::ThisMachine { .. }),
            "{error}"
        );
        // Under the name sops, scripts with a development server go on.
        let admitted = here(Unnamed::Warned, &[], address, PUBLIC).unwrap();
        assert!(admitted.warning().unwrap().contains("VAULT_ADDR"));
    }
}

/// DNS rebinding: the first answer is checked, and no connection uses another one.
#[test]
fn the_checked_address_is_the_pinned_one() {
    let names = Names(Mutex::new(vec![vec![PUBLIC], vec!["169.254.169.254"]]));
    let policy = policy(Unnamed::Refused, &["https://v.example:8200"]);
    let admitted = policy.admit("https://v.example:8200", &names).unwrap();
    let pinned = ("v.example", &["203.0.113.7:8200".parse().unwrap()][..]);
    assert_eq!(admitted.pinned(), Some(pinned));
    assert!(policy.admit("https://v.example:8200", &names).is_err());
    let digits = admit(&["http://10.0.0.7"], "http://10.0.0.7").unwrap();
    assert_eq!(digits.pinned(), None);
}

#[test]
fn a_name_without_an_address_is_left_to_a_proxy_alone() {
    let none = Names::always(&[]);
    let mut policy = policy(Unnamed::Refused, &["https://v.example"]);
    let error = policy.admit("https://v.example", &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Vault server https://v.example cannot be reached: no such name"
    );
    policy.proxied(true);
    let admitted = policy.admit("https://v.example", &none).unwrap();
    assert_eq!(admitted.pinned(), None);
    let inside = policy.admit("https://v.example", &Names::always(&["169.254.169.254"]));
    assert!(inside.is_err());
}

#[test]
fn unnamed_servers_pass_with_a_warning_or_by_the_users_word() {
    let names = Names::always(&[PUBLIC]);
    let admitted = policy(Unnamed::Warned, &[]).admit("https://v.example", &names);
    assert!(admitted.unwrap().warning().is_some());
    let admitted =
        policy(Unnamed::Warned, &["https://v.example"]).admit("https://v.example", &names);
    assert_eq!(admitted.unwrap().warning(), None);
    let admitted = policy(Unnamed::Allowed, &[]).admit("https://v.example", &names);
    assert_eq!(admitted.unwrap().warning(), None);
}
