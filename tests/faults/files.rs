//! Files that the proxy reads again while it runs: its certificate, its configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use edgeproxy_tests::{Edgeproxy, PATIENCE, eventually};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::nothing;
use crate::row::{Row, Runs, Told};
use crate::scene::{Scene, TOML, setup};

const RENEWING: &str = "tls.md#renewing";
const SIGNALS: &str = "service.md#signals";

macro_rules! row {
    ($name:literal, $rule:expr, $fault:literal, $expects:literal, $commit:expr) => {
        Row {
            name: $name,
            fault: $fault,
            expects: $expects,
            rule: $rule,
            limit: Duration::from_secs(120),
            runs: Runs::Always,
            needs: &[],
            commit: || Box::pin($commit),
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    row!(
        "certificate-garbage",
        RENEWING,
        "the certificate's file is replaced by garbage, then by a good one",
        "the one before stays in force and the log says why; the good one is in force without a restart",
        garbage_certificate()
    ),
    row!(
        "certificate-expired",
        RENEWING,
        "the certificate and its key are replaced by a pair that has ended, then by a good one",
        "the one before, which is valid, stays in force and the log says why; the good one is in force without a restart",
        expired_certificate()
    ),
    row!(
        "config-garbage",
        SIGNALS,
        "the configuration is replaced by garbage, with and without SIGHUP, then by what it was",
        "nothing changes, and the API names the place; what comes after is in force",
        garbage_configuration()
    ),
    row!(
        "config-deleted",
        SIGNALS,
        "the configuration is deleted, then it is back",
        "what it said stays in force, and the log says so; what comes back is read",
        deleted_configuration()
    ),
];

/// A folder with a certificate, its key, and the authorities of all that were there.
struct Certificates(TempDir);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Valid {
    Now,
    /// Until some years ago.
    Before,
}

impl Certificates {
    fn new() -> Self {
        Self(TempDir::with_prefix("edgeproxy-faults-").expect("a temporary folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As a careful program replaces a file.
    fn write(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new"));
        std::fs::write(&beside, text).expect("the folder can be written to");
        std::fs::rename(&beside, self.path(name)).expect("a file can be renamed");
    }

    /// A pair by an authority of its own, which is `AUTHORITY.pem`.
    fn issue(&self, authority: &str, valid: Valid) {
        let mut params = CertificateParams::new([]).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let key = KeyPair::generate().expect("a key can be made");
        let root = params.self_signed(&key).expect("it can be signed").pem();
        self.write(&format!("{authority}.pem"), &root);
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(["shop".to_owned()]).expect("the name is valid");
        params.not_after = match valid {
            Valid::Now => rcgen::date_time_ymd(2100, 1, 1),
            Valid::Before => rcgen::date_time_ymd(2020, 1, 1),
        };
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
        self.write("key.pem", &key.serialize_pem());
        self.write("cert.pem", &certificate.pem());
    }

    async fn scene(&self) -> Scene {
        let setup = setup()
            .set("TLS_ENABLED", "true")
            .set("TLS_LISTEN_ADDR", "127.0.0.1:0")
            .set("TLS_CERT", &self.path("cert.pem").display().to_string())
            .set("TLS_KEY", &self.path("key.pem").display().to_string());
        Scene::of(setup).await
    }
}

/// Where it ends TLS, by its log.
async fn tls_addr(proxy: &Edgeproxy) -> SocketAddr {
    let said = proxy.logs().find(|line| {
        let (_, rest) = line.split_once("serves HTTPS, HTTP/1.1 and HTTP/2, on ")?;
        let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':')))?;
        rest[..end].parse().ok()
    });
    said.await.expect("it runs")
}

/// Whether a client that trusts this authority alone is answered.
async fn is_served(addr: SocketAddr, authority: &Path) -> bool {
    let port = addr.port();
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "10", "--noproxy", "*", "--cacert"])
        .arg(authority)
        .args(["--resolve", &format!("shop:{port}:127.0.0.1")])
        .arg(format!("https://shop:{port}/curl"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("curl can be run");
    output.status.success() && output.stdout.ends_with(b" /curl")
}

async fn until_served(addr: SocketAddr, authority: &Path) {
    eventually(PATIENCE, "the new certificate is shown", async || {
        if is_served(addr, authority).await {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
}

/// How often the log has said it.
fn told(scene: &Scene, what: &str) -> usize {
    scene.proxy().logs().text().matches(what).count()
}

const STAYS: &str = "files have changed and those before stay in force";

/// Something takes the certificate's place, and what was there has to stay in force.
async fn bad_certificate(replace: impl Fn(&Certificates)) -> Told {
    let files = Certificates::new();
    files.issue("first", Valid::Now);
    let authority = std::cell::RefCell::new("first".to_owned());
    let rounds = std::cell::Cell::new(0);
    files
        .scene()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let addr = tls_addr(scene.proxy()).await;
            let before = authority.borrow().clone();
            until_served(addr, &files.path(&format!("{before}.pem"))).await;
            let said = told(scene, STAYS);
            replace(&files);
            eventually(
                PATIENCE,
                "it says that what was there stays in force",
                async || match told(scene, STAYS) {
                    now if now > said => Ok(()),
                    _ => Err(scene
                        .proxy()
                        .logs()
                        .text()
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .to_owned()),
                },
            )
            .await;
            for _ in 0..10 {
                assert!(
                    is_served(addr, &files.path(&format!("{before}.pem"))).await,
                    "by the one before"
                );
            }
            rounds.set(rounds.get() + 1);
            let next = format!("next-{}", rounds.get());
            files.issue(&next, Valid::Now);
            let over = scene.is_over();
            until_served(addr, &files.path(&format!("{next}.pem"))).await;
            scene.has_recovered(over);
            authority.replace(next);
        })
        .await
}

async fn garbage_certificate() -> Told {
    bad_certificate(|files| files.write("cert.pem", "\u{0}\u{1}garbage\n")).await
}

async fn expired_certificate() -> Told {
    bad_certificate(|files| files.issue("ended", Valid::Before)).await
}

/// What the API tells of the latest reload, once there were so many.
async fn reloaded(scene: &Scene, reloads: u64) -> Value {
    let mut api = scene.api();
    let (told, _) = eventually(PATIENCE, &format!("{reloads} reloads"), async || {
        let told = api.get("/api/v1/config").await.expect(200).json();
        match told["reloads"].as_u64() {
            Some(found) if found >= reloads => Ok(told),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    told
}

async fn reloads(scene: &Scene) -> u64 {
    let told = scene.api().get("/api/v1/config").await.expect(200).json();
    told["reloads"].as_u64().expect("a number")
}

async fn garbage_configuration() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let before = reloads(scene).await;
            scene.proxy().rewrite("\u{1}[[[ garbage = \n");
            let told = reloaded(scene, before + 1).await;
            assert_eq!(told["last_reload"]["result"], "refused", "{told}");
            let problem = told["last_reload"]["problems"][0].to_string();
            assert!(
                problem.contains("edgeproxy.toml"),
                "it names the place: {problem}"
            );
            scene.proxy().signal(Signal::HUP);
            let told = reloaded(scene, before + 2).await;
            assert_eq!(told["last_reload"]["result"], "refused", "{told}");
            scene.flows().await;
            scene.proxy().rewrite(TOML);
            scene.proxy().signal(Signal::HUP);
            let over = scene.is_over();
            let told = reloaded(scene, before + 3).await;
            assert_ne!(told["last_reload"]["result"], "refused", "{told}");
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}

async fn deleted_configuration() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let before = reloads(scene).await;
            std::fs::remove_file(scene.proxy().config()).expect("it is there");
            let told = reloaded(scene, before + 1).await;
            let problem = &told["last_reload"]["problems"][0]["message"];
            assert_eq!(problem, "the file is gone; what it said stays in force", "{told}");
            scene.flows().await;
            scene.proxy().rewrite(TOML);
            let over = scene.is_over();
            let told = reloaded(scene, before + 2).await;
            assert_ne!(told["last_reload"]["result"], "refused", "{told}");
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}
