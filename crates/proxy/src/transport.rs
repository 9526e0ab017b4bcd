//! What carries bytes, in the clear or inside TLS, and the memory that they pass through.

pub(crate) mod buffer;
pub(crate) mod encrypted;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tls;
