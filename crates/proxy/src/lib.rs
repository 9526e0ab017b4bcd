//! The data plane: it accepts clients' connections, picks a backend for every request, forwards the request
//! and streams the answer back.
//!
//! # The key decision: a worker is a thread that shares nothing
//!
//! Each worker is an OS thread with a current-thread tokio runtime, its own `SO_REUSEPORT` sockets, its own
//! pools of upstream connections. A request lives and dies on the thread that
//! accepted its connection: no lock, no work stealing, no wake-up across threads, and `Rc` instead of `Arc`
//! for everything that a request holds. What workers do share is read-only (the [`RouteTable`], behind one
//! [`ArcSwap`](arc_swap::ArcSwap)) or made of atomics (an endpoint's
//! [`Meter`](edgeproxy_backend::Meter), an app's [`RetryBudget`]), which is what keeps a hard limit exact whatever their
//! number. The price: a connection stays with its worker, however busy that is, and idle upstream connections are not
//! shared.
//!
//! ```
//! use std::sync::Arc;
//! use arc_swap::ArcSwap;
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation};
//! use edgeproxy_backend::{MonoTime, Region, TrafficReport};
//! use edgeproxy_balance::{Balancer, Candidate, Policy};
//! use edgeproxy_proxy::{AppRoute, Config, Listener, RouteTable, SharedTable, bind};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let table: SharedTable = Arc::new(ArcSwap::from_pointee(RouteTable::default()));
//! let reporter = Arc::new(|report: TrafficReport| { /* into a bounded queue */ drop(report) });
//! let config = Config { listeners: vec![Listener::http("127.0.0.1:0".parse()?)], workers: 1, ..Config::default() };
//! let bound = bind(config)?;
//! println!("listening on {}", bound.local_addr());
//! let running = bound.spawn(Arc::clone(&table), reporter)?;
//!
//! // Whenever it has changed who there is:
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("shop")?,
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! let endpoint = Arc::new(Endpoint::new(backend, Incarnation::FIRST));
//! let candidates = vec![Candidate::new(endpoint)];
//! let app = AppRoute {
//!     balancer: Balancer::prepare(&Policy::default(), candidates, MonoTime::ZERO, None),
//!     ..AppRoute::new(AppName::parse("shop")?)
//! };
//! table.store(Arc::new(RouteTable::new(1, [Arc::new(app)], Arc::default())));
//! running.table_changed();
//!
//! // On SIGTERM:
//! running.drain();
//! running.stopped().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One request
//!
//! Its head is checked, an app is found by the [`Routes`] or, where there are none, by its host
//! ([`RouteTable::route`]), its balancer proposes endpoints, and the
//! first whose meter admits the request gets it. The place is held until the answer's body has come to its end. The
//! outcome goes to the meter: an answer of any status is a success, and no answer (refused, timed out, reset,
//! malformed) a failure, and so is one with a status of
//! [`unhealthy_responses`](AppSettings::unhealthy_responses); what the client broke off counts for neither. What that means for the backend, if
//! anything, goes to the [`Reporter`].
//!
//! | what failed | tried again |
//! |---|---|
//! | connecting, TLS included, before a byte was sent | elsewhere, any method |
//! | a kept connection that was closed before the answer's first byte | once, on a fresh connection, if the request can be repeated |
//! | a stream that the backend refuses or did not look at (RFC 9113 §8.7) | elsewhere, or on a fresh connection; any method |
//! | sent, no answer | elsewhere, if the request can be repeated |
//! | an answer with a status of `unhealthy_responses` | as no answer; where nobody else is there at once, the client gets it |
//! | the answer has begun | never: the client's connection (or HTTP/2 stream) is broken off |
//!
//! A request can be repeated if its method is idempotent and its body is within
//! [`replay_max_bytes`](AppSettings::replay_max_bytes), whatever its framing: the body is streamed at once and
//! kept as it passes, so a request that succeeds at once waits for nothing.
//!
//! # Routes
//!
//! With routes, a request goes where the narrowest one says that is for it, or nowhere: the names of apps play no part
//! then. What is looked at is the host, the path in whole segments, byte by byte as it was sent, and fields. The route may
//! share its requests among apps, put another prefix in the place of its own, and bound bodies; the app may put a prefix
//! before everything. The query and what is encoded stay as they are. Where paths matter, one with a segment `.` or `..`,
//! in any disguise, is refused, since a backend could take it for another path than the one that was routed. Targets in
//! absolute form are rewritten as the path that they name; `OPTIONS *` belongs to the root and keeps its asterisk.
//! Connections passed on by their server name, and TCP, follow no route.
//!
//! # Clients that are known
//!
//! An app may have [`Keys`]: what of a request `hash` goes by, and by what its client stays with its backend: its address,
//! a header, or a cookie that the proxy sets. A client is bound to whoever has answered it. See there for what counts where a
//! request says several things.
//!
//! [`decision_percent`](AppRoute::decision_percent) of an app's answers say by `X-Edgeproxy-Decision` whom the request went
//! to and why, as a dictionary of structured fields (RFC 9651), such as `backend="b1", attempt=1,
//! algorithm=region_affinity, inner=least_connections, tier=0, why=below_soft`. `why` is `bound`, `below_soft` or
//! `above_soft`, and `health` is there if that was passed over: `last_resort` or `panic`.
//!
//! # TLS
//!
//! A [`Listener`] with [`Tls`] ends it: the handshake comes before everything, within
//! [`handshake_timeout`](Config::handshake_timeout), and the codecs work on what is inside as they do on a socket.
//! Of [`Protocol::Sni`] it passes TLS on unopened, by the server name of the first message. Backends of protocol
//! `https` are connected to by [`BackendTls`]; what comes by HTTP/2 goes on so if they choose it. The
//! configurations are rustls' own, made by the caller, and can be replaced while they are in use. The end of a
//! connection without `close_notify` is a failure.
//!
//! # Interim responses
//!
//! Responses of 1xx pass, up to 32 for each attempt, as they come and before the final one; never to HTTP/1.0.
//! `Expect: 100-continue` is passed on and answered as the backend does.
//!
//! # HTTP/2
//!
//! A request goes to a backend that has registered as `h2c` as a stream of a connection that many share, and to one of
//! HTTP/1.1 on a connection of its own, whatever the client speaks. A backend is sent streams only once its settings
//! have come: so what doesn't speak HTTP/2 is found out before anything was sent to it, and no request is refused for
//! being one too many. To switch the protocol (`Upgrade`, extended CONNECT) is asked of HTTP/1.1 backends alone.
//!
//! A call of gRPC (`content-type: application/grpc`) is told of the proxy's own errors as gRPC tells them: status 200,
//! `grpc-status` and `grpc-message` and no body. UNAVAILABLE is where 502, 503 and a connection that could not be made
//! would be, DEADLINE_EXCEEDED where the client's `grpc-timeout` or a time-out of the proxy has passed, UNIMPLEMENTED
//! where there is no app. The word in `X-Edgeproxy-Error` is the one of the table below. A call may be silent for as
//! long as its own deadline allows; any other answer is broken off when its backend pauses for longer than
//! [`response_body_timeout`](AppSettings::response_body_timeout).
//!
//! Extended CONNECT with the protocol `websocket` (RFC 8441) becomes an upgrade of HTTP/1.1.
//!
//! What a client may cost: [`max_streams`](Config::max_streams) at a time;
//! [`max_reset_streams`](Config::max_reset_streams) resets each second; 10,000 frames that ask for nothing and 1,000
//! more each second, where a PING counts as 8 and SETTINGS as 16, besides those that answer what was written; a head
//! as of HTTP/1; and [`send_timeout`](Config::send_timeout) without taking anything. Beyond that its connection is
//! closed, mostly with ENHANCE_YOUR_CALM.
//!
//! # One TCP connection
//!
//! A [`Listener`] of [`Protocol::Tcp`] goes to one app. A backend is picked as for a request, connecting is
//! tried again elsewhere as for a request, and from then on bytes go both ways: through a small buffer that is
//! held only while there is something in it, and by `splice(2)` once a direction has proven bulky. The end of
//! one side is passed on and the other direction goes on; a reset of one side resets the other. So does
//! whatever else cuts the connection short, since an end in peace would say that all had been said.
//!
//! # What clients are told
//!
//! The proxy's own answers are `application/problem+json` with `type`, `title`, `status` and `error` (a
//! sentence), `Server: edgeproxy`, and a word in `X-Edgeproxy-Error`:
//!
//! | word | status | |
//! |---|---|---|
//! | `bad_request` | 400 | the head, the framing, `Host`, the target or `Max-Forwards` is malformed or ambiguous, a routed path has dot segments, or the body broke off |
//! | `no_route` | 404 | no route is for it; without routes: no app of that name |
//! | `method_not_allowed` | 405 | CONNECT |
//! | `request_timeout` | 408 | the head, or the body, came too slowly |
//! | `deadline_exceeded` | – | a gRPC call's own deadline has passed; `grpc-status` is 4 |
//! | `expectation_failed` | 417 | `Expect` is not `100-continue` |
//! | `body_too_large`, `target_too_long`, `head_too_large` | 413, 414, 431 | a limit |
//! | `connect_failed`, `no_response`, `bad_response` | 502 | the backend refused, hung up, or sent nonsense |
//! | `tls_failed` | 502 | the TLS handshake with the backend failed: its certificate, or something else |
//! | `protocol_unknown` | 501 | extended CONNECT for another protocol than `websocket` |
//! | `refused` | 503 | the backend refuses streams of HTTP/2; with `Retry-After` |
//! | `overloaded` | 503 | this proxy has no descriptor, memory or local port left for a connection to a backend; with `Retry-After` |
//! | `no_backend` | 503 | none is routable; with `Retry-After` |
//! | `backends_full`, `queue_timeout` | 503 | all are at their hard limit, and the queue is full, or the time to wait in it is over; with `Retry-After` |
//! | `connect_timeout`, `response_timeout` | 504 | the backend is too slow |
//! | `http_version` | 505 | neither HTTP/1.0, 1.1 nor 2 |
//! | `loop_detected` | 508 | `Via` names this proxy, or more than 32 |
//!
//! # Where things are
//!
//! | folder | holds |
//! |---|---|
//! | `listen` | sockets bound, connections accepted and counted, the protocol found out |
//! | `http1`, `http2`, `tcp` | what is particular to one protocol |
//! | `request`, `headers`, `route` | what a request says, what becomes of its fields, where it goes; no I/O |
//! | `exchange` | a request from its head to its answer's end: pick, queue, attempts, retries, bodies, the proxy's own answers |
//! | `upstream` | connections to backends: made, kept, and an attempt on each |
//! | `transport` | bytes in the clear or inside TLS, and the memory for them |
//! | `worker` | a thread of the data plane: its time, its timers, what it does when something runs out |
//! | `telemetry` | access log, counts, spans, reports |
//! | `config` | what it is told, and how that changes while it runs |
//!
//! # What it leaves to the caller
//!
//! Which backends there are and whether they are well is decided elsewhere, and comes in as a table and by
//! gates. Reading certificates, and noticing that they have changed, is the caller's as well.
//!
//! An HTTP/1 client's FIN is taken for the end of its requests, not of its interest (RFC 9112 §9.6 leaves both open), so
//! one that has left is noticed by its reset, or when there is something to send to it.

mod config;
mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod http1;
mod http2;
mod listen;
#[cfg(all(test, edgeproxy_loom))]
mod models;
mod outbound;
mod request;
mod route;
mod sync;
mod tcp;
mod telemetry;
mod transport;
mod upstream;
mod worker;

pub use config::Config;
pub use config::listener::{Listener, Protocol, ProxyVersion};
pub use config::prepared::{PrepareError, Prepared};
pub use config::settings::{AppSettings, Statuses};
pub use exchange::queue::Queue;
pub use exchange::retry::RetryBudget;
pub use listen::bind::{BindError, Bound, bind, bind_with, without_listeners};
pub use outbound::{BoxError, CalledFrom, Outbound, OutboundBody, OutboundError};
pub use request::keys::{Brought, CookieName, CookieNameError, HashKey, Keys, Sticky, StickyCookie};
pub use request::origin::Locate;
pub use route::{
    AppRoute, BodyLimit, FieldPattern, HostPattern, PathPrefix, PathPrefixError, Route, RouteTable, Routes,
    SharedTable,
};
pub use telemetry::access_log::{AccessLog, LineFormat, LineSink};
pub use telemetry::counts::{
    AppTotals, AppTraffic, BREACHES, BackendTotals, BackendTraffic, CLASSES, Counted, FAILURES,
    ListenerTraffic, REASONS, TURNED_AWAY, Traffic, WorkerTraffic,
};
pub use telemetry::report::Reporter;
pub use telemetry::traces::{AttemptSpan, Follow, RequestSpan, SpanSink, Tracing};
pub use transport::tls::{BackendTls, Tls};
pub use worker::running::{Running, SpawnError};
