//! Every format through encryption and back, with a key that is stored in clear.

use crate::encrypt::tests::ClearKey;
use crate::{
    AddClearOptions, DecryptError, DecryptOptions, EncryptPlan, Encrypted, Encryption, ExtractPath,
    Format, Selection, SelectionSettings, add_clear, convert, decrypt, decrypt_binary, encrypt,
    encrypt_binary, extract,
};

fn plan() -> EncryptPlan<'static> {
    EncryptPlan {
        groups: vec![vec![&ClearKey]],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn encrypted(source: &str, format: Format) -> Encrypted {
    match encrypt(source, format, &plan()) {
        Ok(Encryption::Encrypted(done)) => done,
        other => panic!("{format}: {other:?} for {source}"),
    }
}

fn opened(source: &str, format: Format) -> String {
    let opened = decrypt(source, format, &ClearKey, &DecryptOptions::default());
    opened.unwrap().text.expose().to_owned()
}

const JSON: &str = "{\n  \"b\": \"x\",\n  \"a\" : [1, 1.50, -0, 1E5, true, null, {\"n\":\"\"}],\n\
    \t\"u_unencrypted\": \"clear\",\n  \"a\": {}, \"esc\": \"a\\\"b\\\\ \\u00e9 \\/ <&>\"\n}\n";

const DOTENV: &str =
    "# first\nA=1\n\n export B = x=y \nEMPTY=\n#no value\nM=one\\ntwo\nC_unencrypted=clear\n# last";

const INI: &str = "; top\nplain = 1\n\n[a section]\n# of a\nkey   = value ; behind\nother: `x#y`\n\n[empty]\n[b]\nk=\"  spaced \"\n";

#[test]
fn every_format_comes_back_as_it_was() {
    for (format, source) in [
        (Format::Json, JSON),
        (Format::Json, "{\"a\":1}"),
        (Format::Json, "{\r\n\t\"a\": \"b\"\r\n}"),
        (Format::Json, "{ \"a\" : [ [ ] , { } , \"x\" ] }  \n\n"),
        (Format::Dotenv, DOTENV),
        (Format::Dotenv, "A=1"),
        (Format::Dotenv, "A=1\r\nB=2\r\n\n"),
        (Format::Ini, INI),
        (Format::Ini, "a=1"),
        (Format::Ini, "[s]\r\na = 1\r\n"),
        (Format::Binary, "any\nthing: \"at\tall"),
        (Format::Binary, "{\"data\": 1}"),
    ] {
        let done = encrypted(source, format);
        assert!(done.values > 0);
        let lines = done.text.lines().count();
        assert!(lines > 0);
        assert_eq!(
            opened(&done.text, format),
            source,
            "{format}\n{}",
            done.text
        );
        let again = encrypt(&done.text, format, &plan()).unwrap();
        assert!(matches!(again, Encryption::AlreadyEncrypted(_)), "{format}");
    }
}

#[test]
fn what_is_not_selected_keeps_its_bytes() {
    let json = encrypted(JSON, Format::Json).text;
    assert!(json.contains("\t\"u_unencrypted\": \"clear\",\n  \"a\": {}, \"esc\": \"ENC["));
    let dotenv = encrypted(DOTENV, Format::Dotenv).text;
    assert!(dotenv.contains("\nC_unencrypted=clear\n") && dotenv.contains("\n\n export B =ENC["));
    assert!(dotenv.contains("\nsops_age__list_0__map_recipient=age1clear\n"));
    let ini = encrypted(INI, Format::Ini).text;
    assert!(
        ini.contains("[empty]\n[b]\nk=") && ini.contains("\n[sops]\n"),
        "{ini}"
    );
}

#[test]
fn changes_are_noticed_in_every_format() {
    for (format, source) in [
        (Format::Json, JSON),
        (Format::Dotenv, DOTENV),
        (Format::Ini, "x_unencrypted = clear\na = 1\n"),
    ] {
        let changed = encrypted(source, format).text.replace("clear", "other");
        // The recipient of the test's key holds the word too.
        let changed = changed.replace("age1other", "age1clear");
        let error = decrypt(&changed, format, &ClearKey, &DecryptOptions::default()).unwrap_err();
        assert!(matches!(error, DecryptError::Mac(_)), "{format}: {error}");
    }
}

#[test]
fn clear_values_are_added_in_every_format() {
    let options = AddClearOptions {
        now: jiff::Timestamp::UNIX_EPOCH,
        ignore_mac: false,
    };
    for (format, source, from, to) in [
        (
            Format::Json,
            "{\n\t\"a\": 1\n}\n",
            "{\n",
            "{\n\t\"new\": 2.0,\n",
        ),
        (Format::Dotenv, "A=1\n", "A=", "NEW=x\nA="),
        (Format::Ini, "[s]\na = 1\n", "[s]\n", "[s]\nnew = x\n"),
    ] {
        let added = encrypted(source, format).text.replacen(from, to, 1);
        let error = decrypt(&added, format, &ClearKey, &DecryptOptions::default()).unwrap_err();
        assert!(
            matches!(error, DecryptError::Clear { .. }),
            "{format}: {error}"
        );
        let done = add_clear(&added, format, &ClearKey, &options).unwrap();
        assert_eq!(done.values, 1);
        assert_eq!(opened(&done.text, format), source.replacen(from, to, 1));
    }
}

#[test]
fn a_binary_file_is_any_bytes() {
    for bytes in [
        &b""[..],
        b"\xff\x00\xfe",
        b"{\"sops\": 1, \"data\": \"x\"}",
        b"\n",
    ] {
        let Encryption::Encrypted(done) = encrypt_binary(bytes, &plan()).unwrap() else {
            panic!("it is clear")
        };
        assert!(done.text.starts_with("{\n\t\"data\": \""));
        assert!(!done.text.contains("unencrypted_suffix"));
        let found = decrypt_binary(&done.text, &ClearKey, &DecryptOptions::default()).unwrap();
        assert_eq!(found.expose(), bytes);
        let again = encrypt_binary(done.text.as_bytes(), &plan()).unwrap();
        assert!(matches!(again, Encryption::AlreadyEncrypted(_)));
        let extra = done
            .text
            .replacen("{\n", "{\n\t\"x_unencrypted\": \"y\",\n", 1);
        let error = decrypt_binary(&extra, &ClearKey, &DecryptOptions::default());
        assert!(matches!(error, Err(DecryptError::Mac(_))));
    }
    let error = decrypt(
        "{\"a\": 1, \"sops\": {}}",
        Format::Binary,
        &ClearKey,
        &DecryptOptions::default(),
    );
    assert!(error.is_err());
}

#[test]
fn parts_of_every_format_are_extracted() {
    for (format, source, path, part) in [
        (Format::Json, JSON, "[\"b\"]", "x"),
        (Format::Json, JSON, "[\"a\"][1]", "1.50\n"),
        (Format::Json, JSON, "[\"a\"][5]", "null\n"),
        (
            Format::Json,
            "{\n  \"a\": {\n    \"b\": 1\n  }\n}",
            "[\"a\"]",
            "{\n  \"b\": 1\n}\n",
        ),
        (Format::Dotenv, DOTENV, "[\"M\"]", "one\ntwo"),
        (Format::Ini, INI, "[\"a section\"][\"other\"]", "x#y"),
        (Format::Binary, "whole", "[\"data\"]", "whole"),
    ] {
        let path: ExtractPath = path.parse().unwrap();
        let found = extract(source, format, &path).unwrap();
        assert_eq!(String::from_utf8_lossy(found.expose()), part);
    }
}

#[test]
fn a_clear_file_is_converted() {
    for (from, source, to, result) in [
        (
            Format::Yaml,
            "# c\na: 1\nb: [x, 1.5]\n",
            Format::Json,
            "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t\"x\",\n\t\t1.5\n\t]\n}\n",
        ),
        (
            Format::Json,
            "{\"a\": \"yes\", \"b\": null}",
            Format::Yaml,
            "a: \"yes\"\nb: null\n",
        ),
        (
            Format::Dotenv,
            "# c\nA=1\n",
            Format::Yaml,
            "# c\nA: \"1\"\n",
        ),
        (
            Format::Yaml,
            "A: 1\nB: true\n",
            Format::Dotenv,
            "A=1\nB=true\n",
        ),
        (
            Format::Json,
            "{\"s\": {\"k\": \"v\"}}",
            Format::Ini,
            "[s]\nk = v\n",
        ),
        (Format::Json, "{\"data\": \"x\"}", Format::Binary, "x"),
        (
            Format::Binary,
            "x",
            Format::Json,
            "{\n\t\"data\": \"x\"\n}\n",
        ),
    ] {
        let done = convert(source.as_bytes(), from, to, None).unwrap();
        assert_eq!(String::from_utf8_lossy(done.expose()), result);
    }
    for (from, source, to) in [
        (Format::Yaml, "a: {b: 1}\n", Format::Dotenv),
        (Format::Yaml, "a: 1\n---\nb: 1\n", Format::Json),
        (Format::Yaml, "a: 1\n", Format::Binary),
    ] {
        assert!(convert(source.as_bytes(), from, to, None).is_err());
    }
}

#[test]
fn comment_rules_work_in_dotenv_and_ini() {
    let settings = SelectionSettings {
        encrypted_comment_regex: Some("secret".to_owned()),
        ..SelectionSettings::default()
    };
    let plan = EncryptPlan {
        selection: settings.compile().unwrap().unwrap(),
        ..plan()
    };
    let source = "A=1\n# secret\nB=2\nC=3\n";
    let Encryption::Encrypted(done) = encrypt(source, Format::Dotenv, &plan).unwrap() else {
        panic!("it is clear")
    };
    assert!(
        done.text.starts_with("A=1\n# secret\nB=ENC["),
        "{}",
        done.text
    );
    assert!(done.text.contains("\nC=3\n"));
    assert_eq!(opened(&done.text, Format::Dotenv), source);
}
