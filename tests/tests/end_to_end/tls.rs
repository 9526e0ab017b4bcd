//! TLS through the real binary: with curl in front, and with another edgeproxy behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, Registration, Reply, Setup, curl, eventually, within};
use http::Version;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A folder with certificates.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        Self(TempDir::with_prefix("edgeproxy-tests-").expect("a temporary folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Replaces a file as a careful program does: written beside it, then renamed.
    fn write(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new"));
        std::fs::write(&beside, text).expect("the folder can be written to");
        std::fs::rename(&beside, self.path(name)).expect("a file can be renamed");
    }

    /// A certificate of an authority of its own: `cert.pem`, `key.pem`, and the authority as `<authority>.pem`.
    fn issue(&self, authority: &str, names: &[&str]) {
        let mut params = CertificateParams::new([]).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let key = KeyPair::generate().expect("a key can be made");
        let root = params.self_signed(&key).expect("it can be signed").pem();
        self.write(&format!("{authority}.pem"), &root);
        let issuer = Issuer::new(params, key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are valid");
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
    }

    fn setup(&self) -> Setup {
        Edgeproxy::setup()
            .set("TLS_ENABLED", "true")
            .set("TLS_LISTEN_ADDR", "127.0.0.1:0")
            .set("TLS_CERT", &self.text("cert.pem"))
            .set("TLS_KEY", &self.text("key.pem"))
    }
}

/// What a line of the start-up log says behind `sentence`: an address.
async fn said(edgeproxy: &Edgeproxy, sentence: &str) -> SocketAddr {
    let found = edgeproxy.logs().find(|line| {
        let (_, rest) = line.split_once(sentence)?;
        let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']')));
        rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
    });
    within(PATIENCE, "it says where it listens", found)
        .await
        .expect("edgeproxy is running")
}

async fn tls_addr(edgeproxy: &Edgeproxy) -> SocketAddr {
    said(edgeproxy, "serves HTTPS, HTTP/1.1 and HTTP/2, on ").await
}

async fn until_said(edgeproxy: &Edgeproxy, words: &str) {
    let found = edgeproxy.logs().find(|line| line.contains(words).then_some(()));
    within(PATIENCE, words, found)
        .await
        .expect("edgeproxy is running");
}

/// Gets `/` of `shop.example` there, verified by that authority.
async fn get(addr: SocketAddr, authority: &Path, more: &[&str]) -> Reply {
    let port = addr.port();
    let resolve = format!("shop.example:{port}:127.0.0.1");
    let (authority, url) = (
        authority.display().to_string(),
        format!("https://shop.example:{port}/"),
    );
    let args = [more, &["--cacert", &authority, "--resolve", &resolve, &url]].concat();
    curl(&args).await
}

#[tokio::test]
async fn curl_is_served_over_either_version_and_a_replaced_certificate_is_in_force_without_a_restart() {
    let files = Certificates::new();
    files.issue("first", &["shop.example"]);
    let edgeproxy = files.setup().start().await;
    let addr = tls_addr(&edgeproxy).await;
    let backend = Backend::start("b").await;
    let registration = Registration::new("b", "shop", backend.addr());
    edgeproxy.api().register_new(&registration).await;
    for (flag, version) in [("--http1.1", Version::HTTP_11), ("--http2", Version::HTTP_2)] {
        for tls in ["1.2", "1.3"] {
            let reply = get(addr, &files.path("first.pem"), &[flag, "--tls-max", tls]).await;
            let reply = reply.expect(200);
            assert_eq!((reply.version, reply.text()), (version, "b"));
            assert_eq!(backend.last_seen().headers["x-forwarded-proto"], "https");
        }
    }

    files.issue("second", &["shop.example"]);
    until_said(&edgeproxy, "files have changed and are in force").await;
    let reply = get(addr, &files.path("second.pem"), &["--http2"]).await;
    assert_eq!(reply.expect(200).text(), "b");

    let key = std::fs::read_to_string(files.path("key.pem")).expect("it was written");
    files.issue("third", &["shop.example"]);
    files.write("key.pem", &key);
    until_said(&edgeproxy, "files have changed and those before stay in force").await;
    until_said(&edgeproxy, "key.pem holds the key of another certificate").await;
    let reply = get(addr, &files.path("second.pem"), &[]).await;
    assert_eq!(reply.expect(200).text(), "b");
}

#[tokio::test]
async fn another_edgeproxy_is_an_https_backend_and_a_certificate_is_passed_through_unopened() {
    let files = Certificates::new();
    files.issue("authority", &["shop.example", "127.0.0.1"]);
    let inner = files.setup().start().await;
    let inner_addr = tls_addr(&inner).await;
    let backend = Backend::start("b").await;
    let registration = Registration::new("b", "shop", backend.addr());
    inner.api().register_new(&registration).await;

    let outer = Edgeproxy::setup()
        .set("BACKEND_TLS_CA", &files.text("authority.pem"))
        // By TCP: a request would be garbage to it, and it would never be routable.
        .set("HEALTH_MONITOR", "http:/healthz")
        .toml("[[listeners]]\nname = \"sni\"\naddr = \"127.0.0.1:0\"\nprotocol = \"sni\"\n")
        .start()
        .await;
    let registration = Registration::new("inner", "shop", inner_addr).with("protocol", "https");
    outer.api().register_new(&registration).await;
    let mut client = outer.client();
    let (reply, _) = eventually(PATIENCE, "it is probed and gets requests", async || {
        let reply = client.get("shop", "/").await.expect("an answer");
        if reply.status == 200 {
            Ok(reply)
        } else {
            Err(format!("{reply:?}"))
        }
    })
    .await;
    assert_eq!(reply.text(), "b");
    let sni = said(&outer, "passes TLS on by its server name on ").await;
    let reply = get(sni, &files.path("authority.pem"), &["--http2"]).await;
    assert_eq!(reply.expect(200).version, Version::HTTP_2);

    // Whom the authority doesn't vouch for gets nothing.
    let strict = Edgeproxy::setup()
        .set("BACKEND_TLS_SERVER_NAME", "shop.example")
        .start()
        .await;
    strict.api().register_new(&registration).await;
    let reply = strict.client().get("shop", "/").await.expect("an answer");
    assert_eq!(reply.header("x-edgeproxy-error"), Some("tls_failed"), "{reply:?}");
}

#[tokio::test]
async fn probes_go_inside_tls_as_traffic_does_or_as_their_monitor_says() {
    let files = Certificates::new();
    files.issue("authority", &["shop.example", "127.0.0.1"]);
    let inner = files.setup().start().await;
    let inner_addr = tls_addr(&inner).await;
    let backend = Backend::start("b").await;
    let registration = Registration::new("b", "shop", backend.addr());
    inner.api().register_new(&registration).await;

    let app = |name: &str, keys: &str| {
        format!(
            "[apps.{name}]\ninitial = \"probe_first\"\n[apps.{name}.health]\ninterval_secs = 1\nfall = 1\n\
             [apps.{name}.health.http]\npath = \"/up-{name}\"\nheaders = {{ Host = \"shop.example\" }}\n{keys}\n"
        )
    };
    let text = [
        app("traffic", "use_backend_tls = true"),
        app("insecure", "tls = true\ntls_insecure = true"),
        // No authority of the system vouches for it.
        app("strict", "tls = true"),
    ];
    let outer = Edgeproxy::setup()
        .set("BACKEND_TLS_CA", &files.text("authority.pem"))
        .set("LOG", "info,edgeproxy_server=debug")
        .toml(&text.concat())
        .start()
        .await;
    let mut api = outer.api();
    for name in ["traffic", "insecure", "strict"] {
        let registration = Registration::new(name, name, inner_addr).with("protocol", "https");
        api.register_new(&registration).await;
    }
    for name in ["traffic", "insecure"] {
        eventually(PATIENCE, &format!("{name} passes"), async || {
            let state = api.state(name).await;
            if state == "routable" { Ok(()) } else { Err(state) }
        })
        .await;
    }
    until_said(&outer, "tls: invalid peer certificate").await;
    assert_eq!(api.state("strict").await, "unhealthy");
    let asked: Vec<String> = backend
        .seen()
        .iter()
        .map(|seen| seen.target.path().to_owned())
        .collect();
    for (path, is_asked) in [
        ("/up-traffic", true),
        ("/up-insecure", true),
        ("/up-strict", false),
    ] {
        assert_eq!(
            asked.iter().any(|asked| asked == path),
            is_asked,
            "{path} of {asked:?}"
        );
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_at_the_start_with_what_was_found() {
    let files = Certificates::new();
    files.issue("authority", &["shop.example"]);
    let (cert, key) = (files.text("cert.pem"), files.text("key.pem"));
    for (name, value, expected) in [
        (
            "TLS_KEY",
            &cert,
            format!("tls_listen_addr: {cert} holds CERTIFICATE; expected an unencrypted private key"),
        ),
        (
            "TLS_CERT",
            &key,
            format!("tls_listen_addr: {key} holds PRIVATE KEY; expected a certificate"),
        ),
        (
            "TLS_CERT",
            &"none.pem".to_owned(),
            "tls_listen_addr: none.pem can't be read: No such file".to_owned(),
        ),
        (
            "BACKEND_TLS_CA",
            &key,
            format!("backend_tls: {key} holds PRIVATE KEY; expected the certificates of authorities"),
        ),
    ] {
        let refused = files.setup().set(name, value).refused().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains(&expected),
            "{expected}\n{}",
            refused.stderr
        );
    }
    let refused = Edgeproxy::setup().set("TLS_ENABLED", "true").refused().await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("tls_enabled is true and there is no tls_cert"),
        "{}",
        refused.stderr
    );
}
