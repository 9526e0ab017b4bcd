//! HTTP/1 clients in front of backends that speak HTTP/2.
//!
//! It is the rare way, and everything about it is on the heap. A request has been read, and what an HTTP/1.1 backend
//! would get of it is composed before anybody knows which backend it goes to; so that is what is translated, head and
//! body, and what is kept of a body for another attempt is the same for both kinds of backends.

pub(super) mod ascent;
pub(super) mod descent;
pub(super) mod request;
pub(super) mod response;
