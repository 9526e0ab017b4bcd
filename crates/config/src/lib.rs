//! Settings from flags, environment and edgeproxy.toml, and what is wrong with them.
