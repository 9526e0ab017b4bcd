//! Whom the health monitors probe, and where the results go.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use edgeproxy_backend::AppName;
use edgeproxy_control::Handle;
use edgeproxy_health as health;
use edgeproxy_health::{Change, Class, First, Monitor, Outcome, Pace, Target, TlsClients};
use edgeproxy_registry as registry;
use edgeproxy_registry::{Member, Probe, Reason, Snapshot, State};
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::metrics::Seen;
use crate::monitors::Monitors;
use crate::plan::Plan;

/// Tells the health monitors of snapshots.
pub(crate) struct Probes {
    plan: Arc<Plan>,
    latest: watch::Sender<Latest>,
}

/// What is to be followed: members, and the plan that says how they are probed.
type Latest = (Arc<Plan>, Snapshot);

impl Probes {
    /// The probes, and the driver to run beside the registry's.
    pub(crate) fn new(
        handle: Handle,
        plan: Arc<Plan>,
        max_concurrent: u32,
        (tls, seen): (Arc<dyn TlsClients>, Seen),
    ) -> (Self, impl Future<Output = ()>) {
        let sink = move |target: &Target, outcome: &Outcome| {
            seen.probe(target.class, outcome);
            report(&handle, target, outcome)
        };
        let max_concurrent = usize::try_from(max_concurrent).ok().and_then(NonZeroUsize::new);
        let config = health::Config {
            max_concurrent: max_concurrent.unwrap_or(health::Config::DEFAULT_MAX_CONCURRENT),
            seed: fastrand::u64(..),
        };
        let (health, driver) = health::Driver::new(config, sink);
        let (latest, changes) = watch::channel((Arc::clone(&plan), Snapshot::default()));
        let follower = Follower {
            health,
            suspects: Arc::new(Monitor::tcp()),
            known: (Arc::clone(&plan), Snapshot::default()),
        };
        let driver = driver.with_tls(tls);
        (Self { plan, latest }, async move {
            tokio::join!(follower.follow(changes), driver.run());
        })
    }

    /// Goes over to another plan with the next update. What probes have found so far stands.
    pub(crate) fn go_over(&mut self, plan: &Arc<Plan>) {
        self.plan = Arc::clone(plan);
    }

    /// Has the targets follow a snapshot.
    pub(crate) fn update(&self, snapshot: &Snapshot) {
        self.latest
            .send_replace((Arc::clone(&self.plan), snapshot.clone()));
    }
}

/// Keeps the health monitors' targets equal to the registry's members.
struct Follower {
    health: health::Handle,
    /// How one in doubt is probed, a suspect or one that was restored, monitor or not.
    suspects: Arc<Monitor>,
    /// What the targets are by: what hasn't changed since then is not looked at again.
    known: Latest,
}

impl Follower {
    /// One app after the other, so that a hundred thousand backends hold nobody up on the control thread, least of all the
    /// first `/ready`.
    async fn follow(mut self, mut changes: watch::Receiver<Latest>) {
        while changes.changed().await.is_ok() {
            let (plan, snapshot) = changes.borrow_and_update().clone();
            let (known_plan, known) =
                std::mem::replace(&mut self.known, (Arc::clone(&plan), snapshot.clone()));
            let same_plan = Arc::ptr_eq(&known_plan, &plan);
            for (name, app) in snapshot.apps.iter() {
                let before = known.apps.get(name);
                if same_plan && before.is_some_and(|before| before.version == app.version) {
                    continue;
                }
                let (old, new) = (Wanted::of(&known_plan, name), Wanted::of(&plan, name));
                let members = before.map_or(&[][..], |before| &before.members);
                self.health
                    .change(self.compare((old, members), (new, &app.members)));
                yield_now().await;
            }
            for (name, app) in known
                .apps
                .iter()
                .filter(|(name, _)| !snapshot.apps.contains_key(*name))
            {
                let wanted = Wanted::of(&known_plan, name);
                self.health
                    .change(self.compare((wanted, &app.members), (wanted, &[])));
            }
        }
    }

    /// Both in the order of their incarnations, so that one walk finds who has come, gone, or changed.
    fn compare(
        &self,
        (old_wanted, old): (Wanted<'_>, &[Member]),
        (new_wanted, new): (Wanted<'_>, &[Member]),
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut old = old.iter().peekable();
        let leave = |member: &Member, changes: &mut Vec<Change>| {
            let classes = old_wanted.classes(member).into_iter().flatten();
            changes.extend(classes.map(|class| Change::Leave(member.endpoint.incarnation, class)));
        };
        for member in new {
            // Most are the same, which is seen without a look at them.
            let same = |old: &&Member| Arc::ptr_eq(&old.endpoint, &member.endpoint);
            let mut before = old.next_if(same);
            if before.is_none() {
                let incarnation = member.endpoint.incarnation;
                while let Some(gone) = old.next_if(|old| old.endpoint.incarnation < incarnation) {
                    leave(gone, &mut changes);
                }
                before = old.next_if(|old| old.endpoint.incarnation == incarnation);
            }
            let had = before.map_or([None; 2], |before| old_wanted.classes(before));
            let wants = new_wanted.classes(member);
            if before.as_ref().is_some_and(same) && had == wants && old_wanted.is(new_wanted) {
                continue;
            }
            let incarnation = member.endpoint.incarnation;
            let gone = had
                .into_iter()
                .flatten()
                .filter(|class| !wants.contains(&Some(*class)));
            changes.extend(gone.map(|class| Change::Leave(incarnation, class)));
            let wants = wants.into_iter().flatten();
            changes.extend(
                wants.filter_map(|class| Some(Change::Probe(self.target(new_wanted, member, class)?))),
            );
        }
        old.for_each(|gone| leave(gone, &mut changes));
        changes
    }

    fn target(&self, wanted: Wanted<'_>, member: &Member, class: Class) -> Option<Target> {
        let endpoint = &member.endpoint;
        let monitor = match class {
            Class::Monitor => wanted.0?.of(endpoint.protocol),
            Class::Suspect => &self.suspects,
        };
        let at_once = |reason| {
            matches!(
                reason,
                Reason::FirstProbe | Reason::Restored | Reason::Overdue { .. }
            )
        };
        let first = if at_once(member.reason) {
            First::AtOnce
        } else {
            First::Spread
        };
        Some(Target {
            id: endpoint.id.clone(),
            incarnation: endpoint.incarnation,
            class,
            addr: endpoint.addr,
            monitor: Arc::clone(monitor),
            first,
        })
    }
}

/// What an app's members are probed by, if they are.
#[derive(Clone, Copy)]
struct Wanted<'a>(Option<&'a Monitors>);

impl<'a> Wanted<'a> {
    fn of(plan: &'a Plan, app: &AppName) -> Self {
        Self(plan.app(app).monitors.as_ref())
    }

    fn is(self, other: Self) -> bool {
        match (self.0, other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            _ => false,
        }
    }

    /// What a member is to be probed for.
    fn classes(self, member: &Member) -> [Option<Class>; 2] {
        let monitored = self.0.is_some() && !matches!(member.state, State::Disabled | State::Draining);
        [
            monitored.then_some(Class::Monitor),
            is_in_doubt(member).then_some(Class::Suspect),
        ]
    }
}

/// Whether the registry wants to know if it is still there.
const fn is_in_doubt(member: &Member) -> bool {
    member.in_doubt
}

fn report(handle: &Handle, target: &Target, outcome: &Outcome) -> Pace {
    let probe = match target.class {
        Class::Monitor => Probe::Monitor,
        Class::Suspect => Probe::Suspect,
    };
    tracing::debug!(backend = %target.id, addr = %target.addr, %outcome, "probe");
    match handle.report_probe(&target.id, target.incarnation, probe, outcome.passed()) {
        registry::Pace::Settled => Pace::Settled,
        registry::Pace::Changing => Pace::Changing,
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::{Backend, BackendAddr, BackendId, Country, MonoTime, Region};
    use edgeproxy_registry::{Config, Kept, Patch, Record, Registration, Registry};

    use super::*;
    use crate::plan::tests::plan;

    const NOW: MonoTime = MonoTime::from_secs(1);

    fn follower(text: &str) -> Follower {
        let (health, _) =
            health::Driver::new(health::Config::default(), |_: &Target, _: &Outcome| Pace::Settled);
        Follower {
            health,
            suspects: Arc::new(Monitor::tcp()),
            known: (Arc::new(plan(text)), Snapshot::default()),
        }
    }

    fn backend(id: &str, port: u16) -> Backend {
        Backend::new(
            BackendId::parse(id).unwrap(),
            AppName::parse("shop").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("127.0.0.1", port).unwrap(),
        )
    }

    fn join(registry: &mut Registry, id: &str, port: u16) {
        let registration = Registration {
            backend: backend(id, port),
            ttl: None,
        };
        registry.handle_register(registration, NOW).unwrap();
    }

    fn members(registry: &mut Registry) -> Vec<Member> {
        let snapshot = registry.poll_snapshot(NOW).unwrap();
        let app = AppName::parse("shop").unwrap();
        snapshot
            .apps
            .get(&app)
            .map(|app| app.members.clone())
            .unwrap_or_default()
    }

    /// `+` for who is probed from now on, `-` for who no longer is.
    fn told(follower: &Follower, old: &[Member], new: &[Member]) -> Vec<String> {
        let wanted = Wanted::of(&follower.known.0, &AppName::parse("shop").unwrap());
        let said = |change: Change| match change {
            Change::Probe(target) => format!("+{}{:?}", target.incarnation, target.class),
            Change::Leave(incarnation, class) => format!("-{incarnation}{class:?}"),
        };
        let changes = follower.compare((wanted, old), (wanted, new));
        changes.into_iter().map(said).collect()
    }

    #[test]
    fn only_who_has_come_gone_or_changed_is_told_to_the_monitors() {
        let follower = follower("health_monitor = \"tcp\"\n");
        let mut registry = Registry::new(Config::default(), NOW);
        join(&mut registry, "a", 1);
        join(&mut registry, "b", 2);
        let first = members(&mut registry);
        assert_eq!(told(&follower, &[], &first), ["+1Monitor", "+2Monitor"]);
        assert_eq!(told(&follower, &first, &first), [""; 0]);

        join(&mut registry, "c", 3);
        let second = members(&mut registry);
        assert_eq!(told(&follower, &first, &second), ["+3Monitor"]);

        // With another address it is another incarnation.
        join(&mut registry, "a", 4);
        let third = members(&mut registry);
        assert_eq!(told(&follower, &second, &third), ["-1Monitor", "+4Monitor"]);

        let off = Patch {
            enabled: registry::Change::Set(false),
            ..Patch::default()
        };
        registry
            .handle_patch(&BackendId::parse("b").unwrap(), None, &off, NOW)
            .unwrap();
        let fourth = members(&mut registry);
        assert_eq!(told(&follower, &third, &fourth), ["-2Monitor"]);
        assert_eq!(told(&follower, &fourth, &[]), ["-3Monitor", "-4Monitor"]);
    }

    #[test]
    fn without_a_monitor_those_in_doubt_are_probed_until_they_are_not() {
        let follower = follower("");
        let record = Record {
            backend: backend("a", 1),
            incarnation: edgeproxy_backend::Incarnation::FIRST,
            ttl: std::time::Duration::from_secs(60),
        };
        let kept = Kept {
            records: vec![record],
            ..Kept::default()
        };
        let config = Config {
            first_incarnation: edgeproxy_backend::Incarnation::FIRST.next(),
            ..Config::default()
        };
        let mut registry = Registry::new(config, NOW);
        assert!(registry.restore(kept, |_| Ok(()), NOW).is_empty());
        let first = members(&mut registry);
        assert_eq!(told(&follower, &[], &first), ["+1Suspect"]);
        join(&mut registry, "a", 1);
        let second = members(&mut registry);
        assert_eq!(told(&follower, &first, &second), ["-1Suspect"]);
    }

    /// A simulation decides by itself whom it probes, since it sees no server.
    #[test]
    fn a_simulation_probes_whom_a_server_does() {
        let members = crate::fleet::tests::members_in_every_state();
        for (text, has_monitor) in [("", false), ("health_monitor = \"tcp\"\n", true)] {
            let plan = plan(text);
            let wanted = Wanted(plan.others().monitors.as_ref());
            for member in &members {
                let probed = edgeproxy_simulate::wiring::probed_for(member, has_monitor);
                assert_eq!(probed, wanted.classes(member), "{}", member.state);
                let first = follower(text)
                    .target(wanted, member, Class::Suspect)
                    .unwrap()
                    .first;
                assert_eq!(edgeproxy_simulate::wiring::first_probe(member), first);
            }
        }
    }
}
