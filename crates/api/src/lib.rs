//! The discovery API: register, heartbeat, list, deregister, explain.
