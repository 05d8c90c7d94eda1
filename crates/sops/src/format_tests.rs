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
        whole_mac: false,
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
        require_whole_mac: false,
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

/// What ini.v1 drops behind closing quotes would stay in clear beside the ciphertext.
#[test]
fn text_behind_ini_quotes_is_refused() {
    for (value, line) in [
        ("\"\"\"abc\"\"\"hidden", 2),
        ("`abc` hidden", 2),
        ("\"\"\"a\nb\"\"\"hidden", 3),
    ] {
        let source = format!("[s]\na = {value}\nb = 1\n");
        let error = encrypt(&source, Format::Ini, &plan())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("line {line}: s.a: ")), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    let clear = "[s]\na_unencrypted = \"\"\"abc\"\"\"shown\nb = 1\n";
    assert_eq!(
        opened(&encrypted(clear, Format::Ini).text, Format::Ini),
        clear
    );
}

/// sops-format.md 22: 3.13.0 and 3.13.1 wrote metadata of several lines between `"""`.
#[test]
fn ini_metadata_with_real_line_breaks_opens() {
    let text = encrypted("a = 1\n", Format::Ini).text;
    let line = text
        .lines()
        .find(|line| line.starts_with("age__list_0__map_enc"));
    let line = line.unwrap();
    let (name, value) = line.split_once('=').unwrap();
    assert!(value.contains("\\n"));
    let value = value.trim().trim_matches(['`', '"']).replace("\\n", "\n");
    let old = text.replace(line, &format!("{name}= \"\"\"{value}\"\"\""));
    assert_ne!(old, text);
    assert_eq!(opened(&old, Format::Ini), "a = 1\n");
}

/// sops-format.md 22: sops before 3.13.2 wrote the integers of JSON as floats.
#[test]
fn json_integers_of_older_files_come_back_as_integers() {
    let done = encrypted("{\"a\": 1.0, \"b\": 7}", Format::Json).text;
    assert!(done.contains("type:float]") && done.contains("type:int]"));
    let value = |spelling: &str, kind: f64| {
        let stream = crate::format::parse(selkie_text::Syntax::Json, "{\"a\": \"t\"}").unwrap();
        let root = stream.documents()[0].root.unwrap();
        let (_, node) = stream.entries(root).next().unwrap();
        let mut edits = selkie_text::Edits::new();
        let value = crate::value::Value::Float(kind);
        let done = crate::restore::restore(&stream, &mut edits, node, &value, spelling.as_bytes());
        done.ok()
            .map(|()| edits.try_apply(stream.source()).unwrap().to_string())
    };
    assert_eq!(value("1", 1.0).unwrap(), "{\"a\": 1}");
    assert_eq!(value("10000000000", 1e10).unwrap(), "{\"a\": 10000000000}");
    assert_eq!(value("0x1p-2", 0.25).unwrap(), "{\"a\": 0.25}");
    assert_eq!(value("NaN", f64::NAN), None);
    assert_eq!(value("+Inf", f64::INFINITY), None);
}

/// sops-format.md 12 and 24: sops accepts these, and loses what is behind them or the file.
#[test]
fn json_that_is_cut_or_has_more_behind_it_is_refused() {
    for source in [
        "{\"a\": 1} {\"b\": 2}",
        "{\"a\":",
        "{\"a\": 1} x",
        "[1]",
        "1",
        "",
    ] {
        let error = encrypt(source, Format::Json, &plan());
        assert!(error.is_err(), "{source}");
    }
    for (format, source) in [
        (Format::Json, "{\"a\": 1, \"sops\": {\"x\": 1}}"),
        (Format::Dotenv, "sops_x=1\nA=1\n"),
        (Format::Ini, "a = 1\n[sops]\nx = 1\n"),
    ] {
        let error = encrypt(source, format, &plan()).unwrap_err().to_string();
        assert!(error.contains("reserved for metadata"), "{format}: {error}");
    }
}

/// Duplicate keys are items of their own in JSON and dotenv (12, 14).
#[test]
fn repeated_keys_of_json_and_dotenv_are_all_encrypted() {
    for (format, source) in [
        (Format::Json, "{\"a\": \"x\", \"a\": \"y\"}"),
        (Format::Dotenv, "A=x\nA=y\n"),
    ] {
        let done = encrypted(source, format);
        assert_eq!(done.values, 2);
        assert_eq!(opened(&done.text, format), source);
    }
}

/// Metadata that is missing, doubled, newer, or of the wrong type (issue 4, "Bad input").
#[test]
fn bad_metadata_of_every_format_has_its_own_error() {
    let json = encrypted("{\"a\": 1}", Format::Json).text;
    let dotenv = encrypted("A=1\n", Format::Dotenv).text;
    let ini = encrypted("a = 1\n", Format::Ini).text;
    for (format, text, message) in [
        (
            Format::Json,
            "{\"a\": 1}".to_owned(),
            "sops metadata not found",
        ),
        (
            Format::Dotenv,
            "A=1\n".to_owned(),
            "sops metadata not found",
        ),
        (Format::Ini, "a = 1\n".to_owned(), "sops metadata not found"),
        (
            Format::Json,
            json.replacen("\"a\"", "\"sops\": {}, \"a\"", 1),
            "`sops` of the sops metadata is there twice",
        ),
        (
            Format::Dotenv,
            format!("{dotenv}sops_mac=x\n"),
            "`mac` of the sops metadata is there twice",
        ),
        (
            Format::Json,
            json.replace("3.13.3", "4.0.0"),
            "knows the format of sops 3",
        ),
        (
            Format::Dotenv,
            dotenv.replace("=3.13.3", "=4.0.0"),
            "knows the format of sops 3",
        ),
        (
            Format::Json,
            "{\"a\": 1, \"sops\": [1]}".to_owned(),
            "does not hold a mapping",
        ),
        (
            Format::Dotenv,
            dotenv.replace("__list_0__", "__list_1__"),
            "an element is missing",
        ),
        (
            Format::Ini,
            ini.replace("age__list_0__map_enc", "age"),
            "both a single value and a list",
        ),
    ] {
        let error = decrypt(&text, format, &ClearKey, &DecryptOptions::default()).unwrap_err();
        assert!(error.to_string().contains(message), "{format}: {error}");
    }
}

/// The table at the end of sops-format.md 23: what YAML scalars are encrypted as.
#[test]
fn scalars_of_yaml_have_the_types_of_sops() {
    use crate::cipher::Kind::{Bool, Float, Int, Str, Time};
    for (input, kind, plain) in [
        ("1.0", Float, "1"),
        ("1e10", Float, "10000000000"),
        ("True", Bool, "True"),
        ("yes", Str, "yes"),
        ("0o17", Int, "15"),
        ("017", Int, "15"),
        ("0xff", Int, "255"),
        ("0b101", Int, "5"),
        ("1_000", Int, "1000"),
        ("08", Float, "8"),
        (
            "123456789012345678901234567890",
            Float,
            "123456789012345680000000000000",
        ),
        (".inf", Float, "+Inf"),
        ("-.inf", Float, "-Inf"),
        (".nan", Float, "NaN"),
        ("190:20:30", Str, "190:20:30"),
        ("2024-01-01", Time, "2024-01-01T00:00:00Z"),
        (
            "2001-12-14t21:59:43.10-05:00",
            Time,
            "2001-12-14T21:59:43.1-05:00",
        ),
        (
            "2001-12-14 21:59:43.10 -5",
            Str,
            "2001-12-14 21:59:43.10 -5",
        ),
        ("!!binary aGVsbG8=", Str, "hello"),
        ("!!str 123", Str, "123"),
    ] {
        let source = format!("v: {input}\n");
        let stream = Format::Yaml.parse(&source).unwrap();
        let root = stream.documents()[0].root.unwrap();
        let (_, node) = stream.entries(root).next().unwrap();
        let value = crate::tree::value_of(&stream, node, || "v".to_owned());
        let value = value.unwrap().unwrap();
        assert_eq!(value.kind(), kind, "{input}");
        assert_eq!(String::from_utf8_lossy(&value.bytes()), plain, "{input}");
    }
}

/// Issue 4, "Must show" 6. Run alone, as the peak is that of the whole process.
#[test]
#[ignore = "measures the memory of its process"]
fn twenty_mebibytes_of_binary_stay_below_100() {
    let peak = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let bytes: Vec<u8> = (0..20 << 20).map(|i: u32| (i % 251) as u8).collect();
    let Encryption::Encrypted(done) = encrypt_binary(&bytes, &plan()).unwrap() else {
        panic!("it is clear")
    };
    let after_encryption = peak();
    drop(bytes);
    let found = decrypt_binary(&done.text, &ClearKey, &DecryptOptions::default()).unwrap();
    assert_eq!(found.expose().len(), 20 << 20);
    assert!(after_encryption < 100 << 10, "{after_encryption} KiB");
    assert!(peak() < 100 << 10, "{} KiB", peak());
}

#[test]
#[ignore = "compares times, which a busy memory distorts"]
fn the_cost_grows_with_the_number_of_keys() {
    let source = |format, count: usize| -> String {
        let lines = (0..count).map(|i| match format {
            Format::Json => format!("{}\"k{i}\": \"v{i}\"", if i == 0 { "{" } else { ",\n" }),
            Format::Dotenv => format!("K{i}=v{i}\n"),
            _ => format!("k{i} = v{i}\n"),
        });
        let text: String = lines.collect();
        match format {
            Format::Json => text + "}\n",
            _ => text,
        }
    };
    for format in [Format::Json, Format::Dotenv, Format::Ini] {
        let time = |count| {
            let source = source(format, count);
            let start = cpu_time::ThreadTime::now();
            let done = encrypted(&source, format);
            assert_eq!(opened(&done.text, format), source);
            start.elapsed().as_secs_f64()
        };
        let (small, large) = (time(4_000), time(32_000));
        assert!(large < 20.0 * small, "{format}: {small} s and {large} s");
    }
}
