//! For backends: registers a service with edgeproxy, keeps its lease alive with heartbeats, and takes it out of rotation
//! before it stops.
//!
#![cfg_attr(feature = "driver", doc = "```no_run")]
#![cfg_attr(not(feature = "driver"), doc = "```ignore")]
//! use std::num::NonZeroU16;
//! use std::time::Duration;
//! use edgeproxy_agent::{Agent, LoadReport, Registration};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let port = NonZeroU16::new(8080).ok_or("a port is not 0")?;
//! let registration = Registration::new("shop-1".parse()?, "shop".parse()?, "eu".parse()?, port);
//! let agent = Agent::builder()
//!     .api("http://10.0.0.1:8081".parse()?)
//!     .api("http://10.0.0.2:8081".parse()?) // another proxy of the same registry
//!     .drain(Duration::from_secs(30))
//!     .start(registration)?; // once the port is open
//! agent.registered().await?; // requests come from now on
//! agent.report(LoadReport { utilization: Some(0.7), ..LoadReport::default() });
//! // … serve, until it is time to stop …
//! agent.leave().await; // resolves when nothing is in flight any more
//! # Ok(())
//! # }
//! ```
//!
//! # The key decision: what decides holds no socket
//!
//! Sending a heartbeat is easy. Doing the right thing when it fails is not: which answers to try again, where and when;
//! what to do when the API has forgotten the backend, when somebody else has its id, or when the process has to stop in the
//! middle of a registration. [`Session`] decides all that, as a state machine that is told the time and the answers. So a
//! test plays an outage of five minutes in a millisecond, and a simulation finds the order of events that breaks it. The
//! driver (feature `driver`) only sends what the session says. One of your own can do the same:
//!
//! ```
//! use std::num::NonZeroU16;
//! use std::time::Duration;
//! use edgeproxy_agent::{Answer, Ask, Body, Event, Reply, Session, Settings};
//! use edgeproxy_backend::MonoTime;
//!
//! let mut now = MonoTime::from_secs(0); // from the caller's clock
//! let port = NonZeroU16::new(8080).ok_or("a port is not 0")?;
//! let mut session = Session::new(Settings { apis: 2, ip: None, port, seed: 7 });
//! session.join(now);
//! let first = session.poll_request().ok_or("it registers at once")?;
//! assert_eq!((first.api, first.ask), (0, Ask::Register(None)));
//!
//! // The first API can't be reached, so the next one is asked.
//! session.handle_answer(now, Answer::Unreachable("connection refused".into()));
//! now = session.poll_timeout().unwrap_or(now);
//! session.handle_timeout(now);
//! let second = session.poll_request().ok_or("and again elsewhere")?;
//! assert_eq!((second.api, second.ask), (1, Ask::Register(None)));
//! session.handle_answer(now, Answer::Reply(Reply {
//!     status: 201,
//!     retry_after: None,
//!     ip: Some([10, 0, 0, 7].into()), // the address that it was sent with
//!     body: Body::parse(br#"{"incarnation": 4, "heartbeat_interval_secs": 20}"#),
//! }));
//! assert!(std::iter::from_fn(|| session.poll_event()).any(|event| matches!(event, Event::Registered { .. })));
//! assert_eq!(session.interval(), Some(Duration::from_secs(20))); // and heartbeats follow by poll_timeout
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! - Starting it only once the backend can serve: a registered backend gets requests at once.
//! - Calling [`leave`](Agent::leave) before the backend stops. Dropping an `Agent` only ends its heartbeats, and the lease
//!   runs out (after a minute by default): a destructor can't wait for an answer, `leave` can.
//! - A tokio runtime for the driver, of either flavour.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `driver` | yes | `Agent` on tokio, with hyper. Without it there is only the session, and what it reads and writes |
//! | `tls` | no | APIs at `https://`, by rustls with aws-lc, which needs a C compiler |
//!
//! The binary `edgeproxy-agent` does all this for a server written in any language.

mod answer;
mod api_url;
#[cfg(feature = "driver")]
mod driver;
mod jitter;
mod registration;
mod session;

pub use answer::{Answer, Body, Reply};
pub use api_url::{ApiUrl, ApiUrlError};
#[cfg(feature = "driver")]
pub use driver::{Agent, Builder, Membership, NotRegistered, StartError, own_ips};
#[cfg(feature = "tls")]
pub use driver::{Trust, TrustError};
pub use registration::{LoadReport, Registration, heartbeat_body};
pub use session::{Ask, Departure, Event, Request, Session, Settings};
