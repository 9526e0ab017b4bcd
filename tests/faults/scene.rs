//! A proxy of one's own with two apps before it, clients at both, and a fault that befalls one of them.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Api, Edgeproxy, PATIENCE, Registration, Setup, Vitals, closed, eventually, settled};

use crate::beats::Beats;
use crate::ledger::{Allows, App, Ledger};
use crate::load::{Aim, CLIENTS, Load};
use crate::row::Told;
use crate::villain::Villain;

/// Backends of the app that faults befall: one that fails leaves others to try.
const SHOP: usize = 4;
/// Backends of its neighbour.
const OTHER: usize = 2;

/// The shortest lease that there is.
pub(crate) const TTL: Duration = Duration::from_secs(5);

/// How often a fault is committed at the least: the first time fills buffers and pools, the second is what the last is held to.
const ROUNDS_MIN: usize = 3;
/// And at most, until memory is back. The second stays what it is held to, so that what leaks slowly is found, too.
const ROUNDS_MAX: usize = 5;

/// How much more may be resident in the end than before anybody had asked anything, in MiB, unless a row says otherwise.
const KEEPS_MIB: u64 = 16;

pub(crate) struct Scene {
    /// `None` while there is none.
    proxy: Option<Edgeproxy>,
    pub(crate) aim: Aim,
    /// At the API.
    pub(crate) api_aim: Aim,
    pub(crate) ledger: Ledger,
    pub(crate) shop: Vec<Villain>,
    pub(crate) other: Vec<Villain>,
    /// The longest that an answer may take.
    patience: Duration,
    load: Option<Load>,
    /// Before anybody had asked anything. Descriptors are those of a proxy to which nobody has ever connected.
    empty: Vitals,
    keeps_mib: u64,
    recovered: Option<Duration>,
    notes: Vec<String>,
}

/// Short times, so that what is over is soon over, and probes of their own for both apps.
pub(crate) const TOML: &str = "\
[apps.shop.health]
interval_secs = 1
fall = 2
[apps.shop.health.http]
path = \"/healthz\"
connect_timeout_secs = 1
read_timeout_secs = 1
[apps.other.health]
interval_secs = 1
";

pub(crate) fn setup() -> Setup {
    Edgeproxy::setup()
        .toml(TOML)
        .set("STORE", "memory")
        .set("ALGORITHM", "round_robin")
        .set("MAX_FAILURES", "3")
        .set("CONNECT_TIMEOUT_SECS", "1")
        .set("RESPONSE_HEADER_TIMEOUT_SECS", "2")
        .set("RESPONSE_BODY_TIMEOUT_SECS", "1")
        .set("POOL_IDLE_TIMEOUT_SECS", "1")
        .set("API_RATE_PER_PEER", "0")
        .set("LOG", "info")
        .gives_back_at_once()
}

/// A backend that sends no heartbeats.
pub(crate) fn registration(app: App, backend: &Villain) -> Registration {
    Registration::new(backend.name(), app.name(), backend.addr()).with("ttl_secs", 3_600)
}

/// Within what time each backend is probed: the interval above, a tenth more, and the probe itself.
const PROBED: Duration = Duration::from_millis(1_500);

impl Scene {
    /// The usual one.
    pub(crate) async fn usual() -> Self {
        Self::of(setup()).await
    }

    pub(crate) async fn of(setup: Setup) -> Self {
        Self::of_registered(setup, &|registration| registration).await
    }

    /// With backends that say something more of themselves.
    pub(crate) async fn of_registered(setup: Setup, more: &dyn Fn(Registration) -> Registration) -> Self {
        let scene = Self::bare(setup).await;
        let mut api = scene.api();
        for (app, backends) in [(App::Shop, &scene.shop), (App::Other, &scene.other)] {
            for backend in backends {
                api.register_new(&more(registration(app, backend))).await;
            }
        }
        drop(api);
        scene.begun().await
    }

    /// With leases that heartbeats have to prolong, each second.
    pub(crate) async fn of_leases(setup: Setup) -> (Self, Beats) {
        let scene = Self::bare(setup.set("HEARTBEAT_TTL_SECS", &TTL.as_secs().to_string())).await;
        let mut api = scene.api();
        let mut ids = Vec::new();
        for (app, backends) in [(App::Shop, &scene.shop), (App::Other, &scene.other)] {
            for backend in backends {
                let registration = Registration::new(backend.name(), app.name(), backend.addr());
                api.register_new(&registration).await;
                ids.push(backend.name().to_owned());
            }
        }
        let beats = Beats::of(ids, &scene.api_aim);
        drop(api);
        (scene.begun().await, beats)
    }

    /// Nobody is registered yet.
    pub(crate) async fn bare(setup: Setup) -> Self {
        let proxy = setup.start().await;
        let many = |app: &str, count: usize| {
            let names = (0..count).map(|number| format!("{app}-{number}"));
            names.map(|name| Villain::start(&name)).collect()
        };
        Self {
            aim: Aim::at(proxy.proxy()),
            api_aim: Aim::at(proxy.api_addr()),
            empty: Vitals::of(&proxy),
            proxy: Some(proxy),
            ledger: Ledger::new(),
            shop: many("shop", SHOP),
            other: many("other", OTHER),
            keeps_mib: KEEPS_MIB,
            patience: PATIENCE,
            load: None,
            recovered: None,
            notes: Vec::new(),
        }
    }

    /// All have registered, and whoever did has left.
    pub(crate) async fn begun(mut self) -> Self {
        closed(self.proxy(), self.empty.descriptors).await;
        self.empty.resident = Vitals::of(self.proxy()).resident;
        self
    }

    /// So many more descriptors may be open in the end than in a proxy to which nobody has ever connected.
    pub(crate) fn opens(mut self, more: usize) -> Self {
        self.empty.descriptors += more;
        self
    }

    /// So much more, in MiB, may be resident in the end than before anybody had asked anything.
    pub(crate) fn keeps(mut self, mib: u64) -> Self {
        self.keeps_mib = mib;
        self
    }

    /// Answers may take that long.
    pub(crate) fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn proxy(&self) -> &Edgeproxy {
        self.proxy.as_ref().expect("it is there")
    }

    pub(crate) fn proxy_mut(&mut self) -> &mut Edgeproxy {
        self.proxy.as_mut().expect("it is there")
    }

    pub(crate) fn api(&self) -> Api {
        self.proxy().api()
    }

    /// Another process takes its place.
    pub(crate) async fn replaced(&mut self, by: impl AsyncFnOnce(Edgeproxy) -> Edgeproxy) {
        let before = self.proxy.take().expect("it is there");
        let after = by(before).await;
        self.aim.turn(after.proxy());
        self.api_aim.turn(after.api_addr());
        self.proxy = Some(after);
    }

    /// Clients ask from now on.
    pub(crate) fn go(&mut self) {
        let start = || Load::start(&self.aim, &self.ledger, self.patience);
        self.load = Some(self.load.take().unwrap_or_else(start));
    }

    /// Waits until each client has been answered five times more.
    pub(crate) async fn flows(&self) {
        let before = self.ledger.answers(CLIENTS);
        eventually(self.patience + PATIENCE, "every client is answered", async || {
            let now = self.ledger.answers(CLIENTS);
            if before.iter().zip(&now).all(|(before, now)| *now >= before + 5) {
                Ok(())
            } else {
                Err(format!("{before:?} before, {now:?} now"))
            }
        })
        .await;
    }

    /// Waits until that backend has answered some more.
    pub(crate) async fn answers(&self, backend: &str) {
        let before = self.ledger.answers_of(backend);
        eventually(PATIENCE, &format!("{backend} answers"), async || {
            match self.ledger.answers_of(backend) {
                now if now >= before + 3 => Ok(()),
                now => Err(format!("{now}, {before} before")),
            }
        })
        .await;
    }

    /// Ends the clients, and waits until nothing of theirs is left.
    pub(crate) async fn rest(&mut self) -> Vitals {
        if let Some(load) = self.load.take() {
            load.end().await;
        }
        settled(self.proxy(), self.empty).await
    }

    /// A fault begins, which allows these failures.
    pub(crate) fn begins(&self, allows: Allows) {
        self.ledger.begins(allows);
    }

    /// All faults are over now. What is awaited next is the recovery.
    pub(crate) fn is_over(&self) -> Over {
        self.ledger.is_over();
        Over(Instant::now())
    }

    /// All faults are over now, but had its probes taken out every backend of the shop, then nobody could know of it before
    /// the next one. Failures are allowed until somebody is answered again.
    pub(crate) async fn is_over_once_probed(&self) -> Over {
        let over = Over(Instant::now());
        let answers = || {
            self.shop
                .iter()
                .map(|one| self.ledger.answers_of(one.name()))
                .sum::<u64>()
        };
        let before = answers();
        eventually(PROBED, "the shop answers", async || {
            (answers() > before)
                .then_some(())
                .ok_or_else(|| "not yet".to_owned())
        })
        .await;
        self.ledger.is_over();
        over
    }

    /// All is as before: that was the recovery.
    pub(crate) fn has_recovered(&mut self, since: Over) {
        let took = since.0.elapsed();
        self.recovered = Some(self.recovered.map_or(took, |before| before.max(took)));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Commits a fault three times, and again as long as memory is more than after the second; the first time is the warm-up.
    pub(crate) async fn again_and_again(mut self, commit: impl AsyncFn(&mut Self)) -> Told {
        self.round(&commit).await;
        let before = self.round(&commit).await;
        let mut after = self.round(&commit).await;
        for _ in ROUNDS_MIN..ROUNDS_MAX {
            if Told::is_back(before, after) {
                break;
            }
            after = self.round(&commit).await;
        }
        self.told(before, after)
    }

    async fn round(&mut self, commit: &impl AsyncFn(&mut Self)) -> Vitals {
        self.go();
        self.flows().await;
        commit(self).await;
        self.flows().await;
        self.rest().await
    }

    /// Commits a fault once, after a warm-up without it.
    pub(crate) async fn once(mut self, commit: impl AsyncFnOnce(&mut Self)) -> Told {
        self.go();
        self.flows().await;
        let before = self.rest().await;
        self.go();
        self.flows().await;
        commit(&mut self).await;
        self.flows().await;
        let after = self.rest().await;
        self.told(before, after)
    }

    fn told(mut self, before: Vitals, after: Vitals) -> Told {
        Told {
            account: self.ledger.settle(),
            recovered: self.recovered,
            fresh: self.empty,
            before,
            after,
            keeps_mib: self.keeps_mib,
            notes: std::mem::take(&mut self.notes),
        }
    }
}

/// When a fault was over.
#[derive(Clone, Copy)]
pub(crate) struct Over(Instant);

/// Waits until that backend is in such a state.
pub(crate) async fn until_state(api: &mut Api, id: &str, what: &str, is: impl Fn(&str) -> bool) {
    eventually(PATIENCE, &format!("{id} is {what}"), async || {
        let state = api.state(id).await;
        if is(&state) { Ok(()) } else { Err(state) }
    })
    .await;
}
