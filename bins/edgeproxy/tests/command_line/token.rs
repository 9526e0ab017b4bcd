//! `edgeproxy token`, and what `check` says of the file that it writes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::*;

const SOUND: &str =
    "api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\napi_tokens_file = \"tokens.toml\"\n";

fn new(name: &str) -> [&str; 10] {
    [
        "token",
        "new",
        "--name",
        name,
        "--role",
        "register",
        "--app",
        "shop-*",
        "--append",
        "tokens.toml",
    ]
}

#[test]
fn a_new_token_is_printed_once_and_its_entry_goes_to_the_file_of_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let made = edgeproxy_in(folder.path(), &new("agents"));
    assert!(made.status.success(), "{}", stderr(&made));
    let token = stdout(&made).trim().to_owned();
    assert!(
        token.starts_with("edgeproxy_") && token.len() == 53,
        "{}",
        token.len()
    );
    let path = folder.path().join("tokens.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("name = \"agents\"") && text.contains("hash = \"sha256:"),
        "{text}"
    );
    assert!(!text.contains(&token) && !stderr(&made).contains(&token));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = edgeproxy_in(folder.path(), &new("agents"));
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stdout(&again), "", "no token that nothing knows");

    let alone = edgeproxy(&[
        "token",
        "new",
        "--name",
        "a",
        "--role",
        "read",
        "--app",
        "*",
        "--expires",
        "90d",
    ]);
    assert_eq!(stdout(&alone).lines().count(), 1);
    assert!(
        stderr(&alone).contains("[[tokens]]\nname = \"a\"\nrole = \"read\"\napp = \"*\"\n"),
        "{}",
        stderr(&alone)
    );
}

#[test]
fn a_token_that_was_made_elsewhere_comes_by_standard_input_and_a_poor_one_is_refused() {
    let hash = |token: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgeproxy"))
            .args(["token", "hash", "--name", "a", "--role", "read", "--app", "*"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let made = hash("0123456789abcdef0123456789abcdef\n");
    assert!(stdout(&made).contains("hash = \"sha256:"), "{}", stderr(&made));
    for (poor, expected) in [
        ("hunter2", "the token has 7 characters; expected at least 32"),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "only 1 different characters",
        ),
    ] {
        let refused = hash(poor);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains(expected) && !stderr(&refused).contains(poor),
            "{}",
            stderr(&refused)
        );
    }
}

#[test]
fn check_tells_of_a_file_that_others_can_read_and_of_entries_that_end_and_of_one_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("edgeproxy.toml"), SOUND).unwrap();
    let path = folder.path().join("tokens.toml");
    let check = || {
        let output = edgeproxy_in(folder.path(), &["check"]);
        (stdout(&output), output.status.code())
    };
    let (told, code) = check();
    assert!(
        told.contains("edgeproxy.toml:3:1: ") && told.contains("tokens.toml can't be read"),
        "{told}"
    );
    assert_eq!(code, Some(2));

    assert!(edgeproxy_in(folder.path(), &new("agents")).status.success());
    assert_eq!(check().1, Some(0), "{}", check().0);

    let soon = [&new("soon")[..], &["--expires", "60h"]].concat();
    assert!(edgeproxy_in(folder.path(), &soon).status.success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (told, code) = check();
    assert!(
        told.contains("tokens.toml has mode 0644") && told.contains("(tokens-readable)"),
        "{told}"
    );
    assert!(
        told.contains("the entry \"soon\" of tokens.toml ends in 2 days") && told.contains("(token-expires)"),
        "{told}"
    );
    assert_eq!(code, Some(1));

    let secret = "edgeproxy_somebody-pasted-the-token-where-its-hash-belongs-1";
    fs::write(
        &path,
        format!("[[tokens]]\nname = \"a\"\nrole = \"admin\"\napp = \"*\"\nhash = \"{secret}\"\n"),
    )
    .unwrap();
    let (told, code) = check();
    for expected in [
        "tokens.toml:3:8: role is \"admin\"; expected \"read\", \"register\" or \"operate\"",
        "5:8: hash is not sha256: and 64 hexadecimal digits",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    assert!(!told.contains("pasted-the-token"), "{told}");
    assert_eq!(code, Some(2));
}
