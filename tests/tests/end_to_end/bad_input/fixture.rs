use std::collections::BTreeSet;

use edgeproxy_tests::{Api, Backend, Edgeproxy, Registration, Reply, curl};
use serde_json::{Value, json};

/// A proxy with one backend registered, for requests that must leave it as it is.
pub(crate) struct Fixture {
    pub(crate) edgeproxy: Edgeproxy,
    _backend: Backend,
    pub(crate) before: Value,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let edgeproxy = Edgeproxy::setup().start().await;
        let backend = Backend::start("b1").await;
        let mut api = edgeproxy.api();
        let registration =
            Registration::new("b1", "shop", backend.addr()).with("metadata", json!({"zone": "a"}));
        api.register_new(&registration).await;
        let before = state(&mut api).await;
        Self {
            edgeproxy,
            _backend: backend,
            before,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.edgeproxy.api_addr())
    }

    /// A curl that is refused with that status and a problem document, and changes nothing.
    pub(crate) async fn refused(&mut self, status: u16, path: &str, args: &[&str]) -> Reply {
        let url = self.url(path);
        let mut all = args.to_vec();
        all.push(&url);
        let reply = curl(&all).await;
        let problem = reply.problem(status);
        assert_eq!(
            problem["status"].as_u64().unwrap_or(status.into()),
            u64::from(status),
            "{problem}"
        );
        self.unchanged().await;
        reply
    }

    pub(crate) async fn unchanged(&mut self) {
        assert_eq!(state(&mut self.edgeproxy.api()).await, self.before);
        let reply = self
            .edgeproxy
            .client()
            .get("shop", "/")
            .await
            .expect("an answer")
            .expect(200);
        assert_eq!(reply.text(), "b1");
    }
}

/// The listing and the apps, without what changes by itself.
pub(crate) async fn state(api: &mut Api) -> Value {
    let mut list = api.get("/api/v1/backends").await.expect(200).json();
    for backend in list["backends"].as_array_mut().expect("a list") {
        let fields = backend.as_object_mut().expect("an object");
        for moving in [
            "last_heartbeat_secs",
            "registered_secs",
            "expires_in_secs",
            "requests_total",
            "latency_ms",
            "in_flight",
        ] {
            fields
                .remove(moving)
                .unwrap_or_else(|| panic!("{moving} is listed"));
        }
    }
    json!([list, api.get("/health").await.expect(200).json()["backends"]])
}

/// The fields that a 422 names.
pub(crate) fn fields(reply: &Reply) -> BTreeSet<String> {
    let problem = reply.json();
    let fields = problem["fields"]
        .as_array()
        .unwrap_or_else(|| panic!("a 422 lists its fields: {problem}"));
    for field in fields {
        assert!(
            field["problem"]
                .as_str()
                .is_some_and(|problem| !problem.is_empty()),
            "{problem}"
        );
    }
    // A problem inside of a field is named by its path.
    let name = |field: &Value| {
        let name = field["field"].as_str().expect("a name").to_owned();
        name.split(['.', '[']).next().unwrap_or_default().to_owned()
    };
    fields.iter().map(name).collect()
}
