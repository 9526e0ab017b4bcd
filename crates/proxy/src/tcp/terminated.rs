//! A TCP connection whose TLS ends here: what is inside goes to the backend, what the backend says goes back
//! encrypted. There is no `splice(2)` for that, so it goes through the worker's buffers.

use std::net::SocketAddr;
use std::rc::Rc;

use edgeproxy_backend::AppName;

use super::connecting::{Connected, connected};
use super::{idle_timeout, tell_end};
use crate::Listener;
use crate::http1::tunnel;
use crate::transport::encrypted::Encrypted;
use crate::transport::socket::Socket;
use crate::upstream::wire::Wire;
use crate::worker::Worker;

/// Passes a connection on to a backend of `app`, which gets `lead` first, until it ends. Broken off, it is reset
/// on both sides, without `close_notify`.
pub(super) async fn pass(
    worker: &Worker,
    listener: &Listener,
    client: Encrypted,
    app: &AppName,
    lead: &[u8],
    peer: SocketAddr,
) {
    let mut ends = Ends {
        client: Some(client),
        backend: None,
    };
    let Some(Connected { taken, backend, app }) = connected(worker, app, lead, peer).await else {
        return;
    };
    // Held to the end, so that it can be cut.
    let place = &taken.place;
    let upstream = worker.upstream(place.endpoint());
    ends.backend = Some(Wire::plain(backend, Rc::clone(upstream.tally())));
    let (Some(client), Some(backend)) = (&mut ends.client, &mut ends.backend) else {
        return;
    };
    let (timer, buffers) = (worker.timers().timer(), worker.buffers());
    let idle = idle_timeout(listener, &app);
    drop(app);
    let relayed = tunnel::run(
        client,
        buffers.buffer(),
        (backend, buffers.buffer()),
        &timer,
        idle,
        || upstream.is_cut(),
    );
    let ended = tokio::select! {
        biased;
        ended = relayed => ended,
        () = upstream.cut().cancelled() => super::Ended::Cut,
    };
    if ended.is_whole() {
        client.part();
        (ends.client, ends.backend) = (None, None);
    }
    tell_end(&ended, listener, place, peer);
}

/// Both sides. Dropped before they have said all, they are closed by a reset.
struct Ends {
    client: Option<Encrypted>,
    backend: Option<Wire>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.reset();
        }
        if let Some(backend) = self.backend.take() {
            backend.reset();
        }
    }
}
