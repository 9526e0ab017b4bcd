//! What the end-to-end tests share: the real binary as a process ([`Edgeproxy`]), backends that misbehave on
//! command ([`Backend`]), can be killed ([`ChildBackend`]), are kept by an agent ([`AgentProcess`]) or are other people's
//! ([`ForeignBackend`]), and ways to speak to both ends ([`Client`], [`Wire`], [`Api`], [`curl`], [`Load`], [`foreign_client`]).
//!
//! The binary is a process of its own, reached through sockets alone, because that is what its users have:
//! nothing here links a crate of the product, so a test can't pass by sharing the product's mistake. Ports
//! are the system's choice, and the start-up log says which ones they are.
//!
//! Everything panics with a sentence on a fault, as a test should, and everything has a deadline: a hang is
//! a failed test, not a stuck one.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use edgeproxy_tests::{Backend, Client};
//!
//! let backend = Backend::start("b1").await;
//! let reply = Client::new(backend.addr()).get("any.example", "/").await.unwrap();
//! assert_eq!(reply.text(), "b1");
//! assert_eq!(backend.requests(), 1);
//! # });
//! ```
//!
//! Left to the caller: building the binary (`cargo build -p edgeproxy`); `EDGEPROXY_BIN` names another one.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

mod agent;
mod api;
mod backend;
mod child_backend;
mod client;
mod curl;
mod deadline;
mod edgeproxy;
mod etcd;
mod foreign;
mod load;
mod logs;
mod outside;
pub mod page;
mod relay;
mod reply;
mod tmux;
mod vitals;
mod wire;

pub use agent::{AgentProcess, FreePort};
pub use api::{Api, Registration};
pub use backend::{Backend, Behaviour, PROBE_PATH, Responder, Seen};
pub use child_backend::ChildBackend;
pub use client::Client;
pub use curl::{curl, shell};
pub use deadline::{PATIENCE, eventually, within};
pub use edgeproxy::{Edgeproxy, Refused, Setup};
pub use etcd::Etcd;
pub use foreign::{ForeignBackend, foreign_client, has, is_installed};
pub use load::{Load, Tally, spread};
pub use logs::{Listener, Logs};
pub use outside::{block_on, outside};
pub use relay::{Passing, Relay};
pub use reply::Reply;
pub use tmux::Tmux;
pub use vitals::{Vitals, closed, settled};
pub use wire::Wire;

/// The path of a binary that was built beside the running test.
fn built(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let deps = test.parent().expect("the running test lies in a folder");
    let folder = if deps.ends_with("deps") {
        deps.parent().expect("deps lies in a folder")
    } else {
        deps
    };
    folder.join(name)
}
