//! `edgeproxy check`.

use std::fs;

use super::{edgeproxy_in, stderr, stdout};

const SOUND: &str = "api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\n";

#[test]
fn nothing_to_tell_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("edgeproxy.toml"), SOUND).unwrap();
    let output = edgeproxy_in(folder.path(), &["check"]);
    assert_eq!(stdout(&output), "edgeproxy.toml: no problems, no findings\n");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn findings_end_with_1_and_have_place_rule_and_mend() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.toml"),
        format!("{SOUND}max_failures = 5\nmax_ejection_percent = 50\n"),
    )
    .unwrap();
    let output = edgeproxy_in(folder.path(), &["check", "a.toml"]);
    assert_eq!(
        stdout(&output),
        "a.toml:3:1: warning: max_failures is 5 without a health monitor: an ejected backend comes back only by trying \
         real requests on it, after 30 s and more (max-failures-without-monitor)\n  help: write health_monitor = \"tcp\", or \
         \"http:/healthz\" with a path of your backends; or max_failures = 0\n\na.toml: 1 finding: 1 warning\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn problems_end_with_2_also_where_another_file_has_findings() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.toml"),
        format!("{SOUND}max_failures = 5\nmax_ejection_percent = 50\n"),
    )
    .unwrap();
    fs::write(folder.path().join("b.toml"), "spill = \"sotf\"\n").unwrap();
    let output = edgeproxy_in(folder.path(), &["check", "a.toml", "b.toml", "missing.toml"]);
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in [
        "b.toml:1:9: error: spill is \"sotf\"; expected \"hard\" or \"soft\"",
        "  1 | spill = \"sotf\"\n    |         ^^^^^^\n  help: did you mean \"soft\"?",
        "missing.toml: error: can't be read: No such file or directory (os error 2); expected a configuration file",
        "a.toml:3:1: warning: ",
        "a.toml, b.toml, missing.toml: 2 problems; 1 finding: 1 warning\n",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "no colours where there is no terminal");
}

#[test]
fn a_folder_is_told_to_be_none_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let output = edgeproxy_in(folder.path(), &["check", "."]);
    assert_eq!(
        stdout(&output),
        ".: error: is a folder; expected a configuration file\n\n.: 1 problem\n"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn it_takes_the_flags_of_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = edgeproxy_in(folder.path(), &["check", "--region", "xx", "--api-enabled"]);
    let told = stdout(&output);
    assert!(told.contains("command line: error: region is \"xx\""), "{told}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn scripts_get_json_and_viewers_sarif() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("edgeproxy.toml"), "").unwrap();
    for (format, member) in [("json", "\"findings\""), ("sarif", "\"version\": \"2.1.0\"")] {
        let output = edgeproxy_in(folder.path(), &["check", "--format", format]);
        let printed = stdout(&output);
        let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert!(read.is_object() && printed.contains(member), "{printed}");
        assert!(printed.contains("api-off"), "{printed}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn a_certificate_that_has_ended_is_told_and_one_that_can_t_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 2, 1);
    let certificate = params.self_signed(&key).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("cert.pem", &certificate.pem());
    write("key.pem", &key.serialize_pem());
    let text = format!("{SOUND}tls_enabled = true\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n");
    write("edgeproxy.toml", &text);
    let output = edgeproxy_in(folder.path(), &["check"]);
    let told = stdout(&output);
    assert!(
        told.contains("error: the certificate cert.pem has ended: clients refuse it (certificate-expires)"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(1));

    write("key.pem", "hello");
    let output = edgeproxy_in(folder.path(), &["check"]);
    let told = stdout(&output);
    assert!(
        told.contains("key.pem is not PEM; expected an unencrypted private key"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_database_of_countries_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("edgeproxy.toml"),
        format!("{SOUND}geoip_path = \"a.mmdb\"\n"),
    )
    .unwrap();
    let output = edgeproxy_in(folder.path(), &["check"]);
    let told = stdout(&output);
    assert!(
        told.starts_with("edgeproxy.toml:3:1: error: geoip_path: a.mmdb can't be read: No such file"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(2));
}
