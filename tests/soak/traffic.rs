//! What clients do, each kind at a rate of its own.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod switched;
pub(crate) mod tcp;

use std::time::Duration;

use fastrand::Rng;
use http::{HeaderMap, StatusCode};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fault::App;
use crate::ledger::{Form, Ledger, Problem};

/// More than anything takes here, even on a machine that does something else, too.
const LIMIT: Duration = Duration::from_secs(20);

/// Something that a client does over and over.
pub(crate) trait Traffic: Send + 'static {
    /// What it is called in the table.
    const NAME: &'static str;
    const APP: App;

    /// Once; how many bytes of content were carried.
    fn once(&mut self) -> impl Future<Output = Result<usize, Problem>> + Send;

    /// Begins anew after a failure.
    fn forget(&mut self) {}
}

/// Who is at it, and until when.
pub(crate) struct Crowd {
    pub(crate) ledger: Ledger,
    pub(crate) stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Crowd {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            stop: CancellationToken::new(),
            clients: JoinSet::new(),
        }
    }

    /// That many clients, each of which begins once in `every`, if it is done with the last.
    pub(crate) fn join<T: Traffic>(
        &mut self,
        rng: &mut Rng,
        count: usize,
        every: Duration,
        make: impl Fn(Rng) -> T,
    ) {
        for _ in 0..count {
            let traffic = make(rng.fork());
            let (ledger, stop) = (self.ledger.clone(), self.stop.clone());
            self.clients.spawn(go_on(traffic, ledger, stop, every));
        }
    }

    /// Lets everybody finish what is under way.
    ///
    /// # Panics
    /// If one of them did.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

async fn go_on<T: Traffic>(mut traffic: T, ledger: Ledger, stop: CancellationToken, every: Duration) {
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(turns.tick()).await.is_some() {
        let begun = ledger.now();
        let late = |_| Err(Problem::new(Form::Late, format!("not done after {LIMIT:?}")));
        let outcome = tokio::time::timeout(LIMIT, traffic.once())
            .await
            .unwrap_or_else(late);
        if outcome.is_err() {
            traffic.forget();
        }
        ledger.note(T::NAME, T::APP, begun, outcome);
    }
}

/// What an answer is that is not 200.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Problem {
    let word = headers
        .get("x-edgeproxy-error")
        .and_then(|word| word.to_str().ok());
    let word = word.unwrap_or("without a word").to_owned();
    Problem::new(Form::Status(status.as_u16(), word), "")
}
