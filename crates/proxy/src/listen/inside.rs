//! A client inside of the process: it speaks HTTP/2 over a pair of sockets that nobody else can reach, and is served
//! as one that has connected. So a request of the program's own is picked for, counted, retried and cut by the very same
//! code as a client's.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::listen::front::{self, Guest};
use crate::transport::socket::Socket;
use crate::worker::Latest;

/// Whoever asks for a connection, with where it is to be handed.
pub(crate) type Asking = oneshot::Sender<SendRequest<Bytes>>;

/// How many may ask at a time before they wait.
pub(crate) const ASKING: usize = 64;

/// Makes connections for those who ask, until nobody can any more. `open` counts those that there are.
pub(crate) async fn serve(latest: Rc<Latest>, mut asked: mpsc::Receiver<Asking>, open: TaskTracker) {
    while let Some(asking) = asked.recv().await {
        let worker = latest.worker();
        // Whoever gets no answer is told that the workers have ended.
        if worker.is_draining() {
            continue;
        }
        match UnixStream::pair() {
            Ok((one, other)) => {
                let served = front::serve_inside(worker, other);
                tokio::task::spawn_local(open.track_future(served));
                // This end as well: what the other has said last is still to be read.
                tokio::task::spawn_local(open.track_future(drive(one, asking)));
            }
            Err(error) => {
                tracing::warn!(%error, "no pair of sockets can be made for requests of the program's own");
            }
        }
    }
}

/// The client's end.
async fn drive(socket: UnixStream, asking: Asking) {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(Guest::WINDOW)
        .initial_connection_window_size(Guest::CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    match builder.handshake(socket).await {
        Ok((sender, connection)) => {
            if asking.send(sender).is_ok()
                && let Err(error) = connection.await
            {
                tracing::debug!(%error, "a connection of the program's own ended");
            }
        }
        Err(error) => tracing::debug!(%error, "a connection of the program's own did not come about"),
    }
}

/// As long as a head of HTTP/1 may be, and 32 bytes more for each field (RFC 9113 §6.5.2).
const MAX_HEADER_LIST: u32 = 128 * 1024;

impl Socket for UnixStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn is_quiet(&self) -> bool {
        let read = self.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn reset(self) {
        // The other end is this program: a stream that was not ended tells it.
    }
}
