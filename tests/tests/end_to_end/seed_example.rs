//! The documentation's first example, to the letter, as a reader would type it.

use std::collections::BTreeSet;
use std::net::TcpListener;

use edgeproxy_tests::{Backend, Edgeproxy, Registration, shell};
use serde_json::{Value, json};

/// The document's lines. The three exports go to the proxy, the curls to a shell of their own.
const EXPORTS: &str = "export EDGEPROXY_API_ENABLED=true
export EDGEPROXY_API_LISTEN_ADDR=0.0.0.0:8081
export EDGEPROXY_HEARTBEAT_TTL_SECS=60
";
const REGISTER: &str = r#"curl -X POST http://localhost:8081/api/v1/register \
-H "Content-Type: application/json" \
-d '{
"id": "backend-eu-1",
"app": "myapp",
"region": "eu",
"ip": "10.50.1.1",
"port": 8080,
"weight": 2,
"soft_limit": 100,
"hard_limit": 150
}'"#;
const HEARTBEAT: &str = "curl -X POST http://localhost:8081/api/v1/heartbeat/backend-eu-1";
const LIST: &str = "curl http://localhost:8081/api/v1/backends";
const HEALTH: &str = "curl http://localhost:8081/health";

/// What the document does not print: deregistering.
const GET: &str = "curl http://localhost:8081/api/v1/backends/backend-eu-1";
const DELETE: &str = "curl -X DELETE http://localhost:8081/api/v1/backends/backend-eu-1";

/// Where the document's proxy is to be found.
#[derive(Clone, Copy)]
struct Ports {
    proxy: u16,
    api: u16,
}

impl Ports {
    fn of(edgeproxy: &Edgeproxy) -> Self {
        Self {
            proxy: edgeproxy.proxy().port(),
            api: edgeproxy.api_addr().port(),
        }
    }

    /// Runs a line of the document and returns its status and what it printed. Nothing in the line is
    /// touched but the port: `curl` becomes a function that adds silence and the status.
    async fn run(self, line: &str) -> (u16, Value) {
        let line = line.replace("localhost:8081", &format!("localhost:{}", self.api));
        let line = line.replace("localhost:8080", &format!("localhost:{}", self.proxy));
        let curl = r#"curl() { command curl -sS --max-time 15 --noproxy '*' -w '\n%{http_code}' "$@"; }"#;
        let printed = shell(&format!("{curl}\n{line}")).await;
        let (body, status) = printed.rsplit_once('\n').expect("curl prints the status last");
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        (status.parse().expect("the status is a number"), body)
    }
}

#[tokio::test]
async fn to_the_letter_with_ports_of_the_systems_choice() {
    let exports = EXPORTS.replace("8081", "0");
    let script = format!("{exports}export EDGEPROXY_LISTEN_ADDR=0.0.0.0:0\nexec edgeproxy run");
    let edgeproxy = Edgeproxy::setup().start_by_shell(&script).await;
    walk_through(&edgeproxy, Ports::of(&edgeproxy)).await;
}

/// The whole letter: nothing is set but the three exports. Where one of the two ports is taken, the test
/// above has to do, since a proxy can't be started on a port that someone else has.
#[tokio::test]
async fn to_the_letter_on_the_default_ports() {
    if [8080, 8081]
        .into_iter()
        .any(|port| TcpListener::bind(("0.0.0.0", port)).is_err())
    {
        return;
    }
    let edgeproxy = Edgeproxy::setup()
        .start_by_shell(&format!("{EXPORTS}exec edgeproxy run"))
        .await;
    let ports = Ports::of(&edgeproxy);
    assert_eq!((ports.proxy, ports.api), (8080, 8081));
    walk_through(&edgeproxy, ports).await;
}

async fn walk_through(edgeproxy: &Edgeproxy, ports: Ports) {
    let (status, reply) = ports.run(REGISTER).await;
    assert_eq!(status, 201, "{reply}");
    assert_eq!(reply["id"], "backend-eu-1");
    assert_eq!(reply["registered"], true);
    assert_eq!(reply["message"], "Backend registered successfully");
    assert_eq!(
        (&reply["ttl_secs"], &reply["heartbeat_interval_secs"]),
        (&json!(60), &json!(20))
    );
    assert!(
        reply["incarnation"]
            .as_u64()
            .is_some_and(|incarnation| incarnation >= 1),
        "{reply}"
    );
    assert_eq!(
        reply.get("warnings"),
        None,
        "nothing is wrong with the document: {reply}"
    );

    let (status, reply) = ports.run(HEARTBEAT).await;
    assert_eq!(status, 200, "{reply}");

    let (status, list) = ports.run(LIST).await;
    assert_eq!((status, &list["total"]), (200, &json!(1)), "{list}");
    let listed = &list["backends"][0];
    for (field, expected) in [
        ("id", json!("backend-eu-1")),
        ("app", json!("myapp")),
        ("region", json!("eu")),
        ("country", json!("DE")),
        ("ip", json!("10.50.1.1")),
        ("port", json!(8080)),
        ("weight", json!(2)),
        ("soft_limit", json!(100)),
        ("hard_limit", json!(150)),
        ("fallback", json!(false)),
        ("protocol", json!("http1")),
        ("metadata", json!({})),
        ("state", json!("routable")),
        ("healthy", json!(true)),
        ("in_flight", json!(0)),
    ] {
        assert_eq!(listed[field], expected, "{field}: {listed}");
    }
    assert!(listed["reason"].is_string(), "{listed}");
    // A curl or two ago.
    assert!(
        listed["last_heartbeat_secs"]
            .as_u64()
            .is_some_and(|secs| secs < 10),
        "{listed}"
    );
    assert!(
        listed["expires_in_secs"]
            .as_f64()
            .is_some_and(|left| (50.0..=60.0).contains(&left)),
        "{listed}"
    );

    let (status, health) = ports.run(HEALTH).await;
    assert_eq!(status, 200);
    let members: BTreeSet<_> = health
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        BTreeSet::from(["status", "version", "backends", "uptime_secs"])
    );
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["backends"], 1);
    assert!(
        health["uptime_secs"].as_u64().is_some_and(|uptime| uptime < 60),
        "{health}"
    );

    assert_eq!(ports.run(GET).await.0, 200);
    let (status, reply) = ports.run(DELETE).await;
    assert_eq!(status, 200, "{reply}");
    for gone in [GET, HEARTBEAT, DELETE] {
        let (status, reply) = ports.run(gone).await;
        assert_eq!(
            (status, &reply["id"]),
            (404, &json!("backend-eu-1")),
            "{gone}: {reply}"
        );
    }
    assert_eq!(ports.run(HEALTH).await.1["backends"], 0);

    // The same registration, but for an address where something answers.
    let backend = Backend::start("backend-eu-1").await;
    let here = REGISTER.replace("10.50.1.1", "127.0.0.1");
    let here = here.replace("\"port\": 8080", &format!("\"port\": {}", backend.addr().port()));
    let (status, reply) = ports.run(&here).await;
    assert_eq!(status, 201, "{reply}");
    let (status, reply) = ports.run("curl http://localhost:8080/").await;
    assert_eq!((status, &reply), (200, &json!("backend-eu-1")));
    assert_eq!(backend.requests(), 1);
    assert!(edgeproxy.logs().panic().is_none());
}

/// From the very next request: no wait between the 201 and the request, again and again, on connections that
/// were there before, so that every worker is asked.
#[tokio::test]
async fn a_request_reaches_the_backend_as_soon_as_the_201_has_been_read() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let mut api = edgeproxy.api();
    let mut clients: Vec<_> = (0..8).map(|_| edgeproxy.client()).collect();
    for client in &mut clients {
        let reply = client.get("nobody.example", "/").await.expect("an answer");
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    let backend = Backend::start("b").await;
    for round in 0..100_u64 {
        let app = format!("app-{round}");
        api.register_new(&Registration::new(&format!("b-{round}"), &app, backend.addr()))
            .await;
        let client = &mut clients[usize::try_from(round % 8).expect("small")];
        let reply = client.get(&app, "/").await.expect("an answer");
        assert_eq!(reply.status, 200, "round {round}: {reply:?}");
        assert_eq!(backend.requests(), round + 1);
    }
}

/// And as soon as a DELETE has been answered, it gets none.
#[tokio::test]
async fn no_request_reaches_the_backend_once_its_delete_has_been_answered() {
    let edgeproxy = Edgeproxy::setup().set("ALGORITHM", "round_robin").start().await;
    let mut api = edgeproxy.api();
    let mut clients: Vec<_> = (0..8).map(|_| edgeproxy.client()).collect();
    let stays = Backend::start("stays").await;
    let leaves = Backend::start("leaves").await;
    api.register_new(&Registration::new("stays", "shop", stays.addr()))
        .await;
    for round in 0..20 {
        api.register_new(&Registration::new("leaves", "shop", leaves.addr()))
            .await;
        let before = leaves.requests();
        for client in &mut clients {
            let _ = client.get("shop", "/").await.expect("an answer").expect(200);
        }
        let reached = leaves.requests();
        assert!(
            reached > before,
            "round {round}: round robin reaches it while it is there"
        );
        let query = if round % 2 == 0 { "" } else { "?drain=30s" };
        let _ = api.delete("leaves", query).await.expect(200);
        for client in &mut clients {
            let reply = client.get("shop", "/").await.expect("an answer").expect(200);
            assert_eq!(reply.text(), "stays");
        }
        assert_eq!(leaves.requests(), reached, "round {round}");
        // With nothing in flight a drain is over at once, and the id is free again.
        edgeproxy_tests::eventually(
            edgeproxy_tests::PATIENCE,
            "it is gone from the listing",
            async || {
                let reply = api.backend("leaves").await;
                if reply.status == 404 {
                    Ok(())
                } else {
                    Err(format!("{reply:?}"))
                }
            },
        )
        .await;
    }
}
