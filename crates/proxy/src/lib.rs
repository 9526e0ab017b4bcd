//! The data plane: listeners, forwarding, upstream pools, retries.
