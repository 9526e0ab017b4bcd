//! The configuration of a running proxy: what is read again, what is refused, and what nobody notices.

mod under_load;

use std::time::Duration;

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, eventually, within};
use rustix::process::Signal;
use serde_json::Value;

/// A backend as the file has it.
fn listed(id: &str, app: &str, addr: std::net::SocketAddr) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    format!("[[backends]]\nid = \"{id}\"\napp = \"{app}\"\nregion = \"eu\"\nip = \"{ip}\"\nport = {port}\n")
}

async fn configuration(edgeproxy: &Edgeproxy) -> Value {
    edgeproxy.api().get("/api/v1/config").await.expect(200).json()
}

/// Waits until so many reloads have been asked for, and returns what is told then.
async fn reloaded(edgeproxy: &Edgeproxy, reloads: u64) -> Value {
    let mut api = edgeproxy.api();
    let what = format!("{reloads} reloads");
    let (told, _) = eventually(PATIENCE, &what, async || {
        let told = api.get("/api/v1/config").await.expect(200).json();
        match told["reloads"].as_u64() {
            Some(found) if found >= reloads => Ok(told),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    told
}

fn value<'c>(told: &'c Value, key: &str) -> &'c Value {
    let settings = told["settings"].as_array().expect("there are settings");
    let found = settings.iter().find(|one| one["key"] == key);
    found.expect("every setting is told")
}

/// The line of the log that says this.
async fn logged(edgeproxy: &Edgeproxy, what: &str) -> String {
    let line = edgeproxy
        .logs()
        .find(|line| line.contains(what).then(|| line.to_owned()));
    let line = within(PATIENCE, what, line).await;
    line.expect("edgeproxy is running")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_has_the_file_read_again_and_flags_and_variables_stay() {
    let edgeproxy = Edgeproxy::setup()
        .set("MAX_ATTEMPTS", "2")
        .arg("--queue-max=7")
        .toml("max_failures = 1\nmax_attempts = 9\n")
        .start()
        .await;
    let told = configuration(&edgeproxy).await;
    assert_eq!(
        (&told["version"], &told["last_reload"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(value(&told, "max_failures")["value"], 1);

    edgeproxy.rewrite("# another\nmax_failures = 5\nmax_attempts = 8\nqueue_max = 3\n");
    edgeproxy.signal(Signal::HUP);
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(told["version"], 2);
    for (key, expected, from) in [
        ("max_failures", 5, "file"),
        ("max_attempts", 2, "environment"),
        ("queue_max", 7, "flag"),
    ] {
        let found = value(&told, key);
        assert_eq!(
            (&found["value"], &found["from"]),
            (&expected.into(), &from.into()),
            "{key}"
        );
    }
    assert_eq!(value(&told, "max_failures")["place"], "edgeproxy.toml:2:1");
    let last = &told["last_reload"];
    assert_eq!(
        (&last["by"], &last["result"]),
        (&"signal".into(), &"applied".into())
    );
    assert_eq!(last["changes"], serde_json::json!(["max_failures: 1 -> 5"]));
    let line = logged(&edgeproxy, "the configuration is in force").await;
    assert!(line.contains("max_failures: 1 -> 5"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_has_changed_is_read_again_without_being_asked() {
    let edgeproxy = Edgeproxy::setup().toml("").start().await;
    edgeproxy.rewrite("max_failures = 5\n");
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(value(&told, "max_failures")["value"], 5);
    assert_eq!(told["last_reload"]["by"], "file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_disappears_leaves_what_it_said_in_force_and_one_that_comes_back_is_read() {
    let edgeproxy = Edgeproxy::setup().toml("max_failures = 5\n").start().await;
    std::fs::remove_file(edgeproxy.config()).expect("it is there");
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(value(&told, "max_failures")["value"], 5);
    let last = &told["last_reload"];
    assert_eq!(
        (&last["by"], &last["result"]),
        (&"file".into(), &"refused".into())
    );
    assert_eq!(
        last["problems"][0]["message"],
        "the file is gone; what it said stays in force"
    );
    logged(&edgeproxy, "the file is gone").await;
    edgeproxy.rewrite("max_failures = 6\n");
    let told = reloaded(&edgeproxy, 2).await;
    assert_eq!(value(&told, "max_failures")["value"], 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_later_is_read() {
    let edgeproxy = Edgeproxy::setup().start().await;
    edgeproxy.rewrite("max_failures = 5\n");
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(told["file"], "edgeproxy.toml");
    assert_eq!(value(&told, "max_failures")["value"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_a_restart_refuses_the_whole_and_each_is_named_with_its_place_and_both_values() {
    let edgeproxy = Edgeproxy::setup()
        .unset("WORKERS")
        .toml("workers = 1\nmax_failures = 1\n")
        .start()
        .await;
    let listener = "[[listeners]]\nname = \"db\"\naddr = \"127.0.0.1:1\"\nprotocol = \"tcp\"\napp = \"db\"\n";
    edgeproxy.rewrite(&format!("max_failures = 5\nworkers = 2\n{listener}"));
    edgeproxy.signal(Signal::HUP);
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(told["version"], 1);
    assert_eq!(
        value(&told, "max_failures")["value"],
        1,
        "not even what could have changed"
    );
    let problems: Vec<(&str, &str)> = told["last_reload"]["problems"]
        .as_array()
        .expect("there are some")
        .iter()
        .map(|problem| {
            let text = |key: &str| problem[key].as_str().expect("a text");
            (text("place"), text("message"))
        })
        .collect();
    assert_eq!(
        problems,
        [
            (
                "edgeproxy.toml:2:1",
                "workers is 2; 1 is in force, and it takes a restart to change it"
            ),
            (
                "edgeproxy.toml:3:1",
                "a listener on \"127.0.0.1:1\" is new, and it takes a restart to bind it"
            ),
        ]
    );
    logged(&edgeproxy, "workers is 2; 1 is in force").await;
    logged(&edgeproxy, "the configuration was refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_problem_of_a_broken_file_is_logged_with_its_place() {
    let edgeproxy = Edgeproxy::setup().toml("max_failures = 1\n").start().await;
    edgeproxy.rewrite("max_failures = \"many\"\nspill = \"sotf\"\n");
    edgeproxy.signal(Signal::HUP);
    let line = logged(&edgeproxy, "max_failures is the text").await;
    assert!(
        line.contains("edgeproxy.toml:1:16") && line.contains("ERROR"),
        "{line}"
    );
    let line = logged(&edgeproxy, "spill is \\\"sotf\\\"").await;
    assert!(
        line.contains("edgeproxy.toml:2:9") && line.contains("did you mean"),
        "{line}"
    );
    assert_eq!(value(&reloaded(&edgeproxy, 1).await, "max_failures")["value"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_changes_while_lines_are_written() {
    let edgeproxy = Edgeproxy::setup().toml("").start().await;
    edgeproxy.rewrite("log_level = \"debug\"\n");
    edgeproxy.signal(Signal::HUP);
    logged(&edgeproxy, "the configuration is in force").await;
    // Each request to the API is a line then.
    let _ = configuration(&edgeproxy).await;
    logged(&edgeproxy, "API request").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_shown_once_its_path_is_another_and_a_bad_one_changes_nothing() {
    let issue = |name: &str| {
        let made =
            rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate can be made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let (old, new) = (issue("old.example"), issue("new.example"));
    let tls = |name: &str| {
        format!(
            "[[listeners]]\nname = \"public\"\naddr = \"127.0.0.1:0\"\nprotocol = \"http\"\n[listeners.tls]\n\
             [[listeners.tls.certificates]]\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n"
        )
    };
    let edgeproxy = Edgeproxy::setup()
        .file("old.pem", &old.0)
        .file("old.key", &old.1)
        .file("new.pem", &new.0)
        .file("new.key", &new.1)
        .file("bad.pem", "no certificate")
        .file("bad.key", "no key")
        .toml(&tls("old"))
        .start()
        .await;
    edgeproxy.rewrite(&tls("bad"));
    edgeproxy.signal(Signal::HUP);
    let told = reloaded(&edgeproxy, 1).await;
    assert_eq!(told["version"], 1);
    let message = &told["last_reload"]["problems"][0]["message"];
    assert!(message.to_string().contains("bad.pem"), "{message}");
    edgeproxy.rewrite(&tls("new"));
    edgeproxy.signal(Signal::HUP);
    let told = reloaded(&edgeproxy, 2).await;
    assert_eq!(told["version"], 2, "{}", told["last_reload"]);
    assert_eq!(told["listeners"][0]["tls"]["certificates"][0]["cert"], "new.pem");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_use_the_api_and_which_backends_may_register_changes_at_once() {
    let edgeproxy = Edgeproxy::setup().toml("").start().await;
    let backend = Backend::start("b1").await;
    let registration = edgeproxy_tests::Registration::new("b1", "shop", backend.addr());
    edgeproxy.rewrite("allowed_backend_cidrs = [\"10.0.0.0/8\"]\nheartbeat_ttl_secs = 33\n");
    edgeproxy.signal(Signal::HUP);
    reloaded(&edgeproxy, 1).await;
    let refused = edgeproxy.api().register(&registration).await.problem(422);
    assert!(refused.to_string().contains("allowed_backend_cidrs"), "{refused}");
    edgeproxy.rewrite("heartbeat_ttl_secs = 34\n");
    edgeproxy.signal(Signal::HUP);
    reloaded(&edgeproxy, 2).await;
    let registered = edgeproxy.api().register_new(&registration).await;
    assert_eq!(registered["ttl_secs"], 34);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knows_the_configuration_is_not_told_again() {
    let edgeproxy = Edgeproxy::setup().toml("").start().await;
    let reply = edgeproxy.api().get("/api/v1/config").await.expect(200);
    let tag = reply.header("etag").expect("it has one").to_owned();
    let request = http::Request::get("/api/v1/config")
        .header("host", edgeproxy.api_addr().to_string())
        .header("if-none-match", &tag);
    let request = request
        .body(http_body_util::Full::default())
        .expect("it is sound");
    let reply = edgeproxy.api().send(request).await.expect("an answer");
    assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0));
    edgeproxy.rewrite("spill = \"sotf\"\n");
    edgeproxy.signal(Signal::HUP);
    reloaded(&edgeproxy, 1).await;
    let reply = edgeproxy.api().get("/api/v1/config").await.expect(200);
    assert_ne!(reply.header("etag"), Some(&*tag), "a refused reload is news, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_while_it_drains_is_no_reason_to_end() {
    let mut edgeproxy = Edgeproxy::setup().start().await;
    edgeproxy.signal(Signal::HUP);
    reloaded(&edgeproxy, 1).await;
    edgeproxy.signal(Signal::TERM);
    edgeproxy.signal(Signal::HUP);
    let status = edgeproxy.ended(Duration::from_secs(40)).await;
    assert!(status.success(), "{status}");
}
