use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// A name's addresses, tried one after the other.
///
/// One of a machine that is gone says nothing, and takes all the time that a connection has. Whoever gives up on it goes
/// on with the next one the next time.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The address to begin with, by its place.
    first: usize,
}

impl Reach {
    /// Connects to one of them, and begins with it from then on. Cancel safe.
    ///
    /// # Errors
    /// What the last one said, once all have refused.
    pub(super) async fn connect(&mut self, addrs: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut error = io::Error::other("its name has no address");
        for _ in addrs {
            let at = self.first % addrs.len();
            let Some(addr) = addrs.get(at) else { break };
            self.first = at + 1;
            match TcpStream::connect(addr).await {
                Ok(stream) => {
                    self.first = at;
                    return Ok(stream);
                }
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    /// An address whose queue of connections is full, so that it answers nobody, and what keeps it so.
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(LIMIT, TcpStream::connect(addr)).await {
            waiting.push(stream.unwrap());
        }
        (addr, (listener, waiting))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_on_an_address_goes_on_with_the_next_one_and_stays_with_what_answers() {
        let (gone, _full) = silent().await;
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let there = api.local_addr().unwrap();
        let addrs = [gone, there];
        let mut reach = Reach::default();
        assert!(timeout(LIMIT, reach.connect(&addrs)).await.is_err());
        for _ in 0..2 {
            let stream = timeout(LIMIT, reach.connect(&addrs)).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), there);
        }
        // Of a name that has fewer by now.
        assert!(reach.connect(&[there]).await.is_ok());
        assert!(reach.connect(&[]).await.is_err());
    }

    #[tokio::test]
    async fn where_all_refuse_the_last_one_is_told() {
        let refusing = || async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listener.local_addr().unwrap()
        };
        let addrs = [refusing().await, refusing().await];
        let error = Reach::default().connect(&addrs).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
