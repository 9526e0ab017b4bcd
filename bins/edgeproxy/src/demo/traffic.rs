//! The clients: each sends one request after the other through the proxy and notes who answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::client::{Answer, Client};
use crate::demo::backends::{REQUEST_PATH, SERVED_BY};
use crate::demo::script::RUSH_CLIENTS;

/// The time from one request of a client to its next, at least.
const PACE: Duration = Duration::from_millis(75);
/// What all clients send at the most, per second.
pub(crate) const MAX_RATE: usize = RUSH_CLIENTS * 1_000 / PACE.as_millis() as usize;
/// Failures that are remembered one by one; the rest is only counted.
const FAILURES_KEPT: usize = 1_000;

/// What the clients are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Quiet,
    Rush,
    AfterKill,
}

impl Phase {
    pub(crate) const ALL: [Self; 3] = [Self::Quiet, Self::Rush, Self::AfterKill];
}

/// What came of the requests, by the phase in which they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Answered by each backend, in each phase.
    pub(crate) served: BTreeMap<String, [u64; Phase::ALL.len()]>,
    /// Failed in the clients' eyes.
    pub(crate) failed: u64,
    /// The first of those.
    pub(crate) failures: Vec<Failure>,
}

/// A request that a client saw fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Its number.
    pub(crate) number: u64,
    /// What the client saw.
    pub(crate) what: String,
}

impl Tally {
    pub(crate) fn served_by(&self, id: &str) -> u64 {
        self.served.get(id).map_or(0, |phases| phases.iter().sum())
    }

    pub(crate) fn answered(&self) -> u64 {
        self.served.values().flatten().sum()
    }
}

/// The clients at work.
pub(crate) struct Traffic {
    board: Arc<Board>,
    orders: watch::Sender<Orders>,
    clients: JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    clients: usize,
    phase: Phase,
}

#[derive(Default)]
struct Board {
    sent: AtomicU64,
    tally: Mutex<Tally>,
}

impl Traffic {
    /// Starts all clients; none sends anything yet.
    pub(crate) fn start(proxy: SocketAddr) -> Self {
        let (orders, received) = watch::channel(Orders {
            clients: 0,
            phase: Phase::Quiet,
        });
        let board = Arc::<Board>::default();
        let mut clients = JoinSet::new();
        for index in 0..RUSH_CLIENTS {
            clients.spawn(work(
                index,
                Client::new(proxy.to_string()),
                received.clone(),
                Arc::clone(&board),
            ));
        }
        Self {
            board,
            orders,
            clients,
        }
    }

    /// Lets that many clients send, and counts what they send under that phase.
    pub(crate) fn order(&self, clients: usize, phase: Phase) {
        self.orders.send_replace(Orders { clients, phase });
    }

    pub(crate) fn tally(&self) -> Tally {
        self.board.tally().clone()
    }

    /// Lets what is under way end, and nothing begin.
    pub(crate) async fn stop(self) -> Tally {
        let Self {
            board,
            orders,
            mut clients,
        } = self;
        drop(orders);
        while clients.join_next().await.is_some() {}
        board.tally().clone()
    }
}

impl Board {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: u64, phase: Phase, outcome: anyhow::Result<Answer>) {
        let mut tally = self.tally();
        let what = match outcome {
            Ok(answer) => match served_by(&answer) {
                Some(id) => {
                    tally.served.entry(id).or_default()[phase as usize] += 1;
                    return;
                }
                None => told(&answer),
            },
            Err(error) => format!("{error:#}"),
        };
        tally.failed += 1;
        if tally.failures.len() < FAILURES_KEPT {
            tally.failures.push(Failure { number, what });
        }
    }
}

fn served_by(answer: &Answer) -> Option<String> {
    let id = answer.headers.get(SERVED_BY)?.to_str().ok()?;
    (answer.status == StatusCode::OK).then(|| id.to_owned())
}

fn told(answer: &Answer) -> String {
    let word = answer
        .headers
        .get("x-edgeproxy-error")
        .and_then(|word| word.to_str().ok());
    format!(
        "{} {}",
        answer.status.as_u16(),
        word.unwrap_or("without a reason")
    )
}

async fn work(index: usize, mut client: Client, mut orders: watch::Receiver<Orders>, board: Arc<Board>) {
    // Spread over one period, and kept so: clients in step would be a burst each period, not a load.
    let offset = PACE * u32::try_from(index).unwrap_or(0) / u32::try_from(RUSH_CLIENTS).unwrap_or(1);
    let mut pace = interval_at(Instant::now() + offset, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // An error means that the sender is gone: the show is over.
    while orders.wait_for(|orders| index < orders.clients).await.is_ok() {
        pace.tick().await;
        if orders.has_changed().is_err() {
            return;
        }
        // As it is now: the wait for the tick may have outlasted it.
        let phase = orders.borrow().phase;
        let number = board.sent.fetch_add(1, Ordering::Relaxed);
        let outcome = client
            .send(Method::GET, &format!("{REQUEST_PATH}{number}"), None)
            .await;
        board.note(number, phase, outcome);
    }
}
