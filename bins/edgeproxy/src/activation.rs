//! Sockets that a service manager has opened (`LISTEN_FDS`, sd_listen_fds(3)).

use anyhow::Context;
use edgeproxy_server::{Brought, OpenSocket};
use listenfd::ListenFd;

/// What they are called, in their order.
const NAMES: &str = "LISTEN_FDNAMES";

/// All of them; none if there is no such manager. To be called once, before there are threads.
pub(crate) fn sockets() -> anyhow::Result<Vec<OpenSocket>> {
    let names = std::env::var(NAMES).unwrap_or_default();
    let mut given = ListenFd::from_env();
    let mut names = names.split(':');
    let mut sockets = Vec::with_capacity(given.len());
    for index in 0..given.len() {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        let socket = given.take_tcp_listener(index).with_context(|| {
            format!("the socket {name:?} of the service manager (number {index}) can't be listened on; expected TCP")
        })?;
        sockets.extend(socket.map(|socket| OpenSocket {
            name: name.to_owned(),
            brought: Brought::ByManager,
            socket,
        }));
    }
    Ok(sockets)
}
