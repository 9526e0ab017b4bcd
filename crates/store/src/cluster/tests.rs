use std::collections::BTreeMap;

use super::*;

const TTL: Duration = Duration::from_secs(6);

fn name(text: &str) -> ProxyName {
    ProxyName::parse(text).unwrap()
}

fn id() -> BackendId {
    BackendId::parse("b").unwrap()
}

fn at(seconds: u64) -> MonoTime {
    MonoTime::from_secs(seconds)
}

fn owned(owner: &str) -> Owned {
    Owned {
        id: id(),
        incarnation: Incarnation::FIRST,
        ttl: TTL,
        owner: name(owner),
    }
}

/// A proxy `a` that knows of one backend, which another proxy owns.
fn beside(other: &str) -> Cluster {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    cluster.resync(vec![owned(other)], vec![name("a"), name(other)], at(0));
    cluster
}

fn actions(cluster: &mut Cluster) -> Vec<Action> {
    std::iter::from_fn(|| cluster.poll_action()).collect()
}

/// Lets time pass, second by second, while every probe is answered so. What was done besides, and when.
fn pass(cluster: &mut Cluster, seconds: std::ops::Range<u64>, answer: Answer) -> Vec<(u64, Action)> {
    let mut done = Vec::new();
    for second in seconds {
        loop {
            cluster.tick(at(second));
            while let Some(action) = cluster.poll_action() {
                match action {
                    Action::Probe { id, incarnation } => cluster.probed(&id, incarnation, answer, at(second)),
                    other => done.push((second, other)),
                }
            }
            if cluster.poll_timeout().is_none_or(|due| due > at(second)) {
                break;
            }
        }
    }
    done
}

fn adoption(owner: &str) -> Action {
    let incarnation = Incarnation::FIRST;
    let (id, owner) = (id(), name(owner));
    Action::Adopt {
        id,
        incarnation,
        owner,
    }
}

fn expiry(owner: &str) -> Action {
    let incarnation = Incarnation::FIRST;
    let (id, owner) = (id(), name(owner));
    Action::Expire {
        id,
        incarnation,
        owner,
    }
}

fn deletion(owner: &str) -> Action {
    let incarnation = Incarnation::FIRST;
    let (id, owner) = (id(), name(owner));
    Action::Delete {
        id,
        incarnation,
        owner,
    }
}

#[test]
fn alone_a_lease_ends_at_its_ttl_and_nobody_is_probed() {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    assert_eq!(cluster.poll_timeout(), Some(at(6)));
    cluster.tick(at(5));
    assert_eq!(actions(&mut cluster), []);
    cluster.tick(at(6));
    assert_eq!(actions(&mut cluster), [expiry("a")]);
}

#[test]
fn one_whose_end_is_distrusted_is_probed_and_kept_for_as_long_as_was_said() {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    cluster.tick(at(6));
    assert_eq!(actions(&mut cluster), [expiry("a")]);
    assert!(cluster.has_run_out(&id(), Incarnation::FIRST, at(6)));
    cluster.keep(&id(), Incarnation::FIRST, TTL * 3, at(6));
    assert!(!cluster.has_run_out(&id(), Incarnation::FIRST, at(6)));
    assert!(matches!(actions(&mut cluster)[..], [Action::Probe { .. }]));
    cluster.probed(&id(), Incarnation::FIRST, Answer::Answers, at(6));
    let done = pass(&mut cluster, 7..40, Answer::Answers);
    let (first, action) = &done[0];
    assert_eq!(*action, deletion("a"), "it is asked once");
    assert!((24..26).contains(first), "{first}");
}

#[test]
fn one_whose_end_is_distrusted_ends_at_once_when_it_refuses() {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    cluster.tick(at(6));
    cluster.keep(&id(), Incarnation::FIRST, TTL * 3, at(6));
    let _ = actions(&mut cluster);
    cluster.probed(&id(), Incarnation::FIRST, Answer::Refuses, at(7));
    assert_eq!(actions(&mut cluster), [deletion("a")]);
    assert!(cluster.has_run_out(&id(), Incarnation::FIRST, at(7)));
}

#[test]
fn one_whose_end_was_distrusted_and_that_was_heard_since_is_distrusted_anew() {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    cluster.tick(at(6));
    cluster.keep(&id(), Incarnation::FIRST, TTL * 3, at(6));
    cluster.heartbeat(&id(), at(7));
    let _ = actions(&mut cluster);
    // Neither is there anything to keep any more.
    cluster.keep(&id(), Incarnation::FIRST, TTL * 9, at(7));
    assert_eq!(actions(&mut cluster), []);
    let done = pass(&mut cluster, 8..15, Answer::Answers);
    assert_eq!(done, [(13, expiry("a"))]);
}

#[test]
fn in_a_cluster_a_lease_that_has_run_out_is_probed_first_and_deleted_when_that_is_refused() {
    let mut cluster = beside("b");
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    let done = pass(&mut cluster, 1..8, Answer::Refuses);
    assert_eq!(done, [(7, deletion("a"))]);
}

#[test]
fn who_answers_is_held_until_a_proxy_that_was_cut_off_would_have_been_missed() {
    let mut cluster = beside("b");
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    let done = pass(&mut cluster, 1..30, Answer::Answers);
    let (first, action) = &done[0];
    assert_eq!(*action, expiry("a"));
    assert!((18..22).contains(first), "{first}");
}

#[test]
fn the_owner_is_gone_and_the_first_heartbeat_is_an_adoption() {
    let mut cluster = beside("b");
    assert!(!cluster.is_suspect(&id()));
    cluster.parted(&name("b"), at(1));
    assert!(cluster.is_suspect(&id()));
    assert_eq!(cluster.heartbeat(&id(), at(2)), Heard::Renewed);
    assert_eq!(actions(&mut cluster), [adoption("b")]);
    cluster.put(owned("a"), at(2));
    assert!(!cluster.is_suspect(&id()));
}

#[test]
fn the_owner_is_gone_and_nobody_hears_the_backend_which_refuses() {
    let mut cluster = beside("b");
    cluster.parted(&name("b"), at(1));
    let done = pass(&mut cluster, 1..9, Answer::Refuses);
    assert_eq!(
        done,
        [(8, deletion("b"))],
        "one TTL later, and what telling takes"
    );
}

#[test]
fn the_owner_is_forgotten_and_who_answers_is_adopted_then() {
    let mut cluster = beside("b");
    cluster.parted(&name("b"), at(1));
    let forgotten = 1 + ClusterPolicy::DEFAULT.forget.as_secs();
    assert_eq!(pass(&mut cluster, 1..forgotten, Answer::Answers), []);
    let done = pass(&mut cluster, forgotten..forgotten + 5, Answer::Answers);
    assert_eq!(done[0].1, adoption("b"));
}

#[test]
fn three_heartbeats_in_a_row_adopt_it_and_one_that_is_shared_out_is_told_to_its_owner() {
    let mut cluster = beside("b");
    // Not in a row: each more than half a TTL after the one before.
    for second in [0, 4, 8, 12] {
        cluster.heartbeat(&id(), at(second));
        cluster.tick(plus(at(second), ClusterPolicy::DEFAULT.gather));
        let ids = vec![id()];
        assert_eq!(actions(&mut cluster), [Action::Tell { ids }]);
    }
    for second in [13, 14] {
        cluster.heartbeat(&id(), at(second));
    }
    assert!(actions(&mut cluster).contains(&adoption("b")));
    // And not again soon.
    cluster.put(owned("a"), at(14));
    cluster.put(owned("b"), at(15));
    for second in 16..30 {
        cluster.heartbeat(&id(), at(second));
    }
    assert!(!actions(&mut cluster).contains(&adoption("b")));
}

#[test]
fn while_the_store_is_lost_nothing_is_written_and_what_was_heard_is_told_when_it_is_back() {
    let mut cluster = beside("b");
    cluster.lost(at(0));
    for second in 1..5 {
        cluster.heartbeat(&id(), at(second));
        cluster.tick(at(second));
    }
    assert_eq!(actions(&mut cluster), []);
    cluster.restored(at(5));
    cluster.tick(at(5));
    assert_eq!(actions(&mut cluster), [Action::Tell { ids: vec![id()] }]);
}

#[test]
fn a_resync_takes_who_is_gone_and_leaves_whom_only_this_proxy_knows_yet() {
    let mut cluster = beside("b");
    let other = BackendId::parse("new").unwrap();
    cluster.lost(at(0));
    cluster.registered(&other, Incarnation::FIRST, TTL, at(1));
    cluster.resync(Vec::new(), vec![name("b")], at(2));
    assert_eq!(cluster.knows(&id()), None);
    assert_eq!(cluster.knows(&other), Some(Incarnation::FIRST));
}

#[test]
fn a_thousand_heartbeats_of_two_are_told_once_in_the_order_in_which_they_came() {
    let mut cluster = beside("b");
    let other = BackendId::parse("a").unwrap();
    cluster.put(
        Owned {
            id: other.clone(),
            ..owned("b")
        },
        at(0),
    );
    for _ in 0..1_000 {
        cluster.heartbeat(&id(), at(1));
        cluster.heartbeat(&other, at(1));
    }
    // What adopts them is asked for again and again, which is for the store to fence.
    let _ = actions(&mut cluster);
    assert_eq!(cluster.heard.len(), 2);
    cluster.tick(at(2));
    let ids = vec![id(), other];
    assert_eq!(actions(&mut cluster), [Action::Tell { ids: ids.clone() }]);
    // That has failed.
    cluster.not_told(ids.clone(), at(2));
    cluster.not_told(ids.clone(), at(2));
    cluster.tick(at(3));
    assert_eq!(actions(&mut cluster), [Action::Tell { ids }]);
}

fn belief() -> Action {
    let (id, incarnation) = (id(), Incarnation::FIRST);
    Action::Believe { id, incarnation }
}

#[test]
fn while_the_store_is_lost_another_s_backend_that_is_not_heard_is_probed_and_believed_when_it_is_back() {
    let mut cluster = beside("b");
    cluster.lost(at(10));
    let probe = Action::Probe {
        id: id(),
        incarnation: Incarnation::FIRST,
    };
    cluster.tick(at(16));
    assert_eq!(
        actions(&mut cluster),
        [],
        "it has one TTL, and what telling takes"
    );
    cluster.tick(at(17));
    assert_eq!(actions(&mut cluster), [probe]);
    assert_eq!(
        pass(&mut cluster, 18..100, Answer::Refuses),
        [],
        "and nothing ends"
    );
    cluster.restored(at(100));
    cluster.probed(&id(), Incarnation::FIRST, Answer::Refuses, at(101));
    assert_eq!(actions(&mut cluster), [], "its owner says what becomes of it");
    cluster.probed(&id(), Incarnation::FIRST, Answer::Answers, at(102));
    assert_eq!(actions(&mut cluster), [belief()]);
    assert_eq!(pass(&mut cluster, 102..200, Answer::Answers), []);
}

#[test]
fn a_doubt_is_over_when_the_owner_is_back_and_the_probe_answers() {
    let mut cluster = beside("b");
    cluster.parted(&name("b"), at(1));
    assert_eq!(pass(&mut cluster, 1..20, Answer::Answers), []);
    cluster.joined(name("b"), at(20));
    cluster.probed(&id(), Incarnation::FIRST, Answer::Answers, at(20));
    assert_eq!(actions(&mut cluster), [belief()]);
}

#[test]
fn one_look_at_the_time_does_no_more_than_so_much() {
    const ALL: usize = WORK_BOUND * 2 + 1;
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    for n in 0..ALL {
        let id = BackendId::parse(&format!("b{n}")).unwrap();
        cluster.registered(&id, Incarnation::FIRST, TTL, at(0));
    }
    let mut counts = Vec::new();
    while cluster.poll_timeout().is_some_and(|due| due <= at(6)) {
        cluster.tick(at(6));
        counts.push(actions(&mut cluster).len());
    }
    assert_eq!(counts, [WORK_BOUND, WORK_BOUND, 1]);
}

/// Many backends of `b`, as `a` sees them.
fn beside_many(count: u32) -> Cluster {
    let mut cluster = Cluster::new(name("a"), ClusterPolicy::DEFAULT);
    let all = (0..count).map(|n| Owned {
        id: BackendId::parse(&format!("b{n}")).unwrap(),
        ..owned("b")
    });
    cluster.resync(all.collect(), vec![name("a"), name("b")], at(0));
    cluster
}

/// What a proxy does while the store is lost, second by second: whom it begins to doubt, and how many are in doubt, whom a health
/// monitor probes each second. `answers`: who does.
fn doubts(
    cluster: &mut Cluster,
    seconds: std::ops::Range<u64>,
    answers: impl Fn(&BackendId) -> bool,
) -> Vec<(Vec<BackendId>, usize)> {
    let mut doubted = BTreeMap::new();
    let mut told = Vec::new();
    for second in seconds {
        let mut begun = Vec::new();
        loop {
            while cluster.poll_timeout().is_some_and(|due| due <= at(second)) {
                cluster.tick(at(second));
            }
            let actions = actions(cluster);
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Probe { id, incarnation } => {
                        begun.push(id.clone());
                        doubted.insert(id, incarnation);
                    }
                    Action::Believe { id, .. } => {
                        doubted.remove(&id);
                    }
                    other => panic!("{other:?} while the store is lost"),
                }
            }
        }
        told.push((begun, doubted.len()));
        for (id, incarnation) in &doubted {
            let answer = if answers(id) {
                Answer::Answers
            } else {
                Answer::Refuses
            };
            cluster.probed(id, *incarnation, answer, at(second));
        }
    }
    told
}

#[test]
fn while_the_store_is_lost_a_large_fleet_is_probed_in_turns() {
    const COUNT: u32 = 20_000;
    let mut cluster = beside_many(COUNT);
    cluster.lost(at(10));
    let by_second = doubts(&mut cluster, 11..80, |_| true);
    let first = by_second.iter().position(|(begun, _)| !begun.is_empty()).unwrap();
    assert!(
        first + 11 >= 17,
        "each has one TTL, and what telling takes: {first}"
    );
    let worst = by_second
        .iter()
        .map(|(begun, doubted)| begun.len().max(*doubted))
        .max()
        .unwrap();
    assert!(
        worst < 1_200,
        "{worst} of those that answer are probed in one second"
    );
    for turn in by_second[first..].chunks(21).take(2) {
        let asked: BTreeSet<_> = turn.iter().flat_map(|(begun, _)| begun).collect();
        assert_eq!(asked.len(), COUNT as usize, "each in its turn");
    }
}

#[test]
fn while_the_store_is_lost_who_refuses_stays_in_doubt_and_who_answers_again_does_not() {
    let mut cluster = beside_many(2_000);
    cluster.lost(at(10));
    let by_second = doubts(&mut cluster, 11..40, |_| false);
    assert_eq!(by_second.last().unwrap().1, 2_000);
    let by_second = doubts(&mut cluster, 40..60, |_| true);
    assert!(by_second.last().unwrap().1 <= 1_200, "{:?}", by_second.last());
}

#[test]
fn turns_are_of_other_proxies_backends() {
    let mut cluster = beside_many(900);
    for n in 0..5_000 {
        let own = BackendId::parse(&format!("own-{n}")).unwrap();
        cluster.registered(&own, Incarnation::FIRST, TTL * 100, at(0));
    }
    cluster.lost(at(10));
    let by_second = doubts(&mut cluster, 11..20, |_| true);
    let first = by_second.iter().find(|(begun, _)| !begun.is_empty()).unwrap();
    assert_eq!(first.0.len(), 900, "all of the others at once: there are few");
}

#[test]
fn what_a_return_of_the_store_renews_is_due_as_early_as_ever() {
    let mut cluster = beside_many(20_000);
    cluster.registered(&id(), Incarnation::FIRST, TTL, at(0));
    cluster.lost(at(1));
    let _ = pass(&mut cluster, 2..30, Answer::Answers);
    cluster.restored(at(30));
    let _ = actions(&mut cluster);
    let refused = pass(&mut cluster, 31..39, Answer::Refuses);
    assert_eq!(refused, [(37, deletion("a"))]);
}

#[test]
fn who_is_gone_leaves_the_backends_of_others_alone() {
    let mut cluster = beside_many(100);
    cluster.put(owned("c"), at(0));
    cluster.joined(name("c"), at(0));
    cluster.parted(&name("c"), at(1));
    assert!(cluster.is_suspect(&id()));
    let other = BackendId::parse("b7").unwrap();
    assert!(!cluster.is_suspect(&other));
    // It has changed hands, and so is an orphan of nobody's any more.
    cluster.put(owned("b"), at(2));
    assert!(!cluster.is_suspect(&id()));
    assert_eq!(pass(&mut cluster, 2..60, Answer::Refuses), []);
}

#[test]
fn another_s_lease_of_no_time_at_all_is_looked_at_once_in_a_second() {
    let mut cluster = beside("b");
    let none = Owned {
        ttl: Duration::ZERO,
        ..owned("b")
    };
    cluster.put(none, at(1));
    for second in 1..10 {
        cluster.tick(at(second));
        assert!(cluster.poll_timeout().is_some_and(|due| due > at(second)));
    }
}
