use std::fmt::Write;

use edgeproxy_backend::AppName;
use proptest::prelude::*;

use super::*;
use crate::{Entry as Written, Token};

const SECRET: &str = "edgeproxy_this-is-a-token-and-nobody-may-see-it-ever-0123";

fn hash(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

fn told(text: &str) -> String {
    Grants::parse(text).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let token = Token::generate().unwrap();
    let mut entry = Written::new(
        "shop",
        Role::Register,
        AppPattern::parse("shop-*").unwrap(),
        token.digest(),
    );
    entry.expires = Some(UnixSecs(2_000_000_000));
    entry.from = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let grants = Grants::parse(&format!("# who may do what\n{entry}\n")).unwrap();
    let grant = grants.of_token(token.reveal().as_bytes()).unwrap();
    assert_eq!(
        (grant.name(), grant.kind, grant.role),
        ("shop", Kind::Token, Role::Register)
    );
    assert_eq!((grant.expires, &grant.from), (entry.expires, &entry.from));
    assert!(grant.apps.covers(&AppName::parse("shop-eu").unwrap()));
    for wrong in [&token.reveal()[..52], "", "x", &token.reveal().to_uppercase()] {
        assert!(grants.of_token(wrong.as_bytes()).is_none(), "{wrong}");
    }
    assert!(Grants::parse("").unwrap().is_empty());
}

#[test]
fn a_certificate_is_known_by_its_name_or_by_the_longest_beginning_of_it() {
    let mut text = String::new();
    for (name, subject) in [
        ("all", "spiffe://prod/*"),
        ("shops", "spiffe://prod/shops/*"),
        ("one", "spiffe://prod/shops/one"),
        ("host", "Agent.internal"),
    ] {
        writeln!(
            text,
            "[[certificates]]\nname = \"{name}\"\nsubject = \"{subject}\"\nrole = \"read\"\napp = \"*\""
        )
        .unwrap();
    }
    let grants = Grants::parse(&text).unwrap();
    let of = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        grants.of_certificate(&names).map(|grant| grant.name().to_owned())
    };
    for (names, expected) in [
        (&["spiffe://prod/shops/one"][..], Some("one")),
        (&["spiffe://prod/shops/two"], Some("shops")),
        (&["spiffe://prod/x"], Some("all")),
        (&["unknown.internal", "agent.internal"], Some("host")),
        (&["spiffe://prod/x", "agent.internal"], Some("host")),
        (&["spiffe://prod.evil/x"], None),
        (&["agent.internal.evil"], None),
        (&[], None),
    ] {
        assert_eq!(of(names).as_deref(), expected, "{names:?}");
    }
}

#[test]
fn every_fault_is_told_with_its_line_and_what_was_expected() {
    let good = hash("a");
    let entry = |key: &str, value: &str| {
        let mut text = "[[tokens]]\n".to_owned();
        for (known, default) in [
            ("name", "\"a\""),
            ("role", "\"read\""),
            ("app", "\"*\""),
            ("hash", &format!("\"{good}\"")),
        ] {
            let value = if known == key { value } else { default };
            if !value.is_empty() {
                writeln!(text, "{known} = {value}").unwrap();
            }
        }
        if !text.contains(&format!("\n{key} = ")) && !value.is_empty() {
            writeln!(text, "{key} = {value}").unwrap();
        }
        text
    };
    assert!(Grants::parse(&entry("name", "\"b\"")).is_ok());
    for (text, expected) in [
        (
            entry("name", "\"a b\""),
            "2:8: name is \"a b\", not 1 to 64 letters, digits and -._@:/",
        ),
        (
            entry("role", "\"admin\""),
            "3:8: role is \"admin\"; expected \"read\", \"register\" or \"operate\"",
        ),
        (
            entry("app", "\"*x\""),
            "4:7: app is \"*x\"; expected the name of an app",
        ),
        (entry("hash", "7"), "5:8: hash is a number; expected a string"),
        (entry("hash", ""), "1:1: an entry has no hash; expected one"),
        (
            entry("expires", "2027-01-31T12:00:00+02:00"),
            "6:11: expires is \"2027-01-31T12:00:00+02:00\"; expected a date",
        ),
        (
            entry("expires", "7"),
            "6:11: expires is \"a number\"; expected a date",
        ),
        (
            entry("from", "\"10.0.0.0/8\""),
            "6:8: from is a string; expected networks",
        ),
        (
            entry("from", "[]"),
            "6:8: from has 0 networks; expected 1 to 64, or no from at all",
        ),
        (
            entry("from", "[\"ten\"]"),
            "6:9: an item of from is \"ten\"; expected networks",
        ),
        (
            entry("rolle", "\"x\""),
            "6:1: \"rolle\" is no key of an entry; expected name, role, app, hash, expires, from",
        ),
        (
            "[tokens]\nx = 1\n".to_owned(),
            "tokens is a table; expected tables, each begun by [[tokens]]",
        ),
        (
            "[[token]]\n".to_owned(),
            "\"token\"; expected [[tokens]] or [[certificates]]",
        ),
        ("[[tokens]]\nname = a\n".to_owned(), "2:8: not valid TOML: "),
        (
            entry("name", "\"a\"") + &entry("hash", &format!("\"{}\"", hash("b"))),
            "7:8: name is \"a\", which another entry has",
        ),
        (
            entry("name", "\"a\"") + &entry("name", "\"b\""),
            "10:8: hash is that of another entry",
        ),
    ] {
        let told = told(&text);
        assert!(told.contains(expected), "{expected}\n{told}\n{text}");
    }
    let twice = entry("role", "\"x\"").replace("\"*\"", "\"**\"");
    assert_eq!(Grants::parse(&twice).unwrap_err().faults.len(), 2);
}

#[test]
fn a_subject_never_leaves_the_host_to_the_star() {
    for good in [
        "agent.internal",
        "spiffe://prod/agent",
        "spiffe://prod/*",
        "spiffe://prod/a/*",
        "https://a",
    ] {
        assert!(subject(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "*",
        "*.internal",
        "agent.*",
        "spiffe://*",
        "spiffe://pro*",
        "spiffe:///x",
        "spiffe://prod/a*",
        "a b",
        "://x",
        "spiffe://",
    ] {
        assert!(subject(bad).is_err(), "{bad}");
    }
}

/// Somebody will write the token where its hash belongs.
#[test]
fn a_token_in_the_place_of_its_hash_is_never_repeated() {
    for text in [
        format!("[[tokens]]\nname = \"a\"\nrole = \"read\"\napp = \"*\"\nhash = \"{SECRET}\"\n"),
        format!("[[tokens]]\nhash = {SECRET}\n"),
        format!("[[tokens]]\ntoken = \"{SECRET}\"\n"),
        format!("[[tokens]]\nhash = \"{SECRET}\n"),
        format!("[[tokens]]\nhash = [\"{SECRET}\"]\n"),
    ] {
        let error = Grants::parse(&text).unwrap_err();
        for told in [error.to_string(), format!("{error:?}")] {
            assert!(!told.contains(&SECRET[20..30]), "{told}");
        }
    }
}

#[test]
fn faults_and_entries_are_bounded() {
    let many = "[[tokens]]\n".repeat(1_000);
    assert_eq!(
        Grants::parse(&many).unwrap_err().faults.len(),
        GrantsError::MAX_FAULTS
    );
    assert!(told(&" ".repeat(Grants::MAX_FILE_BYTES + 1)).contains("more than"));
    let mut entries = String::new();
    for n in 0..=Grants::MAX_ENTRIES {
        // One of them can't be read, and is one all the same.
        let role = if n == 7 { "none" } else { "read" };
        writeln!(
            entries,
            "[[certificates]]\nname = \"n{n}\"\nsubject = \"n{n}\"\nrole = \"{role}\"\napp = \"*\""
        )
        .unwrap();
    }
    assert!(told(&entries).contains("more than 10000 entries"));
}

/// Where each of them is would take a look at all of the file.
#[test]
fn a_file_with_nothing_but_faults_is_read_in_no_time() {
    let many = "[[tokens]]\nx = 1\n".repeat(20_000);
    let faults = Grants::parse(&many).unwrap_err().faults;
    assert_eq!(faults.len(), GrantsError::MAX_FAULTS);
    let wide = "x = [".to_owned() + &"1,".repeat(100_000) + "]\n";
    let wide = format!("{wide}tokens = [{}]\n", "1,".repeat(100_000));
    assert_eq!(
        Grants::parse(&wide).unwrap_err().faults.len(),
        GrantsError::MAX_FAULTS
    );
}

proptest! {
    #[test]
    fn nothing_that_a_file_says_panics(text in "(\\[\\[(tokens|certificates)\\]\\]\n|(name|role|app|hash|from|expires|subject) = (\"[a-z*:/]{0,8}\"|\\[\"1\"\\]|2027-01-01|[0-9é\"\\[]{0,3})\n){0,8}") {
        let _ = Grants::parse(&text);
    }
}
