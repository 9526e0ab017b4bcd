//! What the end-to-end tests share: a running edgeproxy, backends, clients.
