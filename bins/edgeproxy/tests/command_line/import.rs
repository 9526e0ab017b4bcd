//! `edgeproxy import apigee`.

use std::fs;
use std::io::Write;
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{edgeproxy_in, stderr, stdout};

const ENDPOINT: &str = "<TargetEndpoint name=\"default\"><HTTPTargetConnection><LoadBalancer><Server name=\"target1\"/>\
                        <MaxFailures>0</MaxFailures></LoadBalancer></HTTPTargetConnection></TargetEndpoint>";
const SERVER: &str = "{\"name\": \"target1\", \"host\": \"localhost\", \"port\": 8080}";

/// A bundle, and the servers beside it.
fn write_bundle(folder: &Path) {
    fs::create_dir_all(folder.join("apiproxy/targets")).unwrap();
    fs::write(folder.join("apiproxy/targets/default.xml"), ENDPOINT).unwrap();
    fs::write(folder.join("apiproxy/shop.xml"), "<APIProxy name=\"shop\"/>").unwrap();
    fs::write(folder.join("servers.json"), SERVER).unwrap();
}

#[test]
fn a_folder_becomes_a_file_that_check_accepts() {
    let folder = tempfile::tempdir().unwrap();
    write_bundle(folder.path());
    let output = edgeproxy_in(folder.path(), &["import", "apigee", ".", "--region", "eu"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), ".: no problems, no findings\n");
    let toml = stdout(&output);
    assert!(toml.contains("[apps.shop]\n"), "{toml}");
    assert!(toml.contains("ip = \"127.0.0.1\"\nport = 8080\n"), "{toml}");
    fs::write(folder.path().join("edgeproxy.toml"), toml).unwrap();
    let checked = edgeproxy_in(folder.path(), &["check"]);
    assert_ne!(checked.status.code(), Some(2), "{}", stdout(&checked));
}

#[test]
fn a_file_is_never_replaced_unless_by_force() {
    let folder = tempfile::tempdir().unwrap();
    write_bundle(folder.path());
    let import = |more: &[&str]| {
        let args = [
            "import",
            "apigee",
            "apiproxy",
            "servers.json",
            "--output",
            "out.toml",
        ];
        edgeproxy_in(folder.path(), &[&args, more].concat())
    };
    assert_eq!(import(&[]).status.code(), Some(0));
    fs::write(folder.path().join("out.toml"), "mine").unwrap();
    let refused = import(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).starts_with("out.toml: error: exists already, and was left as it is"),
        "{}",
        stderr(&refused)
    );
    let read = || fs::read_to_string(folder.path().join("out.toml")).unwrap();
    assert_eq!(read(), "mine");
    assert_eq!(import(&["--force"]).status.code(), Some(0));
    assert!(read().contains("[apps.shop]"));
}

#[test]
fn one_broken_file_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    write_bundle(folder.path());
    fs::write(
        folder.path().join("apiproxy/targets/other.xml"),
        "<TargetEndpoint>\n  <HTTPTargetConnection>\n",
    )
    .unwrap();
    let output = edgeproxy_in(folder.path(), &["import", "apigee", ".", "missing"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("missing: error: can't be read: No such file"),
        "{told}"
    );
    assert!(
        told.contains(
            "./apiproxy/targets/other.xml:2:25: error: the file ends inside of <HTTPTargetConnection>"
        ),
        "{told}"
    );
    assert!(stdout(&output).contains("[apps.shop]"));
}

#[test]
fn of_nothing_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let output = edgeproxy_in(
        folder.path(),
        &["import", "apigee", "missing", "--output", "edgeproxy.toml"],
    );
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    assert!(
        stderr(&output).starts_with("missing: error: can't be read"),
        "{}",
        stderr(&output)
    );
    assert!(!folder.path().join("edgeproxy.toml").exists());
}

#[test]
fn addresses_of_names_are_given_and_never_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    write_bundle(folder.path());
    fs::write(
        folder.path().join("servers.json"),
        SERVER.replace("localhost", "Shop.example.com"),
    )
    .unwrap();
    let output = edgeproxy_in(folder.path(), &["import", "apigee", "."]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("--resolve Shop.example.com=ADDRESS"),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).contains("\n# [[backends]]\n"),
        "{}",
        stdout(&output)
    );
    let output = edgeproxy_in(
        folder.path(),
        &["import", "apigee", ".", "--resolve", "shop.example.com=10.0.0.9"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("\nip = \"10.0.0.9\"\n"));
    let wrong = edgeproxy_in(
        folder.path(),
        &["import", "apigee", ".", "--resolve", "shop.example.com"],
    );
    assert_eq!(wrong.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_and_in_circles_are_not_followed() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    write_bundle(folder.path());
    fs::write(outside.path().join("secret.xml"), "<Secret/>").unwrap();
    symlink(outside.path(), folder.path().join("out")).unwrap();
    symlink(folder.path(), folder.path().join("apiproxy/again")).unwrap();
    let output = edgeproxy_in(folder.path(), &["import", "apigee", "."]);
    let told = stderr(&output);
    assert!(
        told.contains("./out: error: is a link that leads outside of the folder, and was not followed"),
        "{told}"
    );
    assert!(!told.contains("Secret"), "{told}");
    assert_eq!(stdout(&output).matches("[[backends]]").count(), 1);
}

fn archive(path: &Path, entries: &[(&str, &[u8])]) {
    let mut archive = ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn a_zip_file_is_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let entries: [(&str, &[u8]); 4] = [
        ("apiproxy/shop.xml", b"<APIProxy name=\"shop\"/>"),
        ("apiproxy/targets/default.xml", ENDPOINT.as_bytes()),
        ("apiproxy/resources/jsc/code.js", b"not XML"),
        ("servers.json", SERVER.as_bytes()),
    ];
    archive(&folder.path().join("shop.zip"), &entries);
    let output = edgeproxy_in(folder.path(), &["import", "apigee", "shop.zip"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let toml = stdout(&output);
    assert!(
        toml.contains("# TargetEndpoint \"default\", shop.zip/apiproxy/targets/default.xml:1:1\n[apps.shop]"),
        "{toml}"
    );
}

#[test]
fn a_hostile_zip_file_is_read_within_limits_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let laughs = b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
    // 64 MiB in 64 KiB.
    let zeroes = vec![b' '; 64 << 20];
    let entries: [(&str, &[u8]); 4] = [
        ("../../outside.xml", b"<a/>"),
        ("/absolute.xml", b"<TargetEndpoint/>"),
        ("bomb.xml", &zeroes),
        ("laughs.xml", laughs),
    ];
    archive(&folder.path().join("a.zip"), &entries);
    fs::write(folder.path().join("b.zip"), b"PK\x03\x04 and no more").unwrap();
    let output = edgeproxy_in(folder.path(), &["import", "apigee", "a.zip", "b.zip"]);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in [
        "a.zip: error: has an entry whose path leads outside of it, which was left out",
        "a.zip/bomb.xml: error: is longer than 4 MiB",
        "a.zip/laughs.xml:1:1: error: a document type declaration; expected none",
        "b.zip: error: can't be read: ",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
