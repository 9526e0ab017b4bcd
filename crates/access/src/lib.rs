//! Who may use the API, and for what: a file names tokens and clients' certificates, each with a role and the apps
//! that it is for.
//!
//! # The key decision: a token is looked up by its digest
//!
//! The file holds digests, `sha256:` and 64 hex digits, and no token. What a client shows is hashed before anything is
//! compared, so that no comparison ever sees a byte of a token: the table is keyed by a hash of the digest that is
//! made with a random key of this process, and the one entry that it proposes is compared with the whole digest in
//! constant time. How long that takes depends on the length of what was shown, and on nothing else of it. It costs the
//! same with one token and with ten thousand.
//!
//! A plain SHA-256 is enough because tokens are random: there is no dictionary to try, and 2^128 guesses are none. That is
//! why [`Token::parse`] refuses short ones, and why none is derived from a password. The digest has a prefix of its
//! own, so that the digest of the same text in another system's file is worth nothing here.
//!
//! No I/O and no clock: text comes in, and the caller says what time it is.
//!
//! ```
//! use edgeproxy_access::{AppPattern, Entry, Grants, Role, Token};
//! use edgeproxy_backend::AppName;
//!
//! let token = Token::generate()?;
//! let entry = Entry::new("shop-agents", Role::Register, AppPattern::parse("shop-*")?, token.digest());
//! let grants = Grants::parse(&entry.to_string())?;
//!
//! let grant = grants.of_token(token.reveal().as_bytes()).expect("it is in the file");
//! assert_eq!((grant.name(), grant.role), ("shop-agents", Role::Register));
//! assert!(grant.apps.covers(&AppName::parse("shop-eu")?));
//! assert!(grants.of_token(b"another").is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it leaves to the caller
//!
//! Reading the file and noticing that it has changed; what an endpoint needs; verifying certificates; slowing down who
//! guesses.

mod digest;
mod entry;
mod file;
mod grant;
mod grants;
mod pattern;
mod role;
mod time;
mod token;

pub use digest::{Digest, DigestError};
pub use entry::Entry;
pub use file::{Fault, GrantsError};
pub use grant::{Grant, Kind, NameError, Unusable};
pub use grants::Grants;
pub use pattern::{AppPattern, PatternError};
pub use role::{Role, RoleError};
pub use time::{UnixSecs, UnixSecsError};
pub use token::{NoRandomness, Token, TokenError};
