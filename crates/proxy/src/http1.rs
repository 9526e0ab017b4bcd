//! HTTP/1 to HTTP/1: the data plane's main path, on a codec of its own.
//!
//! # The key decision: one task owns both sockets
//!
//! A client's connection is one task, which borrows a backend's socket for as long as a request lasts. Nothing
//! is spawned, sent through a channel or woken across tasks for a request. The head is parsed where it was
//! read, what is kept of it is copied in runs, and leaves with the beginning of the body in one write. There is
//! no map of fields. While a connection waits for its client it holds no buffer at all.
//!
//! # Layers
//!
//! | without I/O | |
//! |---|---|
//! | [`field`], [`head`] | which names mean something; where each line of a head is |
//! | [`framing`], [`chunked`], [`trailers`], [`body`] | where a body ends, and what of it leaves |
//! | [`request`], [`response`] | what is refused, and what the other side gets instead |
//!
//! | with I/O | |
//! |---|---|
//! | [`connection`] | a client's connection, from one request to the next |
//! | [`exchange`], [`converse`] | one request: its attempts, and what each says to a backend |
//! | [`deliver`], [`tunnel`] | the answer on its way to the client; bytes of another protocol |
//!
//! # Strictness
//!
//! A message that two parsers could read in two ways is refused, from either side: nothing ambiguous is passed
//! on. `httparse` reads the grammar; what it lets through (a bare line feed, empty lines in front, bytes in the
//! target, framing of any kind) is checked here.

pub(crate) mod body;
mod bridge;
pub(crate) mod chunked;
pub(crate) mod connection;
pub(crate) mod converse;
mod deliver;
#[cfg(test)]
mod differential;
mod exchange;
pub(crate) mod field;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod leaving;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod text;
pub(crate) mod trailers;
pub(crate) mod tunnel;
mod upload;
