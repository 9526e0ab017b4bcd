//! Certificates: parsed, checked, chosen by server name, and made into rustls configurations for both sides of a connection.
//!
//! # The key decision: everything is checked before any of it is used
//!
//! A certificate and a key make an [`Identity`] only if they parse and belong together, and a [`Server`] becomes a
//! configuration either as a whole or not at all. So whoever reloads files at run time has two finished configurations to
//! choose from, and keeps the old one when the new one can't be made.
//!
//! There is no I/O and no runtime: bytes go in, an `Arc` of rustls' own configuration comes out. The one exception is
//! [`Trust::system`], which reads the authorities that the system trusts. The crypto provider is aws-lc-rs, named in every
//! configuration, so that the process-wide default of rustls plays no part.
//!
//! ```
//! use edgeproxy_tls::{Alpn, Identity, Server};
//!
//! let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
//! let identity = Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())?;
//! assert_eq!(identity.names(), ["shop.example"]);
//! let config = Server { alpn: Alpn::Http, ..Server::new(identity)? }.build()?;
//! assert_eq!(config.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Reading files and noticing when they change, sockets, and what a refused peer is told.

mod anybody;
mod choice;
mod client;
mod identity;
mod server;
mod trust;

pub use client::{Client, ClientError};
pub use identity::{Identity, IdentityError, subjects};
pub use server::{Alpn, ClientAuth, Resumption, Server, ServerError, Version};
pub use trust::{Trust, TrustError};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What a text holds in place of what was expected, for messages.
fn sections(pem: &[u8]) -> String {
    let label = |line: &str| {
        let (label, _) = line.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
        Some(label.chars().take(40).collect::<String>())
    };
    if pem.is_empty() {
        return "is empty".to_owned();
    }
    let text = String::from_utf8_lossy(pem);
    let mut labels: Vec<String> = text.lines().filter_map(label).collect();
    labels.dedup();
    labels.truncate(4);
    if labels.is_empty() {
        "is not PEM".to_owned()
    } else {
        format!("holds {}", labels.join(", "))
    }
}
