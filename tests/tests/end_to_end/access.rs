//! Who may use the API: tokens, certificates and the audit log, through the real binary, with curl.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, Registration, Reply, Setup, curl, eventually, within};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A folder with tokens and certificates.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("edgeproxy-tests-").expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Adds a token to `tokens.toml`, and writes it into a file of its own.
    pub(crate) async fn token(&self, name: &str, role: &str, app: &str) -> String {
        let tokens = self.text("tokens.toml");
        let args = [
            "token", "new", "--name", name, "--role", role, "--app", app, "--append", &tokens,
        ];
        let made = run(&args, &[]).await;
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout)
            .expect("a token is text")
            .trim()
            .to_owned();
        fs::write(self.path(name), format!("{token}\n")).expect("the folder can be written to");
        token
    }

    pub(crate) fn setup(&self) -> Setup {
        Edgeproxy::setup().set("API_TOKENS_FILE", &self.text("tokens.toml"))
    }

    /// An authority, and certificates of it: for the API, and for a client.
    pub(crate) fn certificates(&self) {
        let mut params = CertificateParams::new([]).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key can be made");
        let root = params.self_signed(&key).expect("it can be signed").pem();
        self.write("ca.pem", &root);
        let issuer = Issuer::new(params, key);
        let issue = |name: &str, names: &[&str], uri: Option<&str>, usage: ExtendedKeyUsagePurpose| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("the names are valid");
            params.extended_key_usages.push(usage);
            if let Some(uri) = uri {
                let uri = uri.try_into().expect("it is ASCII");
                params.subject_alt_names.push(SanType::URI(uri));
            }
            let key = KeyPair::generate().expect("a key can be made");
            let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
            self.write(&format!("{name}.pem"), &certificate.pem());
            self.write(&format!("{name}.key"), &key.serialize_pem());
        };
        issue("api", &["127.0.0.1"], None, ExtendedKeyUsagePurpose::ServerAuth);
        let agent = Some("spiffe://prod/agents/one");
        issue("agent", &[], agent, ExtendedKeyUsagePurpose::ClientAuth);
        issue(
            "other",
            &["other.internal"],
            None,
            ExtendedKeyUsagePurpose::ClientAuth,
        );
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the folder can be written to");
    }
}

/// Runs the binary with nothing but these in its environment.
async fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(Edgeproxy::binary());
    command.args(args).env_clear().envs(env.iter().copied());
    within(PATIENCE, "it ends", command.output())
        .await
        .expect("edgeproxy can be started")
}

fn url(edgeproxy: &Edgeproxy, scheme: &str, path: &str) -> String {
    format!("{scheme}://{}{path}", edgeproxy.api_addr())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

async fn get(edgeproxy: &Edgeproxy, token: &str, path: &str) -> Reply {
    curl(&["-H", &bearer(token), &url(edgeproxy, "http", path)]).await
}

async fn register(edgeproxy: &Edgeproxy, token: &str, registration: &Registration) -> Reply {
    curl(&[
        "-H",
        &bearer(token),
        "-H",
        "Content-Type: application/json",
        "-d",
        &registration.to_json(),
        &url(edgeproxy, "http", "/api/v1/register"),
    ])
    .await
}

async fn until_said(edgeproxy: &Edgeproxy, words: &str) {
    let found = edgeproxy.logs().find(|line| line.contains(words).then_some(()));
    within(PATIENCE, words, found)
        .await
        .expect("edgeproxy is running");
}

#[tokio::test]
async fn a_token_registers_its_apps_and_no_others_and_a_changed_file_is_in_force_without_a_restart() {
    let files = Files::new();
    let agent = files.token("agent", "register", "shop-*").await;
    let edgeproxy = files.setup().start().await;
    let backend = Backend::start("b1").await;
    let own = Registration::new("b1", "shop-eu", backend.addr());
    assert_eq!(register(&edgeproxy, &agent, &own).await.status, 201);
    let mut client = edgeproxy.client();
    assert_eq!(client.get("shop-eu", "/").await.expect("an answer").text(), "b1");

    // 127.0.0.1 is as everybody else.
    let without = curl(&[&url(&edgeproxy, "http", "/api/v1/backends")])
        .await
        .expect(401);
    assert_eq!(
        without.header("www-authenticate"),
        Some("Bearer realm=\"edgeproxy\"")
    );
    let foreign = register(
        &edgeproxy,
        &agent,
        &Registration::new("b2", "bank", backend.addr()),
    )
    .await;
    assert_eq!(
        foreign.expect(403).json()["error"],
        "the token \"agent\" is for app shop-*, not for \"bank\""
    );
    assert_eq!(get(&edgeproxy, &agent, "/api/v1/config").await.status, 403);
    assert_eq!(
        get(&edgeproxy, &agent, "/api/v1/backends")
            .await
            .expect(200)
            .json()["total"],
        1
    );
    let health = curl(&[&url(&edgeproxy, "http", "/health")])
        .await
        .expect(200)
        .json();
    assert_eq!(health, json!({"status": "ok"}));

    let operator = files.token("operator", "operate", "*").await;
    until_said(&edgeproxy, "files have changed and are in force").await;
    let config = get(&edgeproxy, &operator, "/api/v1/config").await.expect(200);
    assert!(config.text().contains("api_tokens_file"));

    // A file that is wrong changes nothing.
    let before = fs::read_to_string(files.path("tokens.toml")).expect("it was written");
    files.write("tokens.toml", &before.replace("\"operate\"", "\"admin\""));
    until_said(
        &edgeproxy,
        "expected \\\"read\\\", \\\"register\\\" or \\\"operate\\\"",
    )
    .await;
    assert_eq!(get(&edgeproxy, &operator, "/api/v1/config").await.status, 200);
    // One without the token is the end of it.
    let rest = before
        .split("\n[[tokens]]\nname = \"operator\"")
        .next()
        .unwrap_or_default();
    files.write("tokens.toml", rest);
    let (_, _) = eventually(PATIENCE, "the token is gone", async || {
        match get(&edgeproxy, &operator, "/api/v1/config").await.status.as_u16() {
            401 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    assert_eq!(get(&edgeproxy, &agent, "/api/v1/backends").await.status, 200);
}

#[tokio::test]
async fn a_reload_that_names_another_file_of_tokens_is_in_force_and_one_that_can_t_be_used_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    let (old, new) = (
        files.token("old", "read", "*").await,
        others.token("new", "read", "*").await,
    );
    let named = |path: &str| format!("api_tokens_file = {path:?}\n");
    let edgeproxy = Edgeproxy::setup()
        .toml(&named(&files.text("tokens.toml")))
        .start()
        .await;
    assert_eq!(get(&edgeproxy, &old, "/api/v1/apps").await.status, 200);
    edgeproxy.rewrite(&named(&others.text("tokens.toml")));
    until_said(&edgeproxy, "the configuration is in force").await;
    assert_eq!(get(&edgeproxy, &new, "/api/v1/apps").await.status, 200);
    assert_eq!(get(&edgeproxy, &old, "/api/v1/apps").await.status, 401);
    edgeproxy.rewrite(&named(&others.text("nothing.toml")));
    until_said(&edgeproxy, "the configuration was refused").await;
    until_said(&edgeproxy, "nothing.toml can't be read").await;
    assert_eq!(get(&edgeproxy, &new, "/api/v1/apps").await.status, 200);
}

#[tokio::test]
async fn a_file_of_tokens_that_can_t_be_used_is_refused_at_the_start_with_its_line() {
    let files = Files::new();
    files.write("tokens.toml", "[[tokens]]\nname = \"a\"\n");
    let refused = files.setup().refused().await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("tokens.toml:1:1: an entry has no role; expected one"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn mutual_tls_takes_a_certificate_s_names_for_who_it_is_and_a_stalled_handshake_keeps_nobody_out() {
    let files = Files::new();
    files.certificates();
    files.write(
        "tokens.toml",
        "[[certificates]]\nname = \"agents\"\nsubject = \"spiffe://prod/agents/*\"\nrole = \"register\"\napp = \"shop\"\n",
    );
    let edgeproxy = files
        .setup()
        .set("API_TLS_CERT", &files.text("api.pem"))
        .set("API_TLS_KEY", &files.text("api.key"))
        .set("API_TLS_CLIENT_CA", &files.text("ca.pem"))
        .start()
        .await;
    let mut stalled = Vec::new();
    for _ in 0..300 {
        stalled.push(
            tokio::net::TcpStream::connect(edgeproxy.api_addr())
                .await
                .expect("it listens"),
        );
    }
    let (ca, cert, key) = (
        files.text("ca.pem"),
        files.text("agent.pem"),
        files.text("agent.key"),
    );
    let backend = Backend::start("b1").await;
    let send = async |app: &str| {
        curl(&[
            "--cacert",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "-H",
            "Content-Type: application/json",
            "-d",
            &Registration::new("b1", app, backend.addr()).to_json(),
            &url(&edgeproxy, "https", "/api/v1/register"),
        ])
        .await
    };
    assert_eq!(send("shop").await.status, 201);
    let refused = send("bank").await.expect(403);
    assert_eq!(
        refused.json()["error"],
        "the certificate \"agents\" is for app shop, not for \"bank\""
    );
    assert_eq!(
        edgeproxy
            .client()
            .get("shop", "/")
            .await
            .expect("an answer")
            .text(),
        "b1"
    );
    let api = url(&edgeproxy, "https", "");
    let asked = [
        "backends", "--json", "--api", &api, "--ca", &ca, "--cert", &cert, "--key", &key,
    ];
    let output = run(&asked, &[]).await;
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(printed["total"], 1);
    let output = run(&["backends", "--api", &api, "--ca", &ca], &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("by --cert and --key"), "{told}");
    let (cert, key) = (files.text("other.pem"), files.text("other.key"));
    let health = url(&edgeproxy, "https", "/api/v1/apps");
    let unknown = curl(&["--cacert", &ca, "--cert", &cert, "--key", &key, &health])
        .await
        .expect(403);
    assert!(
        unknown.text().contains("the certificate is for other.internal"),
        "{}",
        unknown.text()
    );
    // Without a certificate nobody gets as far as HTTP.
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--max-time",
        "15",
        "--noproxy",
        "*",
        "--cacert",
        &ca,
        &health,
    ]);
    let output = command.output().await.expect("curl can be started");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    drop(stalled);

    // Another authority, and certificates of it, for the API and for its clients.
    let old = fs::read_to_string(files.path("agent.pem")).expect("it was written");
    let old_key = fs::read_to_string(files.path("agent.key")).expect("it was written");
    files.certificates();
    until_said(&edgeproxy, "files have changed and are in force").await;
    assert_eq!(send("shop").await.status, 200);
    files.write("agent.pem", &old);
    files.write("agent.key", &old_key);
    let (cert, key) = (files.text("agent.pem"), files.text("agent.key"));
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--max-time",
        "15",
        "--noproxy",
        "*",
        "--cacert",
        &ca,
        &health,
    ]);
    let output = command.args(["--cert", &cert, "--key", &key]).output().await;
    assert!(
        !output.expect("curl can be started").status.success(),
        "of an authority that counts no more"
    );
}

#[tokio::test]
async fn commands_show_a_token_from_a_file_and_verify_the_api_s_certificate() {
    let files = Files::new();
    files.certificates();
    let token = files.token("operator", "operate", "*").await;
    let edgeproxy = files
        .setup()
        .set("API_TLS_CERT", &files.text("api.pem"))
        .set("API_TLS_KEY", &files.text("api.key"))
        .start()
        .await;
    let api = url(&edgeproxy, "https", "");
    let (ca, path) = (files.text("ca.pem"), files.text("operator"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let output = run(
        &["backends", "--api", &api, "--ca", &ca, "--token-file", &path],
        &[],
    )
    .await;
    assert_eq!(
        text(&output.stdout),
        "no backend is registered\n",
        "{}",
        text(&output.stderr)
    );
    let env = [
        ("EDGEPROXY_API", &*api),
        ("EDGEPROXY_API_CA", &*ca),
        ("EDGEPROXY_API_TOKEN_FILE", &*path),
    ];
    let output = run(&["apps", "--json"], &env).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(&["backends", "--api", &api, "--ca", &ca], &[]).await;
    assert!(
        text(&output.stderr).contains("401 Unauthorized: this API takes a token")
            && text(&output.stderr).contains("by --token-file"),
        "{}",
        text(&output.stderr)
    );
    let output = run(&["backends", "--api", &api, "--token-file", &path], &[]).await;
    assert!(
        text(&output.stderr).contains("no TLS with") && text(&output.stderr).contains("by --ca"),
        "{}",
        text(&output.stderr)
    );
    let clear = url(&edgeproxy, "http", "");
    let output = run(&["backends", "--api", &clear], &[]).await;
    assert!(
        text(&output.stderr).contains("use https:// instead of http://"),
        "{}",
        text(&output.stderr)
    );
    files.write("short", "hunter2");
    let short = files.text("short");
    let output = run(
        &["backends", "--api", &api, "--ca", &ca, "--token-file", &short],
        &[],
    )
    .await;
    let told = text(&output.stderr);
    assert!(
        told.contains("the token has 7 characters") && !told.contains("hunter2") && !told.contains(&token),
        "{told}"
    );
}

#[tokio::test]
async fn no_token_and_no_hash_is_in_a_log_an_error_the_configuration_or_the_process_list() {
    let files = Files::new();
    let (agent, operator) = (
        files.token("agent", "register", "shop").await,
        files.token("operator", "operate", "*").await,
    );
    let setup = files.setup().set("AUDIT_LOG", "stderr");
    let edgeproxy = setup.set("LOG", "trace").start().await;
    let backend = Backend::start("b1").await;
    let mut shown = String::new();
    let registration = Registration::new("b1", "shop", backend.addr());
    shown += register(&edgeproxy, &agent, &registration).await.text();
    shown += register(
        &edgeproxy,
        &agent,
        &Registration::new("b1", "bank", backend.addr()),
    )
    .await
    .text();
    // Nearly right, and not as it should be.
    let nearly: String = operator.chars().take(operator.len() - 1).collect();
    for token in [&*nearly, &operator.to_uppercase(), &format!("{operator} {agent}")] {
        shown += get(&edgeproxy, token, "/api/v1/config").await.expect(401).text();
    }
    shown += get(&edgeproxy, &operator, "/api/v1/config")
        .await
        .expect(200)
        .text();
    let basic = format!("Authorization: Basic {operator}");
    shown += curl(&["-H", &basic, &url(&edgeproxy, "http", "/health")])
        .await
        .expect(401)
        .text();
    // Somebody pastes the token where its hash belongs.
    let before = fs::read_to_string(files.path("tokens.toml")).expect("it was written");
    files.write(
        "tokens.toml",
        &format!("{before}\n[[tokens]]\nname = \"x\"\nrole = \"read\"\napp = \"*\"\nhash = \"{operator}\"\n"),
    );
    until_said(&edgeproxy, "files have changed and those before stay in force").await;
    let process = fs::read(format!("/proc/{}/cmdline", edgeproxy.id())).expect("it is running");
    let environment = fs::read(format!("/proc/{}/environ", edgeproxy.id())).expect("it is running");
    shown += &String::from_utf8_lossy(&process);
    shown += &String::from_utf8_lossy(&environment);
    shown += &edgeproxy.logs().text();
    let hashes: Vec<&str> = before
        .lines()
        .filter_map(|line| line.strip_prefix("hash = \"sha256:"))
        .collect();
    assert_eq!(hashes.len(), 2);
    let secrets =
        [agent.as_str(), &operator, &nearly].map(|token| token.trim_start_matches("edgeproxy_").to_owned());
    for secret in secrets
        .iter()
        .map(String::as_str)
        .chain(hashes.iter().map(|hash| hash.trim_end_matches('"')))
    {
        assert!(!shown.contains(secret), "a secret is shown");
        assert!(
            !shown.to_lowercase().contains(&secret.to_lowercase()),
            "a secret is shown"
        );
    }
    assert!(
        shown.contains("API request"),
        "the most talkative log was there to be looked at"
    );
    assert!(
        shown.contains("\"name\":\"agent\""),
        "the audit log was there to be looked at"
    );
}

#[tokio::test]
async fn the_audit_log_is_the_owner_s_alone_and_goes_on_in_a_new_file_when_it_is_rotated() {
    let files = Files::new();
    let log = files.path("audit.jsonl");
    let edgeproxy = Edgeproxy::setup()
        .set("AUDIT_LOG", &files.text("audit.jsonl"))
        .start()
        .await;
    let backend = Backend::start("b1").await;
    let mut api = edgeproxy.api();
    let lines = async |path: &PathBuf, count: usize| -> Vec<Value> {
        let (lines, _) = eventually(PATIENCE, "lines are written", async || {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<Value> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() >= count {
                Ok(lines)
            } else {
                Err(text)
            }
        })
        .await;
        lines
    };
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    let first = lines(&log, 1).await;
    assert_eq!(
        (&first[0]["id"], &first[0]["app"], &first[0]["outcome"]),
        (&json!("b1"), &json!("shop"), &json!("done"))
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&log).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let moved = files.path("audit.jsonl.1");
    fs::rename(&log, &moved).expect("it can be moved");
    api.register_new(&Registration::new("b2", "shop", backend.addr()))
        .await;
    assert_eq!(lines(&log, 1).await[0]["id"], "b2");
    assert_eq!(lines(&moved, 1).await.len(), 1);
}
