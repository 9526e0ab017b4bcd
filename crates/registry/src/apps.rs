//! The apps and their members.

use edgeproxy_backend::AppName;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::clock::Active;
use crate::entry::Entry;
use crate::load::Loads;
use crate::slots::Slots;
use crate::{AppPolicy, LastBackend, State};

/// One app with at least one member.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: AppName,
    pub(crate) policy: AppPolicy,
    /// Slots in the order of registration. A member that left leaves a hole, so that neither the order
    /// nor the others' places change; the holes are closed once they are the greater part.
    members: Vec<u32>,
    holes: usize,
    by_state: [u32; State::ALL.len()],
    pub(crate) guard: Guard,
    pub(crate) loads: Loads,
    /// Whether it differs from what was published.
    pub(crate) dirty: bool,
}

/// What the mass-expiry guard has decided about an app.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guard {
    /// Leases that run out until then are distrusted.
    pub(crate) distrust_until: Option<Active>,
    /// So many more expiries are believed without another count.
    pub(crate) believed: u32,
}

const HOLE: u32 = u32::MAX;

impl App {
    fn new(name: AppName, policy: AppPolicy) -> Self {
        Self {
            name,
            policy,
            members: Vec::new(),
            holes: 0,
            by_state: [0; 7],
            guard: Guard::default(),
            loads: Loads::default(),
            dirty: false,
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = u32> {
        self.members.iter().copied().filter(|slot| *slot != HOLE)
    }

    pub(crate) const fn len(&self) -> usize {
        self.members.len() - self.holes
    }

    pub(crate) const fn count(&self, state: State) -> u32 {
        self.by_state[state as usize]
    }

    /// Members that anybody's request may go to.
    pub(crate) const fn routable(&self) -> u32 {
        self.count(State::Routable) + self.count(State::Suspect)
    }

    /// Members that nothing but failed requests keeps out.
    pub(crate) const fn held(&self) -> u32 {
        self.count(State::Ejected) + self.count(State::Trial)
    }

    /// Whether failed requests may take one more of those that are routable.
    pub(crate) fn may_eject(&self) -> bool {
        let last = self.routable() <= 1 && self.policy.last_backend == LastBackend::Keep;
        !last && (self.held() == 0 || self.is_within_share(self.held() + 1))
    }

    fn is_within_share(&self, ejected: u32) -> bool {
        let among = u64::from(self.routable()) + u64::from(self.held());
        u64::from(ejected) * 100 <= among * u64::from(self.policy.max_ejection_percent)
    }

    /// Whether failed requests may not take the last one, and none is left.
    pub(crate) fn needs_rescue(&self) -> bool {
        self.policy.last_backend == LastBackend::Keep && self.routable() == 0 && self.held() > 0
    }

    pub(crate) fn moved(&mut self, before: State, after: State) {
        self.by_state[before as usize] -= 1;
        self.by_state[after as usize] += 1;
    }

    // Members are slots, which are u32, and holes are at most as many as members, beyond a few.
    #[allow(clippy::cast_possible_truncation)]
    fn push(&mut self, slot: u32, state: State) -> u32 {
        self.members.push(slot);
        self.by_state[state as usize] += 1;
        (self.members.len() - 1) as u32
    }

    fn punch(&mut self, position: u32, state: State) {
        self.members[position as usize] = HOLE;
        self.holes += 1;
        self.by_state[state as usize] -= 1;
    }

    /// Puts the members in the order of their incarnations, where some have come that are older than those before them.
    fn sort(&mut self, entries: &mut Slots<Entry>) {
        self.members.retain(|slot| *slot != HOLE);
        self.holes = 0;
        self.members
            .sort_by_key(|slot| entries[*slot].endpoint.incarnation);
        for (position, slot) in (0..).zip(&self.members) {
            entries[*slot].position = position;
        }
    }

    /// Closes the holes if that pays: each closing costs as much as the holes that made it necessary.
    fn close_holes(&mut self, entries: &mut Slots<Entry>) {
        if self.holes * 2 <= self.members.len().max(32) {
            return;
        }
        self.members.retain(|slot| *slot != HOLE);
        self.holes = 0;
        for (position, slot) in (0..).zip(&self.members) {
            entries[*slot].position = position;
        }
    }
}

/// Every app that has a member, and the policies of those that were given one.
#[derive(Debug)]
pub(crate) struct Apps {
    apps: Slots<App>,
    by_name: HashMap<AppName, u32, FixedState>,
    policies: HashMap<AppName, AppPolicy, FixedState>,
    default: AppPolicy,
}

impl Apps {
    pub(crate) fn new(default: AppPolicy, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            apps: Slots::new(),
            by_name: HashMap::with_hasher(hasher.clone()),
            policies: HashMap::with_hasher(hasher),
            default,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.apps.len()
    }

    pub(crate) fn find(&self, name: &AppName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, app: u32) -> &App {
        &self.apps[app]
    }

    pub(crate) fn get_mut(&mut self, app: u32) -> &mut App {
        &mut self.apps[app]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &App)> {
        self.apps.iter()
    }

    pub(crate) fn policy(&self, name: &AppName) -> AppPolicy {
        self.policies.get(name).copied().unwrap_or(self.default)
    }

    /// Sets the policy for an app, present or not, and gives the app if it is present.
    pub(crate) fn set_policy(&mut self, name: &AppName, policy: AppPolicy) -> Option<u32> {
        self.policies.insert(name.clone(), policy);
        let app = self.find(name)?;
        self.apps[app].policy = policy;
        Some(app)
    }

    /// Replaces every policy, and gives the apps that are present and whose policy is another one now.
    pub(crate) fn replace_policies(
        &mut self,
        default: AppPolicy,
        policies: impl IntoIterator<Item = (AppName, AppPolicy)>,
    ) -> Vec<u32> {
        self.default = default;
        self.policies.clear();
        self.policies.extend(policies);
        let mut changed = Vec::new();
        for (name, &app) in &self.by_name {
            let policy = self.policies.get(name).copied().unwrap_or(default);
            if self.apps[app].policy != policy {
                self.apps[app].policy = policy;
                changed.push(app);
            }
        }
        // In the order of the slots and not of the hashes, so that the same inputs give the same outputs.
        changed.sort_unstable();
        changed
    }

    /// The app of that name, made if there is none.
    pub(crate) fn find_or_add(&mut self, name: &AppName) -> u32 {
        if let Some(app) = self.find(name) {
            return app;
        }
        let app = self.apps.insert(App::new(name.clone(), self.policy(name)));
        self.by_name.insert(name.clone(), app);
        app
    }

    /// Makes the entry in `slot` the last member of its app.
    pub(crate) fn join(&mut self, slot: u32, entries: &mut Slots<Entry>) {
        let entry = &mut entries[slot];
        entry.position = self.apps[entry.app].push(slot, entry.state);
    }

    /// Puts the member that joined last before all that are younger. O(m) in those: where two registries are registered with
    /// at once, half of all joins are late, by a few places each.
    pub(crate) fn put_in_order(&mut self, app: u32, entries: &mut Slots<Entry>) {
        let members = &mut self.apps[app].members;
        let Some((joined, before)) = members.split_last() else {
            return;
        };
        let incarnation = entries[*joined].endpoint.incarnation;
        let younger = before
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, slot)| **slot != HOLE)
            .take_while(|(_, slot)| entries[**slot].endpoint.incarnation > incarnation);
        let Some((first, _)) = younger.last() else {
            return;
        };
        members[first..].rotate_right(1);
        for (position, slot) in members.iter().enumerate().skip(first) {
            if *slot != HOLE {
                // As in `push`: a place in the list fits.
                #[allow(clippy::cast_possible_truncation)]
                let position = position as u32;
                entries[*slot].position = position;
            }
        }
    }

    /// Puts the members of an app in the order of registration. O(n).
    pub(crate) fn sort(&mut self, app: u32, entries: &mut Slots<Entry>) {
        self.apps[app].sort(entries);
    }

    /// Takes the entry in `slot` out of its app, and removes the app if that was the last.
    pub(crate) fn leave(&mut self, slot: u32, entries: &mut Slots<Entry>) {
        let entry = &entries[slot];
        let id = entry.app;
        let app = &mut self.apps[id];
        app.punch(entry.position, entry.state);
        if app.len() > 0 {
            app.close_holes(entries);
            return;
        }
        let app = self.apps.remove(id);
        self.by_name.remove(&app.name);
    }
}
