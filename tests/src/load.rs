use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use tokio::task::JoinSet;

use crate::client::request;
use crate::{Client, PATIENCE, eventually, within};

/// Runs `step` for every number below `count`, by `tasks` tasks at once, each with a state of its own.
pub async fn spread<S, F>(
    tasks: usize,
    count: usize,
    start: impl Fn() -> S,
    step: impl Fn(S, usize) -> F + Clone + Send + 'static,
) where
    S: Send + 'static,
    F: Future<Output = S> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (next, step, mut state) = (Arc::clone(&next), step.clone(), start());
        running.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                state = step(state, n).await;
            }
        });
    }
    running.join_all().await;
}

/// How many failures are kept word by word.
const KEPT: usize = 20;

/// What became of a load's requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers of 200.
    pub ok: u64,
    /// Everything else.
    pub failed: u64,
    /// The first 20 failures, in words.
    pub failures: Vec<String>,
    /// Answers by the backend that gave them.
    pub by_backend: HashMap<String, u64>,
}

/// Clients that send one request after the other, each over its own kept-alive connection, until they are
/// stopped or have sent as many as they were given.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

struct Shared {
    addr: SocketAddr,
    method: Method,
    host: String,
    path: String,
    stop: AtomicBool,
    /// How many requests may still begin.
    left: AtomicU64,
    tally: Mutex<Tally>,
}

impl Load {
    /// Starts that many clients, which go on until they are stopped.
    #[must_use]
    pub fn start(addr: SocketAddr, method: Method, host: &str, clients: usize) -> Self {
        Self::limited(addr, method, host, clients, u64::MAX)
    }

    /// Starts that many clients, which send that many requests between them.
    #[must_use]
    pub fn limited(addr: SocketAddr, method: Method, host: &str, clients: usize, requests: u64) -> Self {
        let shared = Arc::new(Shared {
            addr,
            method,
            host: host.to_owned(),
            path: "/load".to_owned(),
            stop: AtomicBool::new(false),
            left: AtomicU64::new(requests),
            tally: Mutex::default(),
        });
        let mut load = Self {
            shared,
            clients: JoinSet::new(),
        };
        for _ in 0..clients {
            load.clients.spawn(run(Arc::clone(&load.shared)));
        }
        load
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn so_far(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Waits until that backend has answered that many requests more than now.
    ///
    /// # Panics
    /// If it hasn't in time.
    pub async fn reaches(&self, backend: &str, more: u64) {
        let count = || self.shared.tally().by_backend.get(backend).copied().unwrap_or(0);
        let wanted = count() + more;
        eventually(
            PATIENCE,
            &format!("{backend} answers {more} requests more"),
            async || {
                let found = count();
                if found >= wanted {
                    Ok(())
                } else {
                    Err(format!("{found} of {wanted}; {:?}", self.so_far()))
                }
            },
        )
        .await;
    }

    /// Lets every request end and begins no other.
    ///
    /// # Panics
    /// If they don't end in time.
    pub async fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.done().await
    }

    /// Waits until all requests have been sent and answered.
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub async fn done(mut self) -> Tally {
        within(3 * PATIENCE, "the load ends", async {
            while let Some(ended) = self.clients.join_next().await {
                ended.expect("a client of the load does not panic");
            }
        })
        .await;
        self.so_far()
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_begin(&self) -> bool {
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.is_ok() && !self.stop.load(Ordering::Relaxed)
    }
}

async fn run(shared: Arc<Shared>) {
    let mut client = Client::new(shared.addr);
    while shared.may_begin() {
        let outcome = client
            .send(request(shared.method.clone(), &shared.host, &shared.path, ""))
            .await;
        let mut tally = shared.tally();
        let failure = match outcome {
            Ok(reply) if reply.status == 200 => {
                tally.ok += 1;
                let backend = reply.header("x-backend").unwrap_or("?").to_owned();
                *tally.by_backend.entry(backend).or_default() += 1;
                continue;
            }
            Ok(reply) => format!("{reply:?}"),
            Err(error) => format!("{error:#}"),
        };
        tally.failed += 1;
        if tally.failures.len() < KEPT {
            tally.failures.push(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Behaviour};

    #[tokio::test]
    async fn a_limited_load_sends_exactly_so_many() {
        let backend = Backend::start("b1").await;
        let tally = Load::limited(backend.addr(), Method::GET, "a", 7, 100)
            .done()
            .await;
        assert_eq!((tally.ok, tally.failed, backend.requests()), (100, 0, 100));
        assert_eq!(tally.by_backend, HashMap::from([("b1".to_owned(), 100)]));
        assert_eq!(backend.connections(), 7);
    }

    #[tokio::test]
    async fn failures_are_counted_and_the_load_goes_on() {
        let backend = Backend::start("b1").await;
        let load = Load::start(backend.addr(), Method::POST, "a", 2);
        load.reaches("b1", 10).await;
        backend.behave(Behaviour::CloseUnanswered);
        eventually(PATIENCE, "five failures", async || {
            let failed = load.so_far().failed;
            if failed >= 5 {
                Ok(())
            } else {
                Err(failed.to_string())
            }
        })
        .await;
        backend.behave(Behaviour::Answer);
        load.reaches("b1", 10).await;
        let tally = load.stop().await;
        assert_eq!(tally.ok + tally.failed, backend.requests());
        assert!(
            tally.failures.len() <= KEPT && tally.failures[0].contains("no answer"),
            "{tally:?}"
        );
    }
}
