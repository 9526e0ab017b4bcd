//! Clients' connections: sockets are bound, connections accepted and counted, and each is driven to its end by the
//! protocol that it speaks.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod clients;
pub(crate) mod front;
pub(crate) mod inside;
pub(crate) mod phase;
pub(crate) mod proxy_protocol;
pub(crate) mod slots;
