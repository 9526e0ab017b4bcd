//! zlib where pingora-core asks for zlib-ng. No benchmark compresses anything, and cmake is not needed.
pub use libz_sys::*;
