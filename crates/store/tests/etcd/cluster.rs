//! Three members.

use edgeproxy_store::{Store as _, Update};

use crate::Test;
use crate::rows::{change, commit, commit_at_last, load, record, registered, until, update};
use crate::server::{Servers, run, store};

pub(crate) const TESTS: &[Test] = &[
    ("the_leader_is_killed_and_commits_and_the_watch_go_on", leader),
    ("every_member_is_killed_in_turn_and_nothing_is_lost", each),
    (
        "all_members_are_killed_and_return_and_local_changes_are_written",
        all,
    ),
    ("a_majority_is_lost_and_that_counts_as_away", majority),
];

fn leader() {
    let mut servers = Servers::three();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1)]).await;
        assert_eq!(change(&b).await, registered("x", 1));
        let leader = servers.leader();
        servers.kill(leader);
        let began = std::time::Instant::now();
        commit_at_last(&a, &[registered("x", 2)]).await;
        println!(
            "the leader was killed: the next commit was done after {:?}",
            began.elapsed()
        );
        assert_eq!(change(&b).await, registered("x", 2));
        println!("and seen by another proxy after {:?}", began.elapsed());
    });
}

fn each() {
    let mut servers = Servers::three();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        for member in 0..3_usize {
            servers.kill(member);
            let name = format!("x{member}");
            let write = registered(&name, member as u64 + 1);
            commit_at_last(&a, std::slice::from_ref(&write)).await;
            while change(&b).await != write {}
            servers.start_again(member);
            servers.wait();
        }
        let loaded = load(&store(&servers, "c")).await;
        assert_eq!(
            loaded.records,
            [record("x0", 1), record("x1", 2), record("x2", 3)]
        );
    });
}

fn all() {
    let mut servers = Servers::three();
    run(async {
        let (a, b) = (store(&servers, "a"), store(&servers, "b"));
        load(&a).await;
        load(&b).await;
        commit(&a, &[registered("x", 1)]).await;
        assert_eq!(change(&b).await, registered("x", 1));
        for member in 0..3 {
            servers.kill(member);
        }
        for store in [&a, &b] {
            until(store, |update| matches!(update, Update::Lost { .. })).await;
        }
        assert!(a.commit(&[registered("x", 2)]).await.is_err());
        for member in 0..3 {
            servers.start_again(member);
        }
        for store in [&a, &b] {
            assert_eq!(update(store).await, Update::Restored);
        }
        commit_at_last(&a, &[registered("x", 2)]).await;
        assert_eq!(update(&b).await, Update::Changed(registered("x", 2)));
    });
}

fn majority() {
    let mut servers = Servers::three();
    run(async {
        let a = store(&servers, "a");
        load(&a).await;
        servers.kill(1);
        servers.kill(2);
        until(&a, |update| matches!(update, Update::Lost { .. })).await;
        assert!(a.commit(&[registered("x", 1)]).await.is_err());
        servers.start_again(1);
        until(&a, |update| *update == Update::Restored).await;
        commit_at_last(&a, &[registered("x", 1)]).await;
    });
}
