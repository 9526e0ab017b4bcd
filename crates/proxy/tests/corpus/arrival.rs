//! When the proxy has read what was sent to it: the kernel tells how much a socket holds that nobody has read
//! yet. It is asked by netlink (`sock_diag(7)`), for one socket at a time; `/proc/net/tcp` says the same, but
//! walks through its whole table for every look, which is milliseconds instead of microseconds.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The kernel's ear for such questions, shared by everybody.
#[derive(Clone)]
pub(crate) struct Arrivals(Arc<Mutex<Socket>>);

/// Between two looks, so that the proxy gets to run; longer each time, since on a busy machine the looking would
/// keep it from that.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(32);
/// A proxy that doesn't read is found out by what it then doesn't answer.
const PATIENCE: Duration = Duration::from_secs(30);

// <linux/netlink.h>, <linux/sock_diag.h>, <linux/inet_diag.h>
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
/// A message's header.
const HEADER: usize = 16;
/// `inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Where `inet_diag_msg` has its `idiag_state`.
const STATE: usize = HEADER + 1;
/// And its `idiag_rqueue`.
const RQUEUE: usize = HEADER + 56;

impl Arrivals {
    pub(crate) fn start() -> Self {
        let socket = Socket::new(
            Domain::from(AF_NETLINK),
            Type::DGRAM,
            Some(Protocol::from(NETLINK_SOCK_DIAG)),
        );
        Self(Arc::new(Mutex::new(socket.expect("the kernel has sock_diag"))))
    }

    /// Waits until the peer has read all that was written to `stream`, or has closed it.
    pub(crate) async fn read_by_peer_of(&self, stream: &TcpStream) {
        let (Ok(SocketAddr::V4(reader)), Ok(SocketAddr::V4(writer))) =
            (stream.peer_addr(), stream.local_addr())
        else {
            return;
        };
        assert_eq!(
            (reader.ip(), writer.ip()),
            (&Ipv4Addr::LOCALHOST, &Ipv4Addr::LOCALHOST)
        );
        let end = Instant::now() + PATIENCE;
        let mut pause = PAUSE_MIN;
        while self
            .unread(reader.port(), writer.port())
            .expect("an answer of sock_diag")
            > 0
            && Instant::now() < end
        {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// How many bytes the socket of port `reader` holds from the one of port `writer`; none if it is closed.
    fn unread(&self, reader: u16, writer: u16) -> io::Result<u32> {
        let mut answer = [0; 512];
        let came = {
            let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            socket.send(&question(reader, writer))?;
            (&*socket).read(&mut answer)?
        };
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        if came < RQUEUE + 4 || kind != SOCK_DIAG_BY_FAMILY || answer[STATE] != TCP_ESTABLISHED {
            return Ok(0);
        }
        let queued = answer[RQUEUE..RQUEUE + 4].try_into().unwrap_or_default();
        Ok(u32::from_ne_bytes(queued))
    }
}

/// A request for the one socket between those two ports of 127.0.0.1.
fn question(reader: u16, writer: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).unwrap_or_default();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // A sequence number and a port, which the kernel fills in.
    bytes.extend([0; 8]);
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    // In any state.
    bytes.extend([0xff; 4]);
    bytes.extend(reader.to_be_bytes());
    bytes.extend(writer.to_be_bytes());
    for _ in 0..2 {
        bytes.extend(Ipv4Addr::LOCALHOST.octets());
        bytes.extend([0; 12]);
    }
    // On any interface, whatever its cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

#[tokio::test]
async fn unread_bytes_are_seen_until_they_are_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut writer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut reader, _) = listener.accept().await.unwrap();
    let ports = (
        listener.local_addr().unwrap().port(),
        writer.local_addr().unwrap().port(),
    );
    let arrivals = Arrivals::start();
    writer.write_all(b"hello").await.unwrap();
    assert_eq!(arrivals.unread(ports.0, ports.1).unwrap(), 5);
    reader.read_exact(&mut [0; 3]).await.unwrap();
    assert_eq!(arrivals.unread(ports.0, ports.1).unwrap(), 2);
    reader.read_exact(&mut [0; 2]).await.unwrap();
    assert_eq!(arrivals.unread(ports.0, ports.1).unwrap(), 0);
    arrivals.read_by_peer_of(&writer).await;
    writer.write_all(b"hello").await.unwrap();
    drop(reader);
    assert_eq!(
        arrivals.unread(ports.0, ports.1).unwrap(),
        0,
        "nobody will read it"
    );
}
