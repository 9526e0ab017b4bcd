//! The discovery API: backends register over HTTP, keep a lease alive with heartbeats, and leave;
//! operators list, change and drain them, and ask why a request would go where it goes, and what is in force.
//!
//! # The key decision: nothing of the wire reaches the core
//!
//! A request is parsed into the vocabulary of `edgeproxy-backend`, whose values are valid by their type,
//! or it is refused: there is no half-checked registration to pass on, and the registry needs no second
//! check. Parsing is our own code over JSON values, not a derived `Deserialize`, because a derived one
//! stops at the first bad field, and whoever writes a backend deserves to hear of all of them at once,
//! misspelt names included. Replies are types of this crate that borrow from the registry's.
//!
//! Every refusal is `application/problem+json` (RFC 9457) with a sentence that says what was found and
//! what to do. None changes anything.
//!
//! # Who is served
//!
//! Without tokens: peers on loopback and private networks. The address is the socket's, and no
//! forwarding header changes it, so a reverse proxy in front makes all of its clients private. With
//! [`Granted`]: whoever shows a token or a certificate, for what its role and its apps allow; nobody else, on loopback
//! either, sees more than that the process answers. What each endpoint takes is a list (`endpoint`) of which the router is
//! made, so that none can be without its need. Changing requests must be addressed to the listener's own name and must not
//! come from another site's page, whoever sends them.
//!
//! # What it says of itself
//!
//! [`openapi`] is its description, made of the same list and of the kinds of refusals; `GET /openapi.json` answers it, and a
//! page at `/docs` shows it.
//!
//! # What is written down
//!
//! Every change, and every attempt that was refused, can be written down ([`Audit`]).
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
//! # What it leaves to the caller
//!
//! Where to listen, when to stop ([`Handle::stop`](edgeproxy_control::Handle::stop) and
//! [`Readiness::drain`] first, then `shutdown`), what a pick is ([`Explain`]), what the
//! configuration is ([`Configured`]), reading the files of tokens and of TLS, and noticing that they have changed. Heads
//! that are no HTTP at all are refused by hyper, with a bare 400 or 431 and a closed connection.

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
