//! What the system may hold of a bulky direction whose receiver has stopped.
//!
//! By itself Linux lets a receive buffer grow to `tcp_rmem` and a send buffer to `tcp_wmem`, 32 and 4 MiB on
//! some systems: 74 MB were on their way, measured on loopback, through a relay whose receiver had stopped
//! after 400 MB. Bounded as here it was 5 MB, most of it the sender's own.

use std::cell::OnceCell;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// What may have come and not been read. At 100 ms of distance that is 10 MB/s for a connection.
const RECEIVE_BYTES: usize = 1024 * 1024;

/// What may have been written and not been sent. What is sent and not acknowledged is not in it, so it slows
/// nobody down.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// The bounds that this system grants.
#[derive(Default)]
pub(super) struct Bounds {
    receive: OnceCell<bool>,
}

impl Bounds {
    /// Bounds what is held between two sockets. Where the system refuses, the connection works without.
    pub(super) fn apply(&self, from: &TcpStream, to: &TcpStream) {
        if *self.receive.get_or_init(is_granted) {
            let _ = SockRef::from(from).set_recv_buffer_size(RECEIVE_BYTES);
        }
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(to).set_tcp_notsent_lowat(UNSENT_BYTES);
        #[cfg(not(target_os = "linux"))]
        let _ = to;
    }
}

/// A system that grants less (`net.core.rmem_max`) would grant that little for good, and the buffer would grow
/// no more: a distant sender is better off without.
fn is_granted() -> bool {
    let granted = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        socket.recv_buffer_size()
    };
    granted().is_ok_and(|granted| granted >= RECEIVE_BYTES)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn buffers_are_bounded_where_the_system_grants_it_and_left_alone_elsewhere() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let before = SockRef::from(&stream).recv_buffer_size().unwrap();
        Bounds::default().apply(&stream, &stream);
        let after = SockRef::from(&stream).recv_buffer_size().unwrap();
        if is_granted() {
            // Linux counts twice, for its own use.
            assert!((RECEIVE_BYTES..=2 * RECEIVE_BYTES).contains(&after), "{after}");
        } else {
            assert_eq!(after, before);
        }
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
    }
}
