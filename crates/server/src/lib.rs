//! Joins the crates of edgeproxy into a running server. [`App::build`] binds the listeners, [`App::spawn`] starts the workers
//! and the control thread, [`Running::reload`] puts another configuration in force, and [`Running::drain`] ends it all.
//! Another process can take over without a refused connection: [`App::build_with`] takes the [sockets](Running::sockets) of
//! the one that [leaves](Running::leave).
//!
//! # The key decision: they meet nowhere else
//!
//! This is the only place where the data plane, the registry and the API meet. The registry's snapshots become the proxy's
//! routing table, the proxy's reports go into the registry's queue, and the API asks the table in force to explain itself. None
//! of the three knows another.
//!
//! ```
//! use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
//! use edgeproxy_config::Settings;
//! use edgeproxy_registry::Registration;
//! use edgeproxy_server::App;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let settings = Settings {
//!     listen_addr: Some("127.0.0.1:0".parse()?), // a port that is free
//!     api_enabled: true,
//!     api_listen_addr: "127.0.0.1:0".parse()?,
//!     ..Settings::default()
//! };
//! let running = App::build(settings.into())?.spawn()?;
//! println!("proxy on {}, API on {:?}", running.proxy_addr(), running.api_addr());
//!
//! // Backends register by the API, or from within. Once this resolves, every worker routes to it.
//! let backend = Backend::new(
//!     BackendId::parse("backend-eu-1")?,
//!     AppName::parse("shop")?,
//!     Region::parse("eu")?,
//!     Country::parse("DE")?,
//!     BackendAddr::parse("10.50.1.1", 8080)?,
//! );
//! running.handle().register(Registration { backend, ttl: None }).await?;
//!
//! // A program waits for a signal here.
//! running.drain().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Reading the settings, logging, signals, and the limits of the process. Also when to read the configuration again; the result
//! goes to [`Running::reload`].
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `etcd` | no | `store = "etcd://…"`, which several proxies share |
//! | `otlp` | no | requests as spans, sent to an OpenTelemetry collector |

mod app;
mod build_error;
mod control;
mod explain;
mod fleet;
mod geography;
mod grants;
mod in_force;
mod keys;
mod listening;
mod logs;
mod metrics;
mod monitors;
mod plan;
mod probe_tls;
mod probes;
mod publication;
mod publisher;
mod reload;
mod reporter;
mod routing;
mod shared_store;
mod sockets;
mod storage;
mod succession;
mod table;
mod tls;
mod traces;
mod translate;
mod watch;

pub use app::{App, Running, StateError};
pub use build_error::BuildError;
pub use edgeproxy_api::openapi;
pub use fleet::{compared, fleet};
pub use geography::{GeographyError, check_database};
pub use grants::{TokensError, granted};
pub use listening::{Listening, Serves};
pub use monitors::MonitorError;
pub use plan::PlanError;
pub use reload::{ReloadError, Trigger};
pub use routing::RoutingError;
pub use shared_store::check_store;
pub use sockets::{Brought, OpenSocket};
pub use succession::{Life, Predecessor, Successor};
pub use tls::{TlsError, TlsFault, certificates};
pub use watch::WatchedFile;
