//! The discovery API, and the dashboard. Backends register over HTTP, keep a lease alive with heartbeats, and leave.
//! Operators list, change and drain them, ask why a request would go where it goes, and read which configuration is in
//! force.
//!
//! # The key decision: the wire format never reaches the core
//!
//! A request is either parsed into the vocabulary of `edgeproxy-backend`, whose values are valid by their type, or refused.
//! No half-checked registration is passed on, and the registry needs no second check. The parser is written by hand over
//! JSON values: a derived `Deserialize` stops at the first bad field, and the author of a backend deserves to hear of all of
//! them at once, misspelt names included. Replies are types of this crate that borrow from the registry's.
//!
//! Every refusal is `application/problem+json` (RFC 9457), with a sentence that says what was found and what to do. A refused
//! request changes nothing.
//!
//! # Who is served
//!
//! Without tokens, peers on loopback and in private networks may do everything. The peer's address is that of the socket, and
//! no forwarding header changes it: behind a reverse proxy in a private network, all of its clients count as private.
//!
//! With [`Granted`], a peer needs a token or a certificate and may do what its role and its apps allow. Everybody else,
//! loopback included, learns only that the process answers. The router is made from one list of endpoints (`endpoint`) that
//! names what each requires, so no endpoint can be without it. Changing requests must also be addressed to the
//! listener's own name and must not come from another site's page, whoever sends them.
//!
//! # Its description and its audit log
//!
//! [`openapi`] describes the API, and is made from the same list and from the kinds of refusals. `GET /openapi.json` serves it,
//! and a page at `/docs` shows it. [`Audit`] writes down every change and every attempt that was refused.
//!
//! ```
//! use std::sync::Arc;
//!
//! use edgeproxy_api::{ClientQuery, Explain, Explanation, State, serve};
//! use edgeproxy_backend::AppName;
//!
//! /// Nothing is balanced here, so there is nothing to explain.
//! struct NoTable;
//!
//! impl Explain for NoTable {
//!     fn explain(&self, _app: &AppName, _client: &ClientQuery) -> Option<Explanation> {
//!         None
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let (handle, driver) = edgeproxy_control::registry(edgeproxy_registry::Config::default());
//! let (_sender, reports) = edgeproxy_control::reports(1_024);
//! tokio::spawn(driver.run(reports, |_snapshot| (), |_event| ()));
//!
//! let state = State::new(handle, Arc::new(NoTable));
//! let readiness = state.readiness.clone();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! readiness.ready();
//! // A server waits for a signal here.
//! let shutdown = std::future::ready(());
//! serve(listener, state, shutdown).await
//! # })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Where things are
//!
//! | folder | holds |
//! |---|---|
//! | `endpoint` | the list of endpoints, and a file for each |
//! | `access`, `guard` | who a caller is and what it may do; what every request passes |
//! | `extract`, `problem` | what is read of a request; what it is told where it can't be served |
//! | `serve` | connections: accepted, shared out among networks, TLS around them |
//! | `events` | what has happened, as a stream |
//! | `openapi` | the description, made of the list |
//!
//! # What it leaves to the caller
//!
//! - Where to listen, and when to stop: [`Handle::stop`](edgeproxy_control::Handle::stop) and [`Readiness::drain`] first,
//!   then `shutdown`.
//! - What a pick is ([`Explain`]), and what the configuration is ([`Configured`]).
//! - Reading the files of tokens and certificates, and noticing when they change.
//!
//! A head that is not HTTP at all is refused by hyper itself, with a bare 400 or 431 and a closed connection.

mod access;
mod audit;
mod dto;
mod endpoint;
mod events;
mod extract;
mod figures;
mod guard;
mod openapi;
mod problem;
mod request_id;
mod requests;
mod router;
mod serve;
mod state;
mod terms;

pub use access::admission::{Admission, Source};
pub use access::{Access, Granted};
pub use audit::Audit;
pub use endpoint::configuration::{
    Configuration, Configured, LastReload, Layer, ReloadProblem, SettingInForce,
};
pub use endpoint::explain::{
    Balancing, ClientQuery, Explain, ExplainedCandidate, ExplainedClient, ExplainedTier, Explanation,
};
pub use endpoint::readiness::{Phase, Readiness};
pub use events::Events;
pub use figures::{AppFigures, BackendFigures, Figures, Metrics};
pub use openapi::openapi;
pub use requests::{Answered, Requests};
pub use router::router;
pub use serve::tls::Tls;
pub use serve::{serve, serve_until_left};
pub use state::{Bounds, State};
pub use terms::Terms;
