//! The data plane: accepts clients' connections, picks a backend for every request, forwards it and streams the answer back.
//!
//! # The key decision: workers share nothing but a table and counters
//!
//! Each worker is an OS thread with a current-thread tokio runtime, its own `SO_REUSEPORT` sockets and its own pools of
//! upstream connections. A request lives and dies on the thread that accepted its connection: no lock, no work stealing, no
//! wake-up across threads, and `Rc` instead of `Arc` for everything that a request holds.
//!
//! What workers share is either read-only (the [`RouteTable`], behind one [`ArcSwap`](arc_swap::ArcSwap)) or made of atomics (an
//! endpoint's [`Meter`](edgeproxy_backend::Meter), an app's [`RetryBudget`]). That keeps a hard limit exact, however many
//! workers there are. The price: a connection stays with its worker, however busy that is, and idle upstream connections are
//! not shared.
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
//! The head is checked. The [`Routes`], or the host where there are none, name the app ([`RouteTable::route`]). The app's
//! balancer proposes endpoints, and the first whose meter admits the request gets it. The request holds that place until the
//! answer's body has ended.
//!
//! The outcome goes to the meter. An answer is a success, whatever its status, unless that is one of
//! [`unhealthy_responses`](AppSettings::unhealthy_responses). No answer (refused, timed out, reset, malformed) is a failure. A
//! request that the client broke off counts as neither. What that means for the backend, if anything, goes to the
//! [`Reporter`].
//!
//! | what failed | tried again |
//! |---|---|
//! | connecting, TLS included, before a byte was sent | elsewhere, any method |
//! | a kept connection that was closed before the answer's first byte | once, on a fresh connection, if the request can be repeated |
//! | a stream that the backend refused or did not process (RFC 9113 §8.7) | elsewhere, or on a fresh connection; any method |
//! | sent, no answer | elsewhere, if the request can be repeated |
//! | an answer with a status of `unhealthy_responses` | as for no answer; if no other backend is free at once, the client gets it |
//! | the answer has begun | never: the client's connection (or HTTP/2 stream) is broken off |
//!
//! A request can be repeated if its method is idempotent and its body is within
//! [`replay_max_bytes`](AppSettings::replay_max_bytes), whatever its framing. The body is streamed at once and kept as it
//! passes, so a request that succeeds at the first attempt waits for nothing.
//!
//! # Routes
//!
//! Where there are routes, the narrowest one that matches decides, and a request that matches none is refused; the names of
//! apps play no part. Routes match the host, the path (whole segments, byte by byte as sent) and fields. A route may share its
//! requests among apps, replace its path prefix by another, and limit bodies; an app may add a prefix to every path. The query
//! and percent-encoding stay as they are. Where paths matter, one with a `.` or `..` segment in any disguise is refused, since
//! a backend could read it as another path than the one that was routed. Targets in absolute form are rewritten to the path
//! that they name; `OPTIONS *` belongs to the root and keeps its asterisk. TCP, and connections passed on by server name, follow
//! no route.
//!
//! # Hashing and stickiness
//!
//! An app may have [`Keys`]: what of a request `hash` uses, and what keeps a client with its backend: its address, a header, or
//! a cookie that the proxy sets. A client is bound to the backend that answered it. [`Keys`] says what counts where a request
//! carries several.
//!
//! [`decision_percent`](AppRoute::decision_percent) of an app's answers carry `X-Edgeproxy-Decision`, which says which backend
//! got the request and why, as a dictionary of structured fields (RFC 9651), such as `backend="b1", attempt=1,
//! algorithm=region_affinity, inner=least_connections, tier=0, why=below_soft`. `why` is `bound`, `below_soft` or
//! `above_soft`; `health` is `last_resort` or `panic`, and is there only if health was ignored.
//!
//! # TLS
//!
//! A [`Listener`] with [`Tls`] terminates it: the handshake comes first, within
//! [`handshake_timeout`](Config::handshake_timeout), and the codecs work on what is inside as they do on a socket. With
//! [`Protocol::Sni`] TLS is passed on unopened, by the server name in its first message. Backends of protocol `https` are
//! connected to with [`BackendTls`]; requests that came by HTTP/2 go on as HTTP/2 if the backend chooses it. The configurations
//! are rustls' own, made by the caller, and can be replaced while they are in use. A connection that ends without
//! `close_notify` has failed.
//!
//! # Interim responses
//!
//! 1xx responses are passed on as they come, before the final one and up to 32 for each attempt, but never to HTTP/1.0.
//! `Expect: 100-continue` is passed on, and answered as the backend answers it.
//!
//! # HTTP/2
//!
//! Whatever the client speaks, a request to a backend that registered as `h2c` is a stream on a connection that many requests
//! share, and a request to an HTTP/1.1 backend has a connection to itself. Streams are opened only once the backend's settings
//! have arrived. So a backend that doesn't speak HTTP/2 is found out before anything is sent to it, and no request is refused
//! for being one too many. Only HTTP/1.1 backends are asked to switch protocols (`Upgrade`, extended CONNECT).
//!
//! A gRPC call (`content-type: application/grpc`) gets the proxy's own errors in gRPC's form: status 200, `grpc-status`,
//! `grpc-message` and no body. UNAVAILABLE stands for 502, 503 and a connection that could not be made, DEADLINE_EXCEEDED for
//! the client's `grpc-timeout` or a time-out of the proxy, UNIMPLEMENTED for a missing app. `X-Edgeproxy-Error` has the words
//! of the table below. A call may be silent for as long as its own deadline allows; any other answer is broken off when its
//! backend pauses for longer than [`response_body_timeout`](AppSettings::response_body_timeout).
//!
//! Extended CONNECT with the protocol `websocket` (RFC 8441) becomes an HTTP/1.1 upgrade.
//!
//! A client is limited to [`max_streams`](Config::max_streams) at a time;
//! [`max_reset_streams`](Config::max_reset_streams) resets each second; 10,000 frames that ask for nothing and 1,000 more each
//! second, where a PING counts as 8 and SETTINGS as 16, not counting those that answer what the proxy wrote; a head as in
//! HTTP/1; and [`send_timeout`](Config::send_timeout) without reading. Beyond any of these its connection is closed, mostly with
//! ENHANCE_YOUR_CALM.
//!
//! # One TCP connection
//!
//! A [`Listener`] of [`Protocol::Tcp`] belongs to one app. A backend is picked, and connecting is tried again elsewhere, as for
//! a request. From then on bytes go both ways: through a small buffer that is held only while there is something in it, and by
//! `splice(2)` once a direction has proven bulky. When one side ends, that is passed on, and the other direction continues. A
//! reset of one side resets the other. So does anything else that cuts the connection short, since an orderly end would claim
//! that everything had been sent.
//!
//! # What clients are told
//!
//! The proxy's own answers are `application/problem+json` with `type`, `title`, `status` and `error` (a
//! sentence), `Server: edgeproxy`, and a word in `X-Edgeproxy-Error`:
//!
//! | word | status | |
//! |---|---|---|
//! | `bad_request` | 400 | the head, the framing, `Host`, the target or `Max-Forwards` is malformed or ambiguous, a routed path has dot segments, or the body broke off |
//! | `no_route` | 404 | no route matches; without routes: no app of that name |
//! | `method_not_allowed` | 405 | CONNECT |
//! | `request_timeout` | 408 | the head, or the body, came too slowly |
//! | `deadline_exceeded` | – | the own deadline of a gRPC call has passed; `grpc-status` is 4 |
//! | `expectation_failed` | 417 | `Expect` is not `100-continue` |
//! | `body_too_large`, `target_too_long`, `head_too_large` | 413, 414, 431 | a limit |
//! | `connect_failed`, `no_response`, `bad_response` | 502 | the backend refused, hung up, or sent nonsense |
//! | `tls_failed` | 502 | the TLS handshake with the backend failed: its certificate, or something else |
//! | `protocol_unknown` | 501 | extended CONNECT for another protocol than `websocket` |
//! | `refused` | 503 | the backend refuses streams of HTTP/2; with `Retry-After` |
//! | `overloaded` | 503 | this proxy has no descriptor, memory or local port left for a connection to a backend; with `Retry-After` |
//! | `no_backend` | 503 | none is routable; with `Retry-After` |
//! | `backends_full`, `queue_timeout` | 503 | all are at their hard limit, and the queue is full, or no place became free in time; with `Retry-After` |
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
//! Deciding which backends there are and whether they are well: that comes in as a table, and by the gates of the meters. Reading
//! certificates, and noticing when they change.
//!
//! # Clients that leave
//!
//! A FIN from an HTTP/1 client means that it sends no more requests, not that it has lost interest in the answer (RFC 9112 §9.6
//! leaves both open). So a client that has left is noticed by its reset, or when there is something to send to it.

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
