//! Who may use the API, and for what. A file lists tokens and client certificates, each with a role and the apps that it
//! is for; this crate parses that file and answers what a token or a certificate grants.
//!
//! # The key decision: a token is looked up by its digest
//!
//! The file holds digests (`sha256:` and 64 hex digits), never tokens. Whatever a client shows is hashed before anything is
//! compared, so no comparison ever sees a byte of a token. The digest is looked up in a hash table that is keyed at random
//! for each process, and the one entry found is compared with the whole digest in constant time. How long that takes depends
//! on the length of what was shown and on nothing else about it, and it costs the same with ten thousand tokens as with one.
//!
//! Plain SHA-256 is enough because tokens are random: there is no dictionary to try, and nobody makes 2^128 guesses. That is
//! why [`Token::parse`] refuses short tokens, and why none is derived from a password. A prefix of our own goes into the
//! digest, so that the digest of the same text in another system's file is worthless here.
//!
//! There is no I/O and no clock: the caller passes in the text of the file, and the time.
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
//! Reading the file and noticing when it changes, deciding which role an endpoint needs, verifying certificates, and
//! slowing down whoever guesses.

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
