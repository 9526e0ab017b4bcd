//! What happens to the fields of a message on its way through, without any I/O.

pub(crate) mod forwarded;
pub(crate) mod hop;
pub(crate) mod trace;
pub(crate) mod via;
