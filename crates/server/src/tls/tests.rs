use std::path::Path;

use config::{Certificate, ClientAuth, ListenerTls};
use tempfile::TempDir;

use super::*;

/// A certificate for these names and its key, as `<name>.pem` and `<name>.key`.
fn issue(folder: &TempDir, name: &str, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    write(folder, &format!("{name}.pem"), &made.cert.pem());
    write(folder, &format!("{name}.key"), &made.signing_key.serialize_pem());
}

/// Replaced by another file, so that the time of writing doesn't matter.
fn write(folder: &TempDir, name: &str, text: &str) {
    let beside = folder.path().join("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, folder.path().join(name)).unwrap();
}

fn certificate(folder: &Path, name: &str) -> Certificate {
    Certificate {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
        names: Vec::new(),
    }
}

fn of(folder: &TempDir, names: &[&str]) -> ListenerTls {
    let (first, others) = names.split_first().unwrap();
    let first = certificate(folder.path(), first);
    let mut tls = ListenerTls::of(first.cert, first.key);
    let others = others.iter().map(|name| certificate(folder.path(), name));
    tls.certificates.extend(others);
    tls
}

fn loaded(tls: ListenerTls) -> Result<Watched, String> {
    let listened = listen(
        "public",
        tls,
        Alpn::Http,
        Resumption::new().unwrap(),
        Ends::default(),
    );
    listened
        .map(|(_, watched)| watched)
        .map_err(|fault| fault.to_string())
}

#[test]
fn changed_files_are_read_once_they_have_settled_and_bad_ones_change_nothing() {
    let folder = TempDir::new().unwrap();
    issue(&folder, "a", &["a"]);
    let mut watched = loaded(of(&folder, &["a"])).unwrap();
    let mut look = || watched.look().map(|read| read.map_err(|fault| fault.to_string()));
    assert_eq!(look(), None);

    issue(&folder, "a", &["a"]);
    assert_eq!(look(), None, "they may still change");
    assert_eq!(look(), Some(Ok(())));
    assert_eq!(look(), None);

    let key = std::fs::read_to_string(folder.path().join("a.key")).unwrap();
    issue(&folder, "a", &["a"]);
    let next = std::fs::read_to_string(folder.path().join("a.key")).unwrap();
    write(&folder, "a.key", &key);
    assert_eq!(look(), None);
    let fault = look().unwrap().unwrap_err();
    assert!(
        fault.contains("a.key holds the key of another certificate"),
        "{fault}"
    );
    assert_eq!(look(), None, "told once");

    std::fs::remove_file(folder.path().join("a.key")).unwrap();
    assert_eq!(look(), None);
    let fault = look().unwrap().unwrap_err();
    assert!(fault.contains("a.key can't be read: No such file"), "{fault}");

    write(&folder, "a.key", &next);
    assert_eq!(look(), None);
    assert_eq!(look(), Some(Ok(())));
}

/// The same, which ends in that year.
fn issue_until(folder: &TempDir, name: &str, year: i32) {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    write(
        folder,
        &format!("{name}.pem"),
        &params.self_signed(&key).unwrap().pem(),
    );
    write(folder, &format!("{name}.key"), &key.serialize_pem());
}

#[test]
fn a_certificate_that_has_ended_takes_the_place_of_none_that_ends_later() {
    let folder = TempDir::new().unwrap();
    issue_until(&folder, "a", 2002);
    let mut watched = loaded(of(&folder, &["a"])).unwrap();
    let mut replaced = |year| {
        issue_until(&folder, "a", year);
        assert_eq!(
            watched.look().map(|read| read.is_ok()),
            None,
            "it may still change"
        );
        watched.look().unwrap().map_err(|fault| fault.to_string())
    };
    // By a clock that is wrong, all of them may have ended.
    assert_eq!(replaced(2003), Ok(()));
    assert_eq!(replaced(2100), Ok(()));
    let fault = replaced(2004).unwrap_err();
    assert!(
        fault.contains("a.pem holds a certificate that has ended"),
        "{fault}"
    );
    assert_eq!(replaced(2090), Ok(()));
}

#[test]
fn a_reload_refuses_the_ended_certificate_that_the_watch_has_refused() {
    let folder = TempDir::new().unwrap();
    issue_until(&folder, "public", 2100);
    issue_until(&folder, "api", 2100);
    let path = |name: &str| Some(folder.path().join(name));
    let settings = Settings {
        tls_enabled: true,
        tls_cert: path("public.pem"),
        tls_key: path("public.key"),
        api_enabled: true,
        api_tls_cert: path("api.pem"),
        api_tls_key: path("api.key"),
        ..Settings::default()
    };
    let load = |before: Option<&Tls>| Tls::load(&settings, before).map_err(|error| error.to_string());
    let before = load(None).unwrap().tls;
    for (name, of) in [("public", "tls_listen_addr: "), ("api", "api_tls: ")] {
        issue_until(&folder, name, 2004);
        let fault = load(Some(&before)).map(drop).unwrap_err();
        let ended = format!("{name}.pem holds a certificate that has ended");
        assert!(fault.starts_with(of) && fault.contains(&ended), "{fault}");
        issue_until(&folder, name, 2090);
        // One reload after the other: what was carried over is carried on.
        let next = load(Some(&before)).unwrap().tls;
        issue_until(&folder, name, 2004);
        assert!(load(Some(&next)).is_err());
        issue_until(&folder, name, 2100);
    }
    issue_until(&folder, "public", 2004);
    assert!(load(None).is_ok(), "a start has nothing better");
}

#[test]
fn a_symlink_that_leads_elsewhere_is_a_change() {
    let folder = TempDir::new().unwrap();
    issue(&folder, "one", &["a"]);
    issue(&folder, "two", &["a"]);
    let lead = |name: &str| {
        for end in ["pem", "key"] {
            let link = folder.path().join(format!("a.{end}"));
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(format!("{name}.{end}"), link).unwrap();
        }
    };
    lead("one");
    let mut watched = loaded(of(&folder, &["a"])).unwrap();
    lead("two");
    assert!(watched.look().is_none());
    assert!(watched.look().unwrap().is_ok());
}

#[test]
fn a_certificate_without_a_name_can_only_be_the_default() {
    let folder = TempDir::new().unwrap();
    issue(&folder, "named", &["a"]);
    issue(&folder, "nameless", &["192.0.2.1"]);
    assert!(loaded(of(&folder, &["nameless", "named"])).is_ok());
    let mut tls = of(&folder, &["named", "nameless"]);
    let fault = loaded(tls.clone()).map(drop).unwrap_err();
    assert!(
        fault.contains("nameless.pem holds a certificate for no DNS name"),
        "{fault}"
    );
    tls.certificates[1].names = vec!["b".to_owned()];
    assert!(loaded(tls).is_ok());
}

#[test]
fn clients_authorities_and_long_files_are_checked_too() {
    let folder = TempDir::new().unwrap();
    issue(&folder, "a", &["a"]);
    let mut tls = of(&folder, &["a"]);
    tls.client_auth = ClientAuth::Required;
    tls.client_ca = Some(folder.path().join("a.pem"));
    assert!(loaded(tls.clone()).is_ok());
    tls.client_ca = Some(folder.path().join("a.key"));
    let fault = loaded(tls).map(drop).unwrap_err();
    assert!(
        fault.contains("a.key holds PRIVATE KEY; expected the certificates of authorities"),
        "{fault}"
    );
    write(&folder, "a.pem", &"x".repeat((1 << 20) + 1));
    let fault = loaded(of(&folder, &["a"])).map(drop).unwrap_err();
    assert!(fault.contains("a.pem is longer than 1 MiB"), "{fault}");
}

#[test]
fn every_listener_gets_its_own_and_only_those_with_tls_are_watched() {
    let folder = TempDir::new().unwrap();
    issue(&folder, "a", &["a"]);
    let path = |name: &str| Some(folder.path().join(name));
    let settings = Settings {
        tls_enabled: true,
        tls_cert: path("a.pem"),
        tls_key: path("a.key"),
        backend_tls_ca: path("a.pem"),
        ..Settings::default()
    };
    let made = Tls::load(&settings, None)
        .map_err(|error| error.to_string())
        .unwrap();
    let ends: Vec<bool> = made.tls.listeners.iter().map(Option::is_some).collect();
    assert_eq!(ends, [false, true]);
    assert_eq!(made.watched.len(), 2);
    let wrong = Settings {
        tls_key: path("none"),
        ..settings
    };
    let error = Tls::load(&wrong, None).map(drop).unwrap_err().to_string();
    assert!(
        error.starts_with("tls_listen_addr: ") && error.contains("none can't be read"),
        "{error}"
    );
}
