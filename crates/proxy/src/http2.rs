//! What both sides of the proxy share of HTTP/2: a body as it comes, a body as it leaves, the pings that find out
//! whether the peer is there, and the count of what a client's frames cost.
//!
//! The framing is the `h2` crate's. It is used without hyper in between, which would hide what a proxy must know:
//! why a stream ended, how many the peer takes, and when a request's place is free again.

pub(crate) mod flood;
pub(crate) mod keep_alive;
pub(crate) mod pump;
pub(crate) mod receive;
