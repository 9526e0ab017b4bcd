//! What to do where descriptors or memory have run out: to wait for what is given back, to let nobody in who
//! would take it away, and to say so without filling the log.
//!
//! A request takes two descriptors, one after the other. If everybody were accepted whenever one is free, the second one
//! could never be had, and each request would fail; so whoever is short of one has all workers accept nobody for a moment:
//! descriptors are the process's, and what one worker's clients give back, another one's would take.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgeproxy_backend::MonoTime;
use tokio::time::Instant;

use crate::clock;

/// How long a connection to a backend is waited for, in all. Less than the least time-out for connecting, a second, so
/// that it is not taken for the backend's failure.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often it is tried.
const PAUSE: Duration = Duration::from_millis(20);
/// How long accepting pauses at the most before one more is let in: each request that waits prolongs the pause, and where
/// descriptors stay short nobody would ever be.
const LONGEST: Duration = Duration::from_secs(1);
/// How long it is at least between two lines of the log.
const QUIET: Duration = Duration::from_secs(10);

/// One for the process, as the limit is.
static ACCEPTING: Pause = Pause::new();

thread_local! {
    static TOLD: Cell<News> = const { Cell::new(News { last: None }) };
}

/// Whether it failed for want of something on this side. Not where there is no local address or port: on a machine without
/// IPv6 that is what every address of IPv6 fails with, and such a backend is to be taken out.
pub(crate) fn is_own_fault(error: &io::Error) -> bool {
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    let is_memory = error.kind() == io::ErrorKind::OutOfMemory;
    is_memory || is_of_descriptors(error) || error.raw_os_error() == Some(ENOBUFS)
}

/// Whether it failed for want of a descriptor: the one thing that whoever is let in takes away from those who are here.
fn is_of_descriptors(error: &io::Error) -> bool {
    /// The same numbers on every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// How long one connection has been waited for.
#[derive(Default)]
pub(crate) struct Shortage {
    since: Option<Instant>,
}

impl Shortage {
    /// Waits for something to be given back; `false`: it was long enough.
    #[cold]
    pub(crate) async fn wait(&mut self, error: &io::Error) -> bool {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let mut told = TOLD.get();
        if told.is_due() {
            tracing::warn!(%error, "no connection to a backend can be made; requests wait, and some get 503");
        }
        TOLD.set(told);
        if now - since >= PATIENCE {
            return false;
        }
        if is_of_descriptors(error) {
            ACCEPTING.prolong(now + 2 * PAUSE);
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}

/// Waits until nobody is short of a descriptor, but not for longer than a second.
#[inline]
pub(crate) async fn over() {
    ACCEPTING.over().await;
}

/// Until when nobody is accepted, in microseconds of the workers' clock.
struct Pause(AtomicU64);

impl Pause {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn prolong(&self, until: Instant) {
        self.0.fetch_max(clock::at(until).as_micros(), Ordering::Relaxed);
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

/// When something that happens again and again was last told.
#[derive(Clone, Copy, Default)]
pub(crate) struct News {
    last: Option<Instant>,
}

impl News {
    /// Whether it is to be told now.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now - last >= QUIET);
        if is_due {
            self.last = Some(now);
        }
        is_due
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
        assert!(is_own_fault(&out_of_descriptors()));
        assert!(!is_own_fault(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(!is_own_fault(&io::ErrorKind::ConnectionRefused.into()));
        assert!(!is_own_fault(&io::ErrorKind::TimedOut.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_waited_for_less_than_a_second_and_nobody_is_accepted_meanwhile() {
        let (began, mut shortage) = (Instant::now(), Shortage::default());
        while shortage.wait(&out_of_descriptors()).await {
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
        pause.prolong(began + 60 * LONGEST);
        pause.over().await;
        assert_eq!(began.elapsed(), LONGEST);
        pause.over().await;
        assert_eq!(began.elapsed(), 2 * LONGEST);
    }

    #[test]
    fn only_who_lacks_a_descriptor_has_nobody_accepted() {
        assert!(is_of_descriptors(&out_of_descriptors()));
        assert!(is_of_descriptors(&io::Error::from_raw_os_error(23)));
        assert!(!is_of_descriptors(&io::ErrorKind::OutOfMemory.into()));
        assert!(!is_of_descriptors(&io::ErrorKind::AddrNotAvailable.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_again_and_again_is_told_each_ten_seconds() {
        let mut news = News::default();
        assert!(news.is_due());
        assert!(!news.is_due());
        tokio::time::advance(QUIET).await;
        assert!(news.is_due());
    }
}
