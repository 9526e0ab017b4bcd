//! The configuration of edgeproxy: flags win over `EDGEPROXY_*` variables, those over `edgeproxy.toml`, and that over the
//! defaults.
//!
//! # The key decision: one list
//!
//! [`Settings::ALL`] is the only place where a setting is defined. Its key, variable, flag, default, help text and parser,
//! and the field of [`Settings`] that holds it, come from one entry and can't drift apart. `--help` and the reference are
//! printed from the same list. The price is a small macro; it replaces five lists that would have to agree.
//!
//! What only the file can say ([`Topology`]: apps, routes, backends, regions) is in tables, and each kind of table is a list of
//! keys as well. A setting that an app may override ([`Scope::App`]) becomes a key of `[apps.NAME]` by the same entry.
//! [`reference`](fn@reference) and [`schema`](fn@schema) are made from these lists.
//!
//! # All problems at once
//!
//! Reading never stops at the first fault, and a faulty file is refused as a whole: see [`ConfigError`]. What is allowed but
//! risky is not an error but a [`Finding`] of [`check`]. Everything except [`load`] is pure.
//!
//! ```
//! use edgeproxy_config::{ConfigFile, Layers};
//!
//! let file = ConfigFile { path: "edgeproxy.toml".into(), text: "spill = \"sotf\"\n".into() };
//! let error = Layers { file: Some(file), ..Layers::default() }.load().unwrap_err();
//! assert_eq!(error.to_string(), "\
//! the configuration has a problem:
//!
//! edgeproxy.toml:1:9: spill is \"sotf\"; expected \"hard\" or \"soft\"
//!   1 | spill = \"sotf\"
//!     |         ^^^^^^
//!   help: did you mean \"soft\"?
//! ");
//! ```
//!
//! # What it leaves to the caller
//!
//! Parsing the command line (values come in as text), applying the settings, and reporting the findings.

mod apigee;
mod app;
mod backend;
mod changes;
mod collector;
mod draft;
mod file;
mod finding;
mod fleet;
mod from_value;
mod kinds;
mod layers;
mod listeners;
mod paths;
mod policy;
mod problem;
mod reference;
mod region;
mod report;
mod route;
mod rules;
mod schema;
mod setting;
mod settings;
mod shape;
mod shared;
mod shown;
mod source;
mod status;
mod suggest;
mod table;
mod together;
mod topology;
mod types;
mod unclosed;
mod value;

pub use apigee::{ApigeeFile, ImportOptions, Imported, MAX_APIGEE_FILE_BYTES, import_apigee};
pub use app::{App, GrpcProbe, Health, HttpProbe, Picker, Picking, Probe, ProbeTls, TcpProbe};
pub use backend::StaticBackend;
pub use changes::{Changes, Frozen, Moved};
pub use collector::{CollectorUrl, TracesFollow};
pub use finding::{Finding, Severity};
pub use fleet::{
    Behaviour, Distribution, Fleet, FleetEvent, FleetMachine, FleetTraffic, Happening, Spacing, compare,
    fleet, fleet_reference, load_fleet,
};
pub use layers::{ConfigFile, Layers, Loaded, Origin, RawFlags};
pub use listeners::{Certificate, Listener, ListenerProtocol, ListenerTls};
pub use paths::PathPrefix;
pub use policy::{CookieName, Decimal, HashKey, HeaderName, Initial, Sticky};
pub use problem::{ConfigError, Place, Problem};
pub use reference::reference;
pub use region::{Geography, RegionTable};
pub use report::{Paint, Report};
pub use route::{BodyLimit, HeaderMatch, HostMatch, Overlap, Route, overlaps};
pub use rules::{Certified, GrantsFile, Rule, check, expiring, granting};
pub use schema::schema;
pub use setting::{API_ENV, CONFIG_DEFAULT, CONFIG_ENV, CONFIG_FLAG, Kind, Reload, Scope, Setting};
pub use settings::{AppSettings, Settings};
pub use shared::{LimitsScope, OwnName, StoreAddress, StoreKind, UserName};
pub use shown::Shown;
pub use source::{MAX_FILE_BYTES, file_path, load};
pub use status::StatusCodes;
pub use topology::Topology;
pub use types::{
    AccessLog, AccessLogFormat, Algorithm, AuditLog, ClientAuth, HealthMonitor, HostName, LastBackend,
    LogFilter, LogFormat, ProxyVersion, RegisterSource, Spill, TlsVersion, Workers,
};
