//! Making a TCP connection to a backend. Where this side lacks something for it, that is waited for, and neither speaks against the
//! backend nor counts as time that it took.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::exchange::retry::Failed;
use crate::worker::scarcity::{Lack, Shortage};

/// A connection that is being made, as whoever bounds its time knows it.
#[derive(Default)]
pub(crate) struct Dialing {
    began: Cell<Option<Instant>>,
    waited: Cell<bool>,
}

impl Dialing {
    /// Connects in the clear. The caller bounds the time.
    pub(crate) async fn dial(&self, addr: SocketAddr) -> Result<TcpStream, Failed> {
        self.connect(addr, async || connect(addr).await).await
    }

    /// Whether it waits for what this side lacks. Whoever polls it is woken for each try, and may have something better by then.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waited.get() && self.began.get().is_none()
    }

    /// When connecting began, after whatever it had to wait for. `None`: there was nothing to connect with so far.
    pub(crate) fn began(&self) -> Option<Instant> {
        self.began.get()
    }

    /// How long connecting has taken so far. `None`: it has not begun.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.began.get().map(|began| began.elapsed())
    }

    /// Why there is no connection when its time is over. A backend that this side has kept waiting has not had all of that time.
    pub(crate) fn late(&self) -> Failed {
        if self.waited.get() {
            Failed::OwnFault
        } else {
            Failed::ConnectTimeout
        }
    }

    async fn connect<T>(
        &self,
        addr: SocketAddr,
        connect: impl AsyncFn() -> io::Result<T>,
    ) -> Result<T, Failed> {
        let mut shortage = Shortage::default();
        loop {
            self.began.set(Some(Instant::now()));
            let error = match connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let Some(lack) = Lack::of(&error, addr) else {
                tracing::debug!(%addr, %error, "a backend could not be connected to");
                return Err(match error.kind() {
                    io::ErrorKind::TimedOut => Failed::ConnectTimeout,
                    _ => Failed::Connect,
                });
            };
            self.began.set(None);
            self.waited.set(true);
            if !shortage.wait(lack, &error).await {
                return Err(Failed::OwnFault);
            }
        }
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A head and a body that leave in two writes would otherwise wait for an acknowledgement between them.
    socket.set_nodelay(true)?;
    socket.connect(addr).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn out_of_descriptors() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_no_time_of_the_backend_s() {
        let (dialing, tries) = (Dialing::default(), Cell::new(0));
        let connected = dialing.connect(ADDR, async || {
            tries.set(tries.get() + 1);
            if tries.get() <= 5 {
                return Err(out_of_descriptors());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
            Ok(())
        });
        let began = Instant::now();
        assert_eq!(connected.await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_millis(5 * 20 + 3));
        assert_eq!(dialing.took(), Some(Duration::from_millis(3)));
        assert_eq!(dialing.began(), Some(began + Duration::from_millis(5 * 20)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_anything_to_connect_with_connecting_never_began() {
        let dialing = Dialing::default();
        let connected = dialing.connect(ADDR, async || Err::<(), _>(out_of_descriptors()));
        assert_eq!(connected.await, Err(Failed::OwnFault));
        assert_eq!(dialing.took(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polls_is_woken_for_each_try_and_knows_that_it_waits() {
        let (dialing, polls) = (Dialing::default(), Cell::new(0));
        assert!(!dialing.is_waiting());
        let mut connecting =
            std::pin::pin!(dialing.connect(ADDR, async || Err::<(), _>(out_of_descriptors())));
        let connected = std::future::poll_fn(|cx| {
            let polled = connecting.as_mut().poll(cx);
            polls.set(polls.get() + 1);
            assert!(dialing.is_waiting());
            polled
        });
        assert_eq!(connected.await, Err(Failed::OwnFault));
        assert_eq!(polls.get(), 1 + 700 / 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_is_the_backend_s_failure_unless_this_side_has_kept_it_waiting() {
        for lacks in [false, true] {
            let (dialing, tries) = (Dialing::default(), Cell::new(0));
            let connecting = dialing.connect(ADDR, async || {
                tries.set(tries.get() + 1);
                if lacks && tries.get() == 1 {
                    return Err(out_of_descriptors());
                }
                std::future::pending::<io::Result<()>>().await
            });
            let connected = tokio::time::timeout(Duration::from_secs(1), connecting).await;
            assert!(connected.is_err(), "nobody answers");
            let expected = if lacks {
                Failed::OwnFault
            } else {
                Failed::ConnectTimeout
            };
            assert_eq!(dialing.late(), expected);
        }
    }

    #[tokio::test]
    async fn what_the_backend_s_side_says_is_its_failure_at_once() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Failed::Connect),
            (io::ErrorKind::HostUnreachable, Failed::Connect),
            (io::ErrorKind::TimedOut, Failed::ConnectTimeout),
        ] {
            let dialing = Dialing::default();
            let connected = dialing.connect(ADDR, async || Err::<(), _>(kind.into()));
            assert_eq!(connected.await, Err(expected), "{kind}");
            assert!(dialing.took().is_some(), "{kind}");
        }
    }
}
