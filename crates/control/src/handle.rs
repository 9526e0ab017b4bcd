mod succession;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendId, Incarnation, MonoTime};
use edgeproxy_registry::{
    AppPolicy, Bounds, Config, Configuration, DeregisterError, Deregistered, FencedError, Hold, Keep, Kept,
    Leases as HeldWhere, LoadReport, Pace, Page, Patch, PatchError, Probe, Reconciled, RegisterError,
    Registered, Registration, Registry, Renewed, Snapshot, StaticError, Stats, Status, Unrestored,
};
use edgeproxy_store::cluster::Answer;
use edgeproxy_store::{Loaded, Store};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::driver::Driver;
use crate::keeping::{Acknowledged, Degraded, Keeping, StoreStatus};
use crate::leases::Leases;

/// Begins a registry that a restart empties: the handle to call it by, and the driver to run on the control thread's
/// runtime.
pub fn registry(config: Config) -> (Handle, Driver) {
    begin(config, None)
}

/// Begins a registry that is kept in a store, of which `loaded` is what there was. What was registered comes back by
/// [`Handle::restore`], once the configuration is in force.
pub fn kept_registry(mut config: Config, store: Arc<dyn Store>, loaded: &Loaded) -> (Handle, Driver) {
    config.keep = Keep::Registrations;
    config.stride = store.stride();
    if store.shared().is_some() {
        config.leases = HeldWhere::Elsewhere;
    }
    config.first_incarnation = first_incarnation(config.first_incarnation, loaded, config.stride);
    begin(config, Some(Arc::new(Keeping::new(store))))
}

/// Numbers that are left out by a restart. Those that were given while the store couldn't be written to, or in the
/// instant before a crash, are among them, and aren't given again: a process that was stopped and still has one can't
/// take its successor for itself. Where each start has numbers of its own none need be left out.
const LEFT_OUT: u64 = 1_000_000;

fn first_incarnation(first: Incarnation, loaded: &Loaded, stride: NonZeroU64) -> Incarnation {
    let next = loaded.next_incarnation.map(Incarnation::get);
    let left_out = if stride == NonZeroU64::MIN { LEFT_OUT } else { 0 };
    let first_after = next.and_then(|next| Incarnation::new(next.saturating_add(left_out)));
    first_after.map_or(first, |after| after.max(first))
}

fn begin(config: Config, keeping: Option<Arc<Keeping>>) -> (Handle, Driver) {
    let clock = Clock::start();
    let me = keeping.as_ref().and_then(|keeping| keeping.store.shared());
    let leases = me.map(|shared| Leases::new(shared.me().clone()));
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            registry: Registry::new(config.clone(), clock.now()),
            generation: 0,
            paused: false,
            change: 0,
            leases,
            holds: Vec::new(),
        }),
        config,
        clock,
        wake: Notify::new(),
        published: watch::Sender::new(0),
        stopping: AtomicBool::new(false),
        keeping,
    });
    (
        Handle {
            shared: Arc::clone(&shared),
        },
        Driver::new(shared),
    )
}

pub(crate) struct Shared {
    state: Mutex<State>,
    config: Config,
    pub(crate) clock: Clock,
    /// Something changed that the driver should look at.
    pub(crate) wake: Notify,
    /// The newest generation that needs no publication any more.
    pub(crate) published: watch::Sender<u64>,
    stopping: AtomicBool,
    /// Where it is kept, if it is.
    pub(crate) keeping: Option<Arc<Keeping>>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The registry keeps its invariants at every return; a panic elsewhere doesn't spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no lease runs out: nobody could renew one.
    pub(crate) fn stands_still(&self, state: &State) -> bool {
        state.paused || self.stopping.load(Ordering::Acquire)
    }

    /// Somebody else has changed something, which is published soon, and waited for by nobody.
    pub(crate) fn changed_elsewhere(&self) {
        self.wake.notify_one();
    }

    /// Has the store told of what it doesn't know, and asked for what is wanted of it.
    pub(crate) fn keep(&self, state: &State) {
        if let Some(keeping) = &self.keeping
            && state.registry.writes_waiting() > 0
        {
            keeping.wake.notify_one();
        }
        let Some(leases) = &state.leases else { return };
        if let Some(keeping) = &self.keeping
            && leases.is_wanting()
        {
            keeping.share.notify_one();
        }
        if leases.is_due_earlier() {
            self.wake.notify_one();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("published", &*self.published.borrow())
            .finish_non_exhaustive()
    }
}

pub(crate) struct State {
    pub(crate) registry: Registry,
    /// Counts the changes that call for a snapshot. Not the snapshot's own version: a change that is undone
    /// before it was published never gets one, and whoever waits for it would wait for ever.
    pub(crate) generation: u64,
    /// Nothing changes and no lease runs out, since somebody else may be going on with what is here.
    pub(crate) paused: bool,
    /// Counts the changes that a store is to be told of.
    pub(crate) change: u64,
    /// Whose lease is whose, where several proxies share the store.
    pub(crate) leases: Option<Leases>,
    /// Gates that stay open until that generation is published.
    pub(crate) holds: Vec<(u64, Hold)>,
}

impl State {
    pub(crate) fn release_until(&mut self, generation: u64) {
        let due = |(at, _): &mut (u64, Hold)| *at <= generation;
        let due: Vec<_> = self.holds.extract_if(.., due).collect();
        for (_, hold) in due {
            self.registry.release(hold);
        }
    }
}

/// Why a call changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError<E> {
    /// The process is going down.
    #[error("the server is stopping")]
    Stopping,
    /// The registry refused.
    #[error(transparent)]
    Refused(#[from] E),
}

/// The running registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Registers or renews a backend, and resolves once the table that routes to it has been published, and a store
    /// keeps it. Where that fails, or takes more than 5 s, it resolves all the same, and says so.
    /// Dropped halfway, the registration stands all the same.
    ///
    /// # Errors
    /// As [`Registry::handle_register`], or the server is stopping.
    pub async fn register(
        &self,
        registration: Registration,
    ) -> Result<Acknowledged<Registered>, ControlError<RegisterError>> {
        let mut held = None;
        let changed = self.change(|state, now| {
            state.is_to_register(&registration.backend.id, now);
            let (registered, hold) = state.registry.handle_register_ahead(registration, now)?;
            state.has_registered(&registered.endpoint.id, now);
            held = Some(Held {
                handle: self.clone(),
                hold: Some(hold),
            });
            Ok(registered)
        });
        let (outcome, changed) = changed?;
        self.published(&changed).await;
        drop(held);
        Ok(self.acknowledged(outcome, &changed).await)
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// As [`Registry::handle_heartbeat`], or the server is stopping.
    pub fn heartbeat(
        &self,
        id: &BackendId,
        fence: Option<Incarnation>,
        report: &LoadReport,
    ) -> Result<Renewed, ControlError<FencedError>> {
        let (renewed, Changed { generation, .. }) = self.change(|state, now| {
            let renewed = state.registry.handle_heartbeat(id, fence, report, now)?;
            state.has_beaten(id, report, now);
            Ok(renewed)
        })?;
        // Most heartbeats change nothing that anyone but the lease would see.
        if generation > *self.shared.published.borrow() {
            self.shared.wake.notify_one();
        }
        Ok(renewed)
    }

    /// Takes a backend out for good, and resolves once the table without it has been published, and a store has
    /// forgotten it, as [`register`](Self::register) does. `drain` keeps it listed until its work in flight has ended, and cuts what is left after that time.
    ///
    /// # Errors
    /// As [`Registry::handle_deregister`], or the server is stopping. That there is no such backend is told as late as
    /// that it has gone: whoever asks again takes it for that.
    pub async fn deregister(
        &self,
        id: &BackendId,
        fence: Option<Incarnation>,
        drain: Option<Duration>,
    ) -> Result<Acknowledged<Deregistered>, ControlError<DeregisterError>> {
        let outcome = self
            .publish(|state, now| {
                let deregistered = state.registry.handle_deregister(id, fence, drain, now)?;
                state.has_left(id);
                Ok(deregistered)
            })
            .await;
        if let Err(ControlError::Refused(DeregisterError::Fenced(FencedError::Unknown(_)))) = &outcome {
            self.settled().await;
        }
        outcome
    }

    /// Waits until all that has changed so far is kept, or can't be, for 5 s at the most.
    pub async fn settled(&self) {
        let Some(keeping) = &self.shared.keeping else {
            return;
        };
        let waiting = {
            let state = self.shared.lock();
            (state.registry.unwritten() > 0).then_some(state.change)
        };
        if let Some(change) = waiting {
            let _ = keeping.kept(change).await;
        }
    }

    /// An operator's change; resolves once it has been published and is kept, as [`register`](Self::register) does.
    ///
    /// # Errors
    /// As [`Registry::handle_patch`], or the server is stopping.
    pub async fn patch(
        &self,
        id: &BackendId,
        fence: Option<Incarnation>,
        patch: &Patch,
    ) -> Result<Acknowledged<Status>, ControlError<PatchError>> {
        self.publish(|state, now| state.registry.handle_patch(id, fence, patch, now))
            .await
    }

    /// Puts a configuration's apps and backends in force, all at once. What changes is published soon, and waited
    /// for by nobody: at the start the driver doesn't run yet.
    ///
    /// # Errors
    /// As [`Registry::configure`], or the server is stopping.
    pub fn configure(&self, configuration: Configuration) -> Result<Reconciled, ControlError<StaticError>> {
        let (reconciled, _) = self.change(|state, now| state.registry.configure(configuration, now))?;
        self.shared.wake.notify_one();
        Ok(reconciled)
    }

    /// Brings back what a store has kept, as [`Registry::restore`] does, and gives what can't be. To be called before
    /// the driver runs, and after the configuration is in force.
    #[must_use = "what is lost is to be told"]
    pub fn restore(&self, loaded: Loaded, admit: impl Fn(&Backend) -> Result<(), String>) -> Vec<Unrestored> {
        let Loaded {
            records,
            overrides,
            leaving,
            owned,
            members,
            ..
        } = loaded;
        let kept = Kept {
            records,
            overrides,
            leaving,
        };
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let unrestored = state.registry.restore(kept, admit, now);
        state.begin_with(owned, members, now);
        self.shared.keep(&state);
        unrestored
    }

    /// Has this proxy go by its share of backends' limits, as the others that share the store do by theirs. What backends
    /// asked for is what is kept. Nothing, where the store is shared with nobody.
    pub fn share_limits(&self) {
        let now = self.shared.clock.now();
        self.shared.lock().divide_limits(now);
        self.shared.wake.notify_one();
    }

    /// Waits until all that has changed is kept, for `limit` at the most, and says whether it is. To be called at the
    /// end, after [`stop`](Self::stop), while the driver still runs.
    pub async fn flush(&self, limit: Duration) -> bool {
        let Some(keeping) = &self.shared.keeping else {
            return true;
        };
        let mut progress = keeping.progress.subscribe();
        let flushed = async {
            loop {
                // Before the look: a commit that ends after it is seen.
                progress.mark_unchanged();
                if self.shared.lock().registry.unwritten() == 0 {
                    return;
                }
                keeping.wake.notify_one();
                keeping.hurry.notify_one();
                // Each end of a commit is told there. The sender lives in what `self` holds.
                let _ = progress.changed().await;
            }
        };
        timeout(limit, flushed).await.is_ok()
    }

    /// How the store is.
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        let Some(keeping) = &self.shared.keeping else {
            return StoreStatus {
                name: "memory",
                degraded: None,
                pending: 0,
                last_commit: None,
            };
        };
        let progress = keeping.progress.borrow().clone();
        StoreStatus {
            name: keeping.store.name(),
            degraded: progress.degraded.map(|(since, reason)| Degraded {
                lasting: since.elapsed(),
                reason,
            }),
            pending: self.shared.lock().registry.unwritten(),
            last_commit: progress.last_commit,
        }
    }

    /// Puts a configuration's apps, backends and bounds in force, all at once, and has what follows from it published
    /// before a gate is shut: [`release`](Self::release) does that, once nobody goes by the snapshot before any more.
    /// `publish` gets what has changed, or `None` if nothing has, and is called on this thread. To be called where
    /// [`Driver::run`](crate::Driver::run) is polled.
    ///
    /// # Errors
    /// As [`Registry::configure`], or the server is stopping. Nothing has changed then, and nothing was published.
    pub fn reconfigure(
        &self,
        configuration: Configuration,
        bounds: Bounds,
        publish: impl FnOnce(Option<&Snapshot>),
    ) -> Result<(Reconciled, Hold), ControlError<StaticError>> {
        let ((configured, snapshot), _) = self.change(|state, now| {
            let registry = &mut state.registry;
            let before = registry.config().bounds();
            registry.rebound(bounds, now);
            match registry.configure_ahead(configuration, now) {
                Ok(configured) => Ok((configured, registry.poll_snapshot(now))),
                Err(error) => {
                    registry.rebound(before, now);
                    Err(error)
                }
            }
        })?;
        publish(snapshot.as_ref());
        // Whoever waits for a publication has got one, which the driver tells them.
        self.shared.wake.notify_one();
        Ok(configured)
    }

    /// Shuts the gates that a configuration has left open.
    pub fn release(&self, hold: Hold) {
        self.shared.lock().registry.release(hold);
    }

    /// The result of a probe, and how soon the next is due.
    #[must_use]
    pub fn report_probe(&self, id: &BackendId, incarnation: Incarnation, probe: Probe, passed: bool) -> Pace {
        let pace = {
            let now = self.shared.clock.now();
            let mut state = self.shared.lock();
            let pace = state.registry.handle_probe(id, incarnation, probe, passed, now);
            if probe == Probe::Suspect {
                let answer = if passed { Answer::Answers } else { Answer::Refuses };
                state.was_probed(id, incarnation, answer, now);
                self.shared.keep(&state);
            }
            pace
        };
        self.shared.wake.notify_one();
        pace
    }

    /// One backend.
    #[must_use]
    pub fn get(&self, id: &BackendId) -> Option<Status> {
        self.read(|registry, now| registry.get(id, now))
    }

    /// A page of the backends that match, from `cursor` (0 is the beginning), at most `limit`.
    #[must_use]
    pub fn list(
        &self,
        cursor: usize,
        limit: usize,
        matches: impl FnMut(&Backend, edgeproxy_registry::State) -> bool,
    ) -> Page {
        self.read(|registry, now| registry.list(cursor, limit, matches, now))
    }

    /// The backends of one app, in the order of their registration; `None` if there is no such app.
    #[must_use]
    pub fn app(&self, app: &AppName) -> Option<Vec<Status>> {
        self.read(|registry, now| registry.app(app, now))
    }

    /// Every app that has a backend.
    #[must_use]
    pub fn apps(&self) -> Vec<AppName> {
        self.read(|registry, _| registry.apps())
    }

    /// The thresholds that hold for an app.
    #[must_use]
    pub fn app_policy(&self, app: &AppName) -> AppPolicy {
        self.read(|registry, _| registry.app_policy(app))
    }

    /// How full the registry is, and what has happened in it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.read(|registry, _| registry.stats())
    }

    /// The time on the registry's clock, which [`Member::since`](edgeproxy_registry::Member::since) is on.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        self.shared.clock.now()
    }

    /// The time since the registry began.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    /// What the registry was made with. What can be [changed](Self::reconfigure) is as it was at the beginning.
    #[must_use]
    pub fn limits(&self) -> &Config {
        &self.shared.config
    }

    /// From now on every change is refused as [`ControlError::Stopping`]. Reading goes on, and so do the
    /// ledgers, for the sake of the requests still in flight. No lease runs out any more, since it can't be renewed: a
    /// store keeps it for whoever is started next, however long the requests take.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Tells the proxies that share the store that this one ends, for `limit` at the most. Nothing is shared any more. Where
    /// the store was [given](Self::give_store), it is the other process that stays.
    pub async fn leave_store(&self, limit: Duration) {
        if let Some(keeping) = &self.shared.keeping
            && let Some(shared) = keeping.store.shared()
            && !keeping.is_given.load(Ordering::Acquire)
        {
            // If it takes longer, they wait.
            let _ = timeout(limit, shared.leave()).await;
        }
    }

    fn read<T>(&self, ask: impl FnOnce(&Registry, MonoTime) -> T) -> T {
        let now = self.shared.clock.now();
        ask(&self.shared.lock().registry, now)
    }

    /// Applies a change.
    fn change<T, E>(
        &self,
        apply: impl FnOnce(&mut State, MonoTime) -> Result<T, E>,
    ) -> Result<(T, Changed), ControlError<E>> {
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(ControlError::Stopping);
        }
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        if state.paused {
            return Err(ControlError::Stopping);
        }
        let value = apply(&mut state, now)?;
        state.generation += u64::from(state.registry.is_dirty());
        // While anything waits or is under way, whoever changes anything waits for it.
        state.change += u64::from(state.registry.unwritten() > 0);
        self.shared.keep(&state);
        Ok((
            value,
            Changed {
                generation: state.generation,
                change: state.change,
            },
        ))
    }

    async fn publish<T, E>(
        &self,
        apply: impl FnOnce(&mut State, MonoTime) -> Result<T, E>,
    ) -> Result<Acknowledged<T>, ControlError<E>> {
        let (outcome, changed) = self.change(apply)?;
        self.published(&changed).await;
        Ok(self.acknowledged(outcome, &changed).await)
    }

    async fn published(&self, changed: &Changed) {
        self.shared.wake.notify_one();
        let mut published = self.shared.published.subscribe();
        // The sender lives in what `self` holds, so this ends with a publication or not at all.
        let _ = published
            .wait_for(|published| *published >= changed.generation)
            .await;
    }

    async fn acknowledged<T>(&self, outcome: T, changed: &Changed) -> Acknowledged<T> {
        let unkept = match &self.shared.keeping {
            Some(keeping) => keeping.kept(changed.change).await,
            None => None,
        };
        Acknowledged { outcome, unkept }
    }
}

/// Gates that stay open until it is dropped, whoever waits for what or doesn't any more.
struct Held {
    handle: Handle,
    hold: Option<Hold>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.handle.release(hold);
        }
    }
}

/// What holds a change.
struct Changed {
    /// The generation that it is published with.
    generation: u64,
    /// The change that it is kept with.
    change: u64,
}

#[cfg(test)]
mod tests;
