//! The order of events, and the stage that they happen on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::client::Client;
use crate::demo::backends::{APP, Fleet, VICTIM, members};
use crate::demo::table::{Moment, Row, Screen};
use crate::demo::traffic::{Phase, Tally, Traffic};
use crate::demo::verdict::{Evidence, Kill};
use crate::signals::{Signal, Signals};

/// Few enough for the home region to take them all.
pub(crate) const QUIET_CLIENTS: usize = 6;
/// Too many for the home region's soft limits, few enough for all regions' together.
pub(crate) const RUSH_CLIENTS: usize = 26;

/// How often the API is asked who is in which state: what the times of the verdict are exact to.
const WATCH: Duration = Duration::from_millis(25);
/// What "the last second" of the table is.
const RECENT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Quiet,
    Rush,
    Kill,
    Revive,
    End,
}

impl Action {
    const fn caption(self) -> &'static str {
        match self {
            Self::Quiet => "quiet: the home region has room for all",
            Self::Rush => "rush: eu is at its soft limits, the rest spills to us and sa",
            Self::Kill => "eu-2 was killed without a word; its traffic moves",
            Self::Revive => "eu-2 is back on another port, and has registered again",
            Self::End => "over",
        }
    }
}

/// The show of ten seconds. From the kill on it takes one lease of five, and on a machine with much else to
/// do up to a second more until that has been seen.
const ONCE: &[(u64, Action)] = &[
    (0, Action::Quiet),
    (1_500, Action::Rush),
    (3_000, Action::Kill),
    (10_000, Action::End),
];

/// The show that goes on, from its beginning once more after the last step.
const ENDLESS: &[(u64, Action)] = &[
    (0, Action::Quiet),
    (4_000, Action::Rush),
    (10_000, Action::Kill),
    (20_000, Action::Revive),
    (26_000, Action::Quiet),
];

/// How a show ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Played,
    Interrupted(Signal),
}

/// Where it all happens.
pub(crate) struct Stage {
    fleet: Fleet,
    traffic: Traffic,
    watcher: Client,
    caption: &'static str,
    began: Instant,
    kills: u32,
    killed: Option<(Instant, Kill)>,
    cut: HashSet<u64>,
    next_drawing: Instant,
    /// Answered requests by backend, in the table's order, for the last second; the oldest first.
    history: VecDeque<(Instant, Vec<u64>)>,
}

/// A backend in the API's listing.
struct Listed {
    state: String,
    in_flight: u64,
    requests: u64,
}

impl Stage {
    pub(crate) fn new(fleet: Fleet, traffic: Traffic, api: SocketAddr) -> Self {
        Self {
            fleet,
            traffic,
            watcher: Client::new(api.to_string()),
            caption: "",
            began: Instant::now(),
            kills: 0,
            killed: None,
            cut: HashSet::new(),
            next_drawing: Instant::now(),
            history: VecDeque::new(),
        }
    }

    /// Plays the show once, or over and over until a signal comes.
    pub(crate) async fn play(
        &mut self,
        once: bool,
        signals: &mut Signals,
        screen: &mut Screen,
    ) -> anyhow::Result<Ended> {
        self.began = Instant::now();
        self.next_drawing = self.began + screen.refresh();
        loop {
            let start = Instant::now();
            for (at, action) in if once { ONCE } else { ENDLESS } {
                let due = start + Duration::from_millis(*at);
                tokio::select! {
                    watched = self.watch_until(due, screen) => watched?,
                    signal = signals.next() => return Ok(Ended::Interrupted(signal)),
                }
                self.act(*action).await?;
                screen.announce(self.began.elapsed(), self.caption)?;
            }
            if once {
                return Ok(Ended::Played);
            }
        }
    }

    async fn act(&mut self, action: Action) -> anyhow::Result<()> {
        self.caption = action.caption();
        match action {
            Action::Quiet => self.traffic.order(QUIET_CLIENTS, Phase::Quiet),
            Action::Rush => self.traffic.order(RUSH_CLIENTS, Phase::Rush),
            Action::Kill => {
                self.traffic.order(RUSH_CLIENTS, Phase::AfterKill);
                self.cut.extend(self.fleet.kill().await);
                self.kills += 1;
                self.killed = Some((Instant::now(), Kill::default()));
            }
            Action::Revive => {
                self.killed = None;
                self.fleet.revive().await?;
            }
            Action::End => {}
        }
        Ok(())
    }

    async fn watch_until(&mut self, due: Instant, screen: &mut Screen) -> anyhow::Result<()> {
        let mut watch = interval(WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = sleep_until(due) => return Ok(()),
                _ = watch.tick() => {}
            }
            let listed = self.listed().await?;
            if let Some((at, kill)) = &mut self.killed {
                let victim = listed
                    .get(VICTIM)
                    .map(|victim| (victim.state.as_str(), victim.requests));
                kill.observe(at.elapsed(), victim);
            }
            let tally = self.traffic.tally();
            self.remember(&tally);
            if Instant::now() >= self.next_drawing {
                self.next_drawing += screen.refresh();
                screen.draw(&self.moment(&tally, &listed))?;
            }
        }
    }

    fn remember(&mut self, tally: &Tally) {
        let now = Instant::now();
        self.history
            .push_back((now, members().map(|(_, id)| tally.served_by(id)).collect()));
        // One that is a second old stays, to count from.
        while self.history.get(1).is_some_and(|(at, _)| now - *at >= RECENT) {
            self.history.pop_front();
        }
    }

    async fn listed(&mut self) -> anyhow::Result<HashMap<String, Listed>> {
        let path = format!("/api/v1/backends?app={APP}");
        let listing = self.watcher.send(Method::GET, &path, None).await?.json()?;
        let backends = listing["backends"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let entry = |backend: &Value| Listed {
            state: text(&backend["state"]),
            in_flight: number(&backend["in_flight"]),
            requests: number(&backend["requests_total"]),
        };
        Ok(backends
            .map(|backend| (text(&backend["id"]), entry(backend)))
            .collect())
    }

    fn moment(&self, tally: &Tally, listed: &HashMap<String, Listed>) -> Moment {
        let before = self
            .history
            .front()
            .map(|(_, counts)| counts.as_slice())
            .unwrap_or_default();
        let row = |(index, (region, id)): (usize, (&'static str, &'static str))| {
            let requests = tally.served_by(id);
            let status = listed.get(id);
            Row {
                id,
                region,
                state: status.map_or_else(|| "gone".to_owned(), |status| status.state.clone()),
                in_flight: status.map_or(0, |status| status.in_flight),
                requests,
                recent: requests - before.get(index).copied().unwrap_or(0),
            }
        };
        Moment {
            at: self.began.elapsed(),
            caption: self.caption,
            rows: members().enumerate().map(row).collect(),
            failed: tally.failed,
        }
    }

    /// Ends the traffic, lets the backends deregister, and returns what was seen.
    pub(crate) async fn close(self) -> anyhow::Result<Evidence> {
        let tally = self.traffic.stop().await;
        self.fleet.leave().await?;
        Ok(Evidence {
            tally,
            kills: self.kills,
            kill: self.killed.map(|(_, kill)| kill),
            cut: self.cut,
        })
    }
}
