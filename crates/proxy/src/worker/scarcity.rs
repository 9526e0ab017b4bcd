//! What to do where descriptors, memory or local ports have run out: to give back what is only kept for later, to wait for what
//! others give back, to let nobody in who would take it away, and to say so without filling the log.
//!
//! A request takes two descriptors, one after the other. If everybody were accepted whenever one is free, the second one
//! could never be had, and each request would fail; so whoever is short of one has all workers accept nobody for a moment:
//! descriptors are the process's, and what one worker's clients give back, another one's would take.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgeproxy_backend::MonoTime;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::worker::clock;
use crate::worker::news::News;

/// How long a connection to a backend is waited for, in all. Less than the least time-out for connecting, a second, so
/// that it is not taken for the backend's failure.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often it is tried.
const PAUSE: Duration = Duration::from_millis(20);
/// How long accepting pauses at the most before one more is let in: each request that waits prolongs the pause, and where
/// descriptors stay short nobody would ever be.
const LONGEST: Duration = Duration::from_secs(1);

/// One for the process, as the limit is.
static ACCEPTING: Pause = Pause::new();

/// One for the process as well: what any worker keeps, another one's request may lack.
static CALLS: LazyLock<Calls> = LazyLock::new(Calls::default);

thread_local! {
    static TOLD: Cell<News> = const { Cell::new(News::NONE) };
}

/// What this side may lack to make a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lack {
    /// Whoever is let in takes one away from those who are here.
    Descriptors,
    /// Of the system, for sockets.
    Memory,
    /// Those of this host towards one backend. Accepting takes none, and other backends have their own.
    Ports,
}

impl Lack {
    /// What was lacking where a connection to `addr` failed so. `None`: nothing, the failure is of the other side or of the way
    /// there.
    pub(crate) fn of(error: &io::Error, addr: SocketAddr) -> Option<Self> {
        Self::judge(error, || has_source(addr))
    }

    /// To have no local port and to have no local address is the same error. Without an address of IPv6 all of its backends
    /// fail with it, which are to be taken out.
    fn judge(error: &io::Error, has_source: impl FnOnce() -> bool) -> Option<Self> {
        /// The same numbers on every Unix.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
        match (error.raw_os_error(), error.kind()) {
            (Some(ENFILE | EMFILE), _) => Some(Self::Descriptors),
            (Some(ENOBUFS), _) | (_, io::ErrorKind::OutOfMemory) => Some(Self::Memory),
            (_, io::ErrorKind::AddrNotAvailable) if has_source() => Some(Self::Ports),
            _ => None,
        }
    }

    /// Whether whoever is accepted takes some of it.
    fn is_taken_by_accepting(self) -> bool {
        self == Self::Descriptors
    }

    /// Whether connections that are idle hold some of it. What is closed here keeps its port for a minute more.
    fn is_held_by_idle(self) -> bool {
        matches!(self, Self::Descriptors | Self::Memory)
    }
}

/// Whether this host has an address from which `addr` can be reached. UDP is asked: its ports are others, and to connect sends
/// nothing.
fn has_source(addr: SocketAddr) -> bool {
    let connected = Socket::new(Domain::for_address(addr), Type::DGRAM, None)
        .and_then(|socket| socket.connect(&addr.into()));
    !matches!(connected, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// How long one connection has been waited for.
#[derive(Default)]
pub(crate) struct Shortage {
    since: Option<Instant>,
}

impl Shortage {
    /// Waits for something to be given back; `false`: it was long enough.
    #[cold]
    pub(crate) async fn wait(&mut self, lack: Lack, error: &io::Error) -> bool {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let mut told = TOLD.get();
        if told.is_due() {
            tracing::warn!(%error, ?lack, "no connection to a backend can be made; requests wait, and some get 503");
        }
        TOLD.set(told);
        if lack.is_held_by_idle() {
            CALLS.call(now);
        }
        if now - since >= PATIENCE {
            return false;
        }
        if lack.is_taken_by_accepting() {
            ACCEPTING.prolong(now + 2 * PAUSE);
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}

/// Hears when a worker is to let go of what it keeps for later.
pub(crate) fn calls() -> watch::Receiver<Option<Instant>> {
    CALLS.0.subscribe()
}

/// When workers were last called on to let go of what they keep for later: again and again for as long as somebody lacks
/// something, but not for each who does.
struct Calls(watch::Sender<Option<Instant>>);

impl Default for Calls {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Calls {
    fn call(&self, now: Instant) {
        self.0.send_if_modified(|last| {
            let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
            if is_due {
                *last = Some(now);
            }
            is_due
        });
    }
}

/// Whether somebody waits for a descriptor at `now`, so that nothing is kept for later.
#[inline]
pub(crate) fn is_on(now: Instant) -> bool {
    ACCEPTING.is_on(now)
}

/// Waits until nobody is short of a descriptor, but not for longer than a second.
#[inline]
pub(crate) async fn over() {
    ACCEPTING.over().await;
}

/// Until when nobody is accepted and nothing kept for later, in microseconds of the workers' clock. In a cache line of its own:
/// every request reads it, and hardly anybody ever writes to it.
#[repr(align(64))]
struct Pause(AtomicU64);

impl Pause {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn prolong(&self, until: Instant) {
        self.0.fetch_max(clock::at(until).as_micros(), Ordering::Relaxed);
    }

    #[inline]
    fn is_on(&self, now: Instant) -> bool {
        let until = self.0.load(Ordering::Relaxed);
        // Where there never was a shortage, that is all.
        until > 0 && clock::at(now).as_micros() < until
    }

    #[inline]
    async fn over(&self) {
        // Where there never was a shortage, the clock isn't asked.
        if self.0.load(Ordering::Relaxed) > 0 {
            self.end().await;
        }
    }

    #[cold]
    async fn end(&self) {
        let latest = Instant::now() + LONGEST;
        loop {
            let until = MonoTime::from_micros(self.0.load(Ordering::Relaxed));
            let (now, left) = (Instant::now(), until.since(clock::now()));
            if left.is_zero() || now >= latest {
                return;
            }
            tokio::time::sleep_until(latest.min(now + left)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_of_descriptors() -> io::Error {
        io::Error::from_raw_os_error(24)
    }

    #[test]
    fn what_this_side_lacks_is_no_backend_s_fault() {
        let lack = |error: io::Error| Lack::judge(&error, || true);
        assert_eq!(lack(out_of_descriptors()), Some(Lack::Descriptors));
        assert_eq!(lack(io::Error::from_raw_os_error(23)), Some(Lack::Descriptors));
        assert_eq!(lack(io::ErrorKind::OutOfMemory.into()), Some(Lack::Memory));
        assert_eq!(lack(io::ErrorKind::AddrNotAvailable.into()), Some(Lack::Ports));
        assert_eq!(lack(io::ErrorKind::ConnectionRefused.into()), None);
        assert_eq!(lack(io::ErrorKind::NetworkUnreachable.into()), None);
        assert_eq!(lack(io::ErrorKind::TimedOut.into()), None);
    }

    #[test]
    fn a_backend_that_no_address_of_this_host_leads_to_is_to_blame() {
        let nowhere = io::ErrorKind::AddrNotAvailable.into();
        assert_eq!(Lack::judge(&nowhere, || false), None);
        assert!(has_source(SocketAddr::from(([127, 0, 0, 1], 9))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_waited_for_less_than_a_second_and_nobody_is_accepted_meanwhile() {
        let (began, mut shortage) = (Instant::now(), Shortage::default());
        while shortage.wait(Lack::Descriptors, &out_of_descriptors()).await {
            // As another worker sees it, too.
            let until = std::thread::spawn(|| ACCEPTING.0.load(Ordering::Relaxed));
            assert!(until.join().unwrap() > clock::now().as_micros());
        }
        assert_eq!(began.elapsed(), PATIENCE);
        over().await;
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(ACCEPTING.0.load(Ordering::Relaxed) <= clock::now().as_micros());
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_let_in_each_second_however_long_descriptors_are_short() {
        let (began, pause) = (Instant::now(), Pause::new());
        pause.over().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(!pause.is_on(began));
        pause.prolong(began + 60 * LONGEST);
        assert!(pause.is_on(began + 59 * LONGEST) && !pause.is_on(began + 60 * LONGEST));
        pause.over().await;
        assert_eq!(began.elapsed(), LONGEST);
        pause.over().await;
        assert_eq!(began.elapsed(), 2 * LONGEST);
    }

    #[test]
    fn only_who_lacks_a_descriptor_has_nobody_accepted() {
        assert!(Lack::Descriptors.is_taken_by_accepting());
        assert!(!Lack::Memory.is_taken_by_accepting() && !Lack::Ports.is_taken_by_accepting());
    }

    #[tokio::test(start_paused = true)]
    async fn workers_are_called_on_again_and_again_but_not_by_each_who_lacks_something() {
        let calls = Calls::default();
        let mut heard = calls.0.subscribe();
        for expected in [true, false, false] {
            calls.call(Instant::now());
            assert_eq!(heard.has_changed().unwrap(), expected);
            heard.mark_unchanged();
        }
        tokio::time::advance(PAUSE).await;
        calls.call(Instant::now());
        assert!(heard.has_changed().unwrap());
    }

    #[test]
    fn what_is_idle_holds_descriptors_and_memory_and_no_port_that_closing_would_give_back() {
        assert!(Lack::Descriptors.is_held_by_idle() && Lack::Memory.is_held_by_idle());
        assert!(!Lack::Ports.is_held_by_idle());
    }
}
