//! What a request says of itself before it is routed: what is refused, and what is known of the rest. No I/O.

pub(crate) mod grpc;
pub(crate) mod host;
pub(crate) mod inbound;
pub(crate) mod keys;
pub(crate) mod origin;
