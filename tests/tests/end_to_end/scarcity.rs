//! A proxy that may open few files, under load: what it does with those it has, and that no backend pays for it.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeproxy_tests::{Api, Backend, Behaviour, Edgeproxy, Load, Registration, Tally};
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Of each app.
const BACKENDS: usize = 6;
/// A few for each backend. Each has one request under way, which needs two descriptors.
const CLIENTS: usize = 30;

/// Two apps with backends of their own. Five failures take one out, and nobody probes.
struct Scene {
    edgeproxy: Edgeproxy,
    api: Api,
    _backends: Vec<Backend>,
}

impl Scene {
    async fn start() -> Self {
        let edgeproxy = Edgeproxy::setup()
            .set("WORKERS", "2")
            .set("ALGORITHM", "round_robin")
            .set("MAX_FAILURES", "5")
            .start()
            .await;
        let mut api = edgeproxy.api();
        let mut backends = Vec::new();
        for (app, number) in ["one", "two"]
            .into_iter()
            .flat_map(|app| (0..BACKENDS).map(move |number| (app, number)))
        {
            let id = format!("{app}-{number}");
            let backend = Backend::start(&id).await;
            // So that requests are under way at the same time.
            backend.behave(Behaviour::AnswerAfter(Duration::from_millis(5)));
            api.register_new(&Registration::new(&id, app, backend.addr()))
                .await;
            backends.push(backend);
        }
        Self {
            edgeproxy,
            api,
            _backends: backends,
        }
    }

    async fn load(&self, app: &str, requests: u64) -> Tally {
        Load::limited(self.edgeproxy.proxy(), Method::GET, app, CLIENTS, requests)
            .done()
            .await
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.edgeproxy.id()).ok().and_then(Pid::from_raw);
        id.expect("a process id is a positive i32")
    }

    /// Lets it open so many files more. What the limit was before.
    fn leave(&self, room: usize) -> Rlimit {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.edgeproxy.id())).expect("it runs");
        let open: BTreeSet<u64> = open
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // The limit is a number that none may have, and numbers are given out from below.
        let first_refused = (0..).filter(|number| !open.contains(number)).nth(room);
        self.limit(Rlimit {
            current: first_refused,
            maximum: getrlimit(Resource::Nofile).maximum,
        })
    }

    fn limit(&self, to: Rlimit) -> Rlimit {
        prlimit(Some(self.pid()), Resource::Nofile, to).expect("a child's limit can be set")
    }

    /// Every backend may have requests, and none has failed one.
    async fn nobody_is_blamed(&mut self) {
        let page = self.api.get("/api/v1/backends").await.expect(200).json();
        for backend in page["backends"].as_array().expect("a page has backends") {
            assert_eq!(backend["state"], "routable", "{backend}");
        }
        let page = self.api.get("/metrics").await.expect(200);
        for line in page
            .text()
            .lines()
            .filter(|l| l.starts_with("edgeproxy_backend_failures_total{"))
        {
            assert!(line.contains(r#"kind="own_fault""#), "{line}");
        }
    }
}

#[tokio::test]
async fn what_is_idle_makes_room_for_requests() {
    let mut scene = Scene::start().await;
    let tally = scene.load("one", 1_000).await;
    assert_eq!((tally.ok, tally.failed), (1_000, 0), "{tally:?}");
    // Room for the clients, and for few of the connections that their requests need.
    scene.leave(CLIENTS + 6);
    let tally = scene.load("two", 2_000).await;
    assert_eq!((tally.ok, tally.failed), (2_000, 0), "{tally:?}");
    scene.nobody_is_blamed().await;
}

#[tokio::test]
async fn with_a_quarter_of_the_descriptors_too_few_all_are_answered_and_nobody_is_blamed() {
    let mut scene = Scene::start().await;
    let before = scene.leave(CLIENTS + CLIENTS / 2);
    let tally = scene.load("two", 2_000).await;
    assert_eq!((tally.ok, tally.failed), (2_000, 0), "{tally:?}");
    scene.limit(before);
    let tally = scene.load("one", 1_000).await;
    assert_eq!((tally.ok, tally.failed), (1_000, 0), "{tally:?}");
    scene.nobody_is_blamed().await;
}
