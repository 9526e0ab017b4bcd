//! The state machine itself. Each kind of input has a file of its own beside this one.

mod audit;
mod configure;
mod drain;
mod expiry;
mod foreign;
mod guard;
mod heartbeat;
mod hold;
mod leave;
mod load;
mod operate;
mod overdue;
mod probe;
mod publish;
mod query;
mod register;
mod restore;
mod settle;
mod succession;
mod traffic;
mod write;

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendId, Incarnation, MonoTime, TrafficReport};
use foldhash::fast::FixedState;

use crate::apps::Apps;
use crate::clock::{Active, Clock};
use crate::entry::Entry;
use crate::events::Events;
use crate::index::Index;
use crate::jitter::Jitter;
use crate::remembered::Remembered;
use crate::slots::{MAX_SLOTS, Slots};
use crate::timers::Timers;
use crate::unwritten::Unwritten;
use crate::{
    AppPolicy, Bounds, Config, Configuration, DeregisterError, Deregistered, Event, FencedError, Hold, Kept,
    LoadReport, Pace, Patch, PatchError, Probe, Reconciled, RegisterError, Registered, Registration, Renewed,
    Share, Snapshot, StaticError, Stats, Status, Unrestored, Write,
};
use configure::Listed;
use drain::Drains;
use hold::Held;
use publish::Publisher;

/// Which backends exist and which of them may be routed to, as a state machine without clock, lock,
/// runtime or random source.
///
/// # Order of calls
///
/// 1. Feed it: every `handle_*` takes the time at which its input arrived. Times should not go backwards;
///    one that does counts as the latest seen.
/// 2. After any number of `handle_*` calls, [`poll_timeout`](Self::poll_timeout) says when
///    [`handle_timeout`](Self::handle_timeout) is due. The answer may be earlier than anything that then
///    happens, since a heartbeat doesn't touch the timers, and it is at most [`Config::tick`] after the
///    last call while anything is registered.
/// 3. [`poll_event`](Self::poll_event) until `None`, and
///    [`poll_snapshot`](Self::poll_snapshot) when [`is_dirty`](Self::is_dirty), as often or as rarely as
///    one likes: changes add up to one snapshot.
///
/// A gate of a meter moves within the call that decides it, before any snapshot tells: a backend that is
/// out gets no request from that instant.
///
/// # Pauses
///
/// A call that comes later than a tick and its tolerance after the one before, while anything is
/// registered, ends a pause of the process: nobody can have sent a heartbeat, so every deadline moves by
/// the whole silence. Any `handle_*` detects it, before it does anything else.
///
/// # Limits
///
/// Backends, apps, waiting events and remembered changes are bounded by [`Config`]; timers are one for
/// each backend; and one call of [`handle_timeout`](Self::handle_timeout) does a bounded amount of work.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    clock: Clock,
    entries: Slots<Entry>,
    index: Index,
    timers: Timers,
    apps: Apps,
    drains: Drains,
    remembered: Remembered,
    /// The backends of the configuration file, as it has them.
    listed: Listed,
    events: Events,
    publisher: Publisher,
    jitter: Jitter,
    next_incarnation: Incarnation,
    /// What a store doesn't know yet, if there is one.
    unwritten: Unwritten,
    stats: Stats,
    /// Whose gates are held open.
    held: Held,
    /// Of everybody's limits.
    share: Share,
    /// The most backends that it ever had room for.
    most_backends: usize,
}

impl Registry {
    /// An empty registry, at `now`.
    #[must_use]
    pub fn new(mut config: Config, now: MonoTime) -> Self {
        // One place is kept for an incarnation that supersedes another in a full registry.
        config.max_backends = config.max_backends.min(MAX_SLOTS - 1);
        Self {
            clock: Clock::new(now, config.tick, config.tick_tolerance),
            entries: Slots::new(),
            index: Index::new(config.seed),
            timers: Timers::default(),
            apps: Apps::new(config.app, config.seed),
            drains: Drains::new(config.seed),
            remembered: Remembered::new(config.max_remembered, config.seed),
            listed: Listed::with_hasher(FixedState::with_seed(config.seed)),
            events: Events::new(config.max_events),
            publisher: Publisher::default(),
            jitter: Jitter::new(config.seed),
            next_incarnation: config.first_incarnation,
            unwritten: Unwritten::new(config.seed),
            stats: Stats::default(),
            held: Held::default(),
            share: Share::WHOLE,
            most_backends: config.max_backends,
            config,
        }
    }

    /// What it was made with; the policy of all apps without their own is the one that was last
    /// [configured](Self::configure).
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The policy in force for an app, whether it has members or not.
    #[must_use]
    pub fn app_policy(&self, app: &AppName) -> AppPolicy {
        self.apps.policy(app)
    }

    /// Sets the policy for one app, which need not have members yet. It holds from the next decision on;
    /// [`LastBackend::Keep`](crate::LastBackend::Keep) brings a backend back at once where all are
    /// ejected, and [`Monitoring::Off`](crate::Monitoring::Off) one that probes took out. The app is published again. Policies are kept until the registry goes: they are the
    /// owner's, as many as its configuration names.
    pub fn set_app_policy(&mut self, app: &AppName, policy: AppPolicy, now: MonoTime) {
        self.advance(now);
        if let Some(app) = self.apps.set_policy(app, policy) {
            self.policy_changed(app);
        }
        debug_assert!(self.check_invariants());
    }

    /// Makes a configuration the one in force, all of it at once: at the start, and whenever it has been read
    /// again.
    ///
    /// The policy of every app is replaced: those that are named get theirs, all others
    /// [`Configuration::others`]. What holds for each is as for [`set_app_policy`](Self::set_app_policy), but an
    /// app whose policy stays the same is not published again.
    ///
    /// So are the backends of the file:
    ///
    /// - One that is new joins its app, as a registration does, and has no lease: it needs no heartbeat, and
    ///   never expires. Nobody can deregister it, or take its id by registering.
    /// - One that is otherwise than it was in the file is changed in place, and what it reported about itself is
    ///   forgotten. With another address or app it gets a new incarnation, and the old one drains.
    /// - One that had registered itself is the file's from now on.
    /// - One that isn't in the file any more drains, as after a deregistration, for [`Config::drain_timeout`] at
    ///   the most. If it registers meanwhile, it is a new incarnation.
    ///
    /// An operator's changes are laid over them as over any backend.
    ///
    /// # Errors
    /// When two backends have the same id, or there is no room for those that are new. Nothing has changed then,
    /// and the policies haven't either.
    pub fn configure(
        &mut self,
        configuration: Configuration,
        now: MonoTime,
    ) -> Result<Reconciled, StaticError> {
        self.advance(now);
        let result = self.put_in_force(configuration);
        debug_assert!(self.check_invariants());
        result
    }

    /// Has other bounds from now on. Leases that have begun go on as they are, and so does whoever is there although
    /// there is room for fewer.
    pub fn rebound(&mut self, bounds: Bounds, now: MonoTime) {
        self.advance(now);
        self.config.ttl = bounds.ttl;
        self.config.max_backends = bounds.max_backends.min(MAX_SLOTS - 1);
        self.config.drain_timeout = bounds.drain_timeout;
        self.config.mass_expiry_guard = bounds.mass_expiry_guard;
        self.most_backends = self.most_backends.max(self.config.max_backends);
        debug_assert!(self.check_invariants());
    }

    /// As [`configure`](Self::configure), but the gates that it would shut stay open until they are
    /// [released](Self::release): whoever still goes by the snapshot before is served, and does not find all gates of an
    /// app shut for which the next snapshot has other backends. The next one is to be published meanwhile.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    pub fn configure_ahead(
        &mut self,
        configuration: Configuration,
        now: MonoTime,
    ) -> Result<(Reconciled, Hold), StaticError> {
        self.advance(now);
        let (result, hold) = self.holding(|registry| registry.put_in_force(configuration));
        debug_assert!(self.check_invariants());
        result.map(|reconciled| (reconciled, hold))
    }

    /// Shuts the gates that were held open, but for those of backends that are back.
    pub fn release(&mut self, hold: Hold) {
        self.let_shut(hold);
        debug_assert!(self.check_invariants());
    }

    /// Brings back what was kept before a restart; to be called once, before anything registers. Where the configuration
    /// has backends, [`configure`](Self::configure) comes first, since they count, and need the room; then
    /// [`Config::first_incarnation`] has to be beyond all that were kept.
    ///
    /// - Each has its incarnation, a fresh lease, and what an operator has set laid over it. Its statistics, its ledgers
    ///   and its renewals begin anew. No event tells of it.
    /// - It is routable at once, also where new backends wait for their first probe; its reason is
    ///   [`Restored`](crate::Reason::Restored), and a [probe](Probe::Suspect) is to be sent.
    /// - A probe that fails takes it out of rotation right then: it is unhealthy, and
    ///   [`Absent`](crate::Reason::Absent). Nobody is deregistered by it.
    /// - A heartbeat, a registration, or a probe that passes, be it the monitor's, ends the doubt, and brings it back.
    /// - Without any of them it expires when its lease ends. The mass-expiry guard doesn't keep it: it hasn't renewed.
    /// - One that was [leaving](Kept::leaving) goes on draining, for as long as was left, unless somebody has its id.
    ///
    /// `admit` says whether a backend may be there, or why not. Gives those that couldn't be brought back. Nothing stops
    /// for them, and a store is told to forget them, unless [others](crate::Leases::Elsewhere) have them there as well.
    pub fn restore(
        &mut self,
        kept: Kept,
        admit: impl Fn(&Backend) -> Result<(), String>,
        now: MonoTime,
    ) -> Vec<Unrestored> {
        self.advance(now);
        let unrestored = self.bring_back(kept, admit);
        debug_assert!(self.check_invariants());
        unrestored
    }

    /// What a store doesn't know yet, as it is now, of `max` ids at the most, oldest change first. They are due again
    /// after [`handle_not_kept`](Self::handle_not_kept), and so is what changes meanwhile after
    /// [`handle_kept`](Self::handle_kept): one of the two is to be called. Always empty with [`Keep::Nothing`].
    ///
    /// A heartbeat or a renewal that changes nothing but the lease is nothing to be kept.
    ///
    /// [`Keep::Nothing`]: crate::Keep::Nothing
    pub fn take_writes(&mut self, max: usize) -> Vec<Write> {
        let writes = self.take_due(max);
        debug_assert!(self.check_invariants());
        writes
    }

    /// These have been kept.
    pub fn handle_kept(&mut self, writes: &[Write]) {
        self.unwritten.kept(writes);
        debug_assert!(self.check_invariants());
    }

    /// These may not have been kept. They are the next to be taken.
    pub fn handle_not_kept(&mut self, writes: &[Write]) {
        self.unwritten.not_kept(writes);
        debug_assert!(self.check_invariants());
    }

    /// Of how many ids there is something to be [taken](Self::take_writes).
    #[must_use]
    pub fn writes_waiting(&self) -> usize {
        self.unwritten.waiting()
    }

    /// Of how many ids a store doesn't know the latest: those that wait, and those that have been taken.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Gives the numbers that begin with `first` and are a stride apart from now on, but none that is before the one that
    /// would have been next: this registry has become another one to those that it shares a store with.
    pub fn number_from(&mut self, first: Incarnation) {
        self.number(first);
    }

    /// Takes in what somebody else has changed in the store that both keep theirs in.
    ///
    /// Of two lives of an id the later one wins. What was changed here and isn't written yet stays, and is written: the
    /// store knows which of the two is later. A backend of the configuration file stays, whatever others say. One that
    /// there is no room for is left out, and [counted](Stats::left_out); an earlier life of it is gone all the same.
    pub fn handle_foreign(&mut self, change: Write, now: MonoTime) {
        self.advance(now);
        self.take_over_change(change);
        debug_assert!(self.check_invariants());
    }

    /// As [`handle_foreign`](Self::handle_foreign), but where another's incarnation takes over, the gate of the old one stays
    /// open until it is [released](Self::release), as with [`handle_register_ahead`](Self::handle_register_ahead).
    /// `None` if there is none.
    pub fn handle_foreign_ahead(&mut self, change: Write, now: MonoTime) -> Option<Hold> {
        self.advance(now);
        let ((), hold) = self.holding(|registry| registry.take_over_change(change));
        debug_assert!(self.check_invariants());
        self.held.holds(hold).then_some(hold)
    }

    /// As [`handle_resync`](Self::handle_resync), with gates that stay open as with
    /// [`handle_foreign_ahead`](Self::handle_foreign_ahead).
    pub fn handle_resync_ahead(&mut self, kept: Kept, now: MonoTime) -> Option<Hold> {
        self.advance(now);
        let ((), hold) = self.holding(|registry| registry.take_over_all(kept));
        debug_assert!(self.check_invariants());
        self.held.holds(hold).then_some(hold)
    }

    /// The life that an id holds a lease by, and how long that is; `None` where nobody of that id does.
    #[must_use]
    pub fn lease(&self, id: &BackendId) -> Option<(Incarnation, Duration)> {
        let slot = self.index.find(id, &self.entries)?;
        let entry = &self.entries[slot];
        write::is_kept(entry).then(|| (entry.endpoint.incarnation, entry.ttl()))
    }

    /// Whether a change of its registration has yet to be written, or is being written.
    #[must_use]
    pub fn is_unwritten(&self, id: &BackendId) -> bool {
        self.unwritten.has_registration_of(id)
    }

    /// The time without the pauses of the process, for whoever holds leases beside this registry.
    #[must_use]
    pub fn awake(&self, now: MonoTime) -> MonoTime {
        self.clock.preview(now, self.is_watched()).into()
    }

    /// When it will be that time, if no pause comes between.
    #[must_use]
    pub fn when_awake(&self, at: MonoTime) -> MonoTime {
        self.clock.real(at.into())
    }

    /// Changes of others were missed: this is all that is kept now. What isn't in it is gone, but for what was
    /// [changed here](Self::handle_foreign) and isn't written yet.
    pub fn handle_resync(&mut self, kept: Kept, now: MonoTime) {
        self.advance(now);
        self.take_over_all(kept);
        debug_assert!(self.check_invariants());
    }

    /// Registers a backend, renews it, or lets a new incarnation take over.
    ///
    /// - An unknown id becomes a new backend, with what an operator once set on it when it was that app's, if
    ///   that is remembered.
    /// - A live id with the same app and address is renewed: the fields are applied, what it reported about
    ///   itself is forgotten, ledgers and statistics stay.
    /// - A live id with another address, or one that drains after a deregistration, gets a new incarnation
    ///   with a meter of its own; the old one drains unlisted for [`Config::drain_timeout`] at the most.
    ///   In a full registry it isn't waited for.
    ///
    /// # Errors
    /// When the id lives in another app or stands in the configuration file, the lease is out of bounds, or the
    /// registry is full. Nothing has changed then.
    pub fn handle_register(
        &mut self,
        registration: Registration,
        now: MonoTime,
    ) -> Result<Registered, RegisterError> {
        self.advance(now);
        let result = self.register(registration);
        debug_assert!(self.check_invariants());
        result
    }

    /// As [`handle_register`](Self::handle_register), but where a new incarnation takes over, the gate of the old one stays
    /// open until it is [released](Self::release): whoever still goes by the snapshot before finds the old one, and not
    /// nobody, where it was its app's only member. The next snapshot is to be published meanwhile.
    ///
    /// # Errors
    /// As [`handle_register`](Self::handle_register). Nothing is held then.
    pub fn handle_register_ahead(
        &mut self,
        registration: Registration,
        now: MonoTime,
    ) -> Result<(Registered, Hold), RegisterError> {
        self.advance(now);
        let (result, hold) = self.holding(|registry| registry.register(registration));
        debug_assert!(self.check_invariants());
        result.map(|registered| (registered, hold))
    }

    /// Renews a lease and takes in what the backend reports about itself; a field that is `None` leaves
    /// what was reported before. O(1); publishes nothing unless the report changes the weight, whether it drains, or by a
    /// step of its [`LoadFactor`](edgeproxy_backend::LoadFactor) how busy it is beside the others. A backend that drains after its deregistration is not revived by it, and one of the
    /// configuration file has no lease to renew.
    ///
    /// # Errors
    /// When the id is unknown, or `fence` names an incarnation that isn't the live one.
    pub fn handle_heartbeat(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        report: &LoadReport,
        now: MonoTime,
    ) -> Result<Renewed, FencedError> {
        self.advance(now);
        let result = self.heartbeat(id, fence, report);
        debug_assert!(self.check_invariants());
        result
    }

    /// Takes a backend out; it gets no new request from this instant. With `drain: None` it is gone at
    /// once, and what it has in flight is not cut. With `Some`, at most [`Config::drain_max`], it stays
    /// listed as draining until nothing is in flight, looked at every 100 ms, or the time is over and the
    /// rest is cut. For one that drains already, a second call can shorten the time, not lengthen it.
    ///
    /// # Errors
    /// When the id is unknown, `fence` names an incarnation that isn't the live one, or the backend stands in
    /// the configuration file.
    pub fn handle_deregister(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        drain: Option<Duration>,
        now: MonoTime,
    ) -> Result<Deregistered, DeregisterError> {
        self.advance(now);
        let result = self.deregister(id, fence, drain);
        debug_assert!(self.check_invariants());
        result
    }

    /// Applies an operator's change. It outlives renewals and later incarnations until it is cleared.
    ///
    /// Limits that contradict each other are refused here; where a later registration contradicts an
    /// operator's limit, the hard limit wins, whoever set it, and the soft one is lowered to it.
    ///
    /// # Errors
    /// As for a heartbeat, and when the limits that would result contradict each other. Nothing has
    /// changed then.
    pub fn handle_patch(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        patch: &Patch,
        now: MonoTime,
    ) -> Result<Status, PatchError> {
        self.advance(now);
        let result = self.patch(id, fence, patch);
        debug_assert!(self.check_invariants());
        result
    }

    /// Has limits divided so from now on: what members of snapshots and listings tell is this registry's share. What was
    /// asked for stays what is kept. O(n) where it is another share than before.
    pub fn share_limits(&mut self, share: Share, now: MonoTime) {
        self.advance(now);
        self.divide(share);
        debug_assert!(self.check_invariants());
    }

    /// Takes in what the data plane found. A report about a past incarnation or a past epoch of its meter
    /// is void.
    pub fn handle_traffic(&mut self, report: &TrafficReport, now: MonoTime) {
        self.advance(now);
        self.traffic(report);
        debug_assert!(self.check_invariants());
    }

    /// Reports were lost, because a queue was full: compares every meter's gate with its ledger. O(n).
    pub fn handle_lost_reports(&mut self, now: MonoTime) {
        self.advance(now);
        self.lost_reports();
        debug_assert!(self.check_invariants());
    }

    /// Takes in a probe's result and says how soon the next is due. One about a past incarnation, or one
    /// that was asked for a suspect that isn't one any more, is void.
    pub fn handle_probe(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        probe: Probe,
        passed: bool,
        now: MonoTime,
    ) -> Pace {
        self.advance(now);
        let pace = self.probe(id, incarnation, probe, passed);
        debug_assert!(self.check_invariants());
        pace
    }

    /// Does what is due: leases, suspects, ejections and drains that end, in the order of their deadlines.
    /// Looks at 1,024 timers and as many drains at the most, fewer where the mass-expiry guard has to count; if
    /// more are due,
    /// [`poll_timeout`](Self::poll_timeout) says "at once". May be called at any time.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        self.advance(now);
        self.timeout();
        debug_assert!(self.check_invariants());
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next; not later than now if work is left over.
    /// `None` while nothing is registered.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let (timer, _) = self.timers.peek()?;
        let next = self.drains.next_sweep().map_or(timer, |sweep| sweep.min(timer));
        Some(
            self.clock
                .real(next)
                .clamp(self.clock.last(), self.clock.next_tick()),
        )
    }

    /// The oldest event that hasn't been polled.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The snapshot, if anything that routing sees has changed since the last call: members, their
    /// endpoints, their states. Rebuilds the apps that changed and shares the others. The reasons in it
    /// are those of the moment at which their app was rebuilt.
    pub fn poll_snapshot(&mut self, now: MonoTime) -> Option<Snapshot> {
        let now = self.clock.preview(now, self.is_watched());
        self.publisher.publish(&mut self.apps, &self.entries, now)
    }

    /// Whether [`poll_snapshot`](Self::poll_snapshot) would give one.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.publisher.is_dirty()
    }

    fn advance(&mut self, now: MonoTime) {
        if self.clock.advance(now, self.is_watched()) {
            self.stats.pauses += 1;
        }
    }

    /// Whether a silence would be noticed: there is something that a heartbeat could have been sent for.
    fn is_watched(&self) -> bool {
        self.entries.len() > 0
    }

    fn now(&self) -> Active {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests;
