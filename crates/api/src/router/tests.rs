//! The tables of `spec/discovery-api.md`, row by row, through the router and a running registry.

mod access;
mod audited;
mod configuration;
mod configured;
mod described;
mod endpoints;
mod errors;
mod events;
mod fuzz;
pub(crate) mod granted;
mod matrix;
mod page;
mod reading;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use edgeproxy_backend::AppName;
use edgeproxy_control::{Handle, registry, reports};
use edgeproxy_registry::Config;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    Access, Admission, Balancing, Bounds, ClientQuery, Events, Explain, ExplainedCandidate, ExplainedClient,
    ExplainedTier, Explanation, Readiness, Terms,
};

/// A router over a running registry.
pub(crate) struct Fixture {
    pub(crate) router: Router,
    pub(crate) handle: Handle,
    readiness: Readiness,
    events: Events,
    peer: SocketAddr,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// What a test wants otherwise.
#[derive(Default)]
struct Setup {
    config: Config,
    access: Access,
    admission: Admission,
    bounds: Bounds,
    configuration: Option<Arc<dyn crate::Configured>>,
    events: Events,
}

/// Explains by the listing alone.
struct Listing(Handle);

impl Explain for Listing {
    fn explain(&self, app: &AppName, client: &ClientQuery) -> Option<Explanation> {
        let members = self.0.app(app)?;
        let candidates: Vec<ExplainedCandidate> = members
            .iter()
            .enumerate()
            .map(|(at, status)| ExplainedCandidate {
                elsewhere: 0,
                id: status.endpoint.id.clone(),
                tier: Some(0),
                state: status.state.to_string(),
                weight: status.endpoint.weight.get(),
                effective_weight: f64::from(status.endpoint.weight.get()),
                in_flight: status.endpoint.meter.in_flight(),
                soft_limit: status.endpoint.limits.soft(),
                hard_limit: status.endpoint.limits.hard(),
                score: None,
                picked: at == 0,
                why: "the first".to_owned(),
            })
            .collect();
        Some(Explanation {
            app: app.clone(),
            algorithm: "round_robin".to_owned(),
            client: ExplainedClient {
                ip: client.ip,
                country: client.country,
                region: client.region,
            },
            bound: client
                .sticky
                .as_deref()
                .and_then(|id| members.iter().find(|status| status.endpoint.id.as_str() == id))
                .map(|status| status.endpoint.id.clone()),
            ignores_health: false,
            tiers: vec![ExplainedTier {
                tier: 0,
                name: "all".to_owned(),
                candidates: candidates.len(),
                why: "has room".to_owned(),
            }],
            picked: candidates.first().map(|first| first.id.clone()),
            candidates,
            error: None,
        })
    }

    fn balancing(&self, _: &AppName) -> Option<Balancing> {
        Some(Balancing {
            algorithm: "region_affinity".to_owned(),
            spill: "hard".to_owned(),
        })
    }
}

pub(crate) fn state(handle: &Handle) -> State {
    State::new(handle.clone(), Arc::new(Listing(handle.clone())))
}

impl Fixture {
    fn new() -> Self {
        Self::with(Setup::default())
    }

    fn with(setup: Setup) -> Self {
        let (fixture, driver) = Self::without_driver(setup);
        let events = fixture.events.clone();
        let (sender, reports) = reports(16);
        tokio::spawn(async move {
            let _open = sender;
            driver.run(reports, |_| (), |event| events.tell(event)).await;
        });
        fixture
    }

    /// Nothing is ever published.
    fn without_driver(setup: Setup) -> (Self, edgeproxy_control::Driver) {
        let (handle, driver) = registry(setup.config);
        let readiness = Readiness::starting();
        let state = State {
            readiness: readiness.clone(),
            terms: Terms::new(setup.admission, setup.access, setup.bounds),
            configuration: setup.configuration,
            events: setup.events.clone(),
            bounds: setup.bounds,
            ..state(&handle)
        };
        (
            Self {
                router: router(state),
                handle,
                readiness,
                events: setup.events,
                peer: ([127, 0, 0, 1], 50_000).into(),
            },
            driver,
        )
    }

    /// Sends a request as it is, as from the fixture's peer.
    async fn request(&self, mut request: Request) -> Reply {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let media = parts
            .headers
            .get("content-type")
            .map(|value| value.to_str().unwrap());
        let body = if media.is_some_and(|media| media.contains("json")) {
            let bytes = body.collect().await.unwrap().to_bytes();
            // Of a HEAD there is none.
            if bytes.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&bytes).unwrap()
            }
        } else {
            // A stream, which wouldn't end, or a part of the page.
            Value::Null
        };
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        reply.check();
        described::check(&method, &path, &reply);
        reply
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", "localhost:8081");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Body::empty()).await
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.send(
            method,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    async fn register(&self, body: &Value) -> Reply {
        self.json("POST", "/api/v1/register", body).await
    }

    /// Registers `id` and expects it to be new.
    async fn registered(&self, id: &str) {
        let reply = self.register(&registration(id)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }

    /// Everything that a client can see of the backends.
    async fn listing(&self) -> Value {
        self.get("/api/v1/backends").await.body
    }
}

impl Reply {
    /// What holds for every answer.
    #[track_caller]
    fn check(&self) {
        let may_be_kept =
            self.headers.contains_key("etag") && self.headers.contains_key("content-security-policy");
        let expected = if may_be_kept { "no-cache" } else { "no-store" };
        assert_eq!(self.headers["cache-control"], expected);
        if self.status.is_success() || self.body.is_null() {
            return;
        }
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], self.status.as_u16());
        let kind = Kind::ALL.iter().find(|kind| self.body["type"] == kind.uri());
        let kind = kind.unwrap_or_else(|| panic!("{}", self.body));
        assert_eq!(
            (kind.status(), &self.body["title"]),
            (self.status, &kind.title().into())
        );
        assert!(
            self.error().len() > 8 && self.error().len() < 500,
            "{}",
            self.body
        );
        let fields = self.body.get("fields").map(|fields| fields.as_array().unwrap());
        assert_eq!(fields.is_some(), self.status == 422, "{}", self.body);
        for field in fields.into_iter().flatten() {
            assert!(
                field["field"].is_string() && !field["problem"].as_str().unwrap().is_empty(),
                "{field}"
            );
        }
        let may_retry = self.status == 503 || self.status == 429;
        assert_eq!(self.headers.contains_key("retry-after"), may_retry);
    }

    fn error(&self) -> &str {
        self.body["error"].as_str().unwrap()
    }

    fn fields(&self) -> Vec<&str> {
        let fields = self.body["fields"].as_array().unwrap();
        fields
            .iter()
            .map(|field| field["field"].as_str().unwrap())
            .collect()
    }

    fn members(&self) -> Vec<&str> {
        members(&self.body)
    }
}

fn members(value: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

/// The seed's example, under another id.
pub(crate) fn registration(id: &str) -> Value {
    json!({
        "id": id, "app": "myapp", "region": "eu", "ip": "10.50.1.1", "port": 8080, "weight": 2,
        "soft_limit": 100, "hard_limit": 150
    })
}
