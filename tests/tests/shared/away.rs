//! Members of etcd that die, and all of etcd away.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Edgeproxy, Etcd, eventually};

use crate::Test;
use crate::stage::{
    Beating, SOON, TTL, Traffic, register, register_aside, run, setup, three, until_degraded, until_known,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_member_of_etcd_is_killed_and_the_leader_and_no_request_is_lost",
        members,
    ),
    (
        "etcd_stands_still_and_is_killed_and_nobody_who_answers_is_removed",
        outage,
    ),
    (
        "a_proxy_starts_while_etcd_is_away_and_shares_what_it_has_then",
        away,
    ),
];

/// How long etcd is away; more by `EDGEPROXY_TEST_OUTAGE_SECS`.
fn outage_length() -> Duration {
    let asked = std::env::var("EDGEPROXY_TEST_OUTAGE_SECS").ok();
    let seconds = asked.map(|text| text.parse().expect("a number of seconds"));
    seconds.map_or(TTL + Duration::from_secs(3), Duration::from_secs)
}

fn members() {
    run(async {
        let mut etcd = Etcd::start(3);
        let [a, b, c] = three(&etcd).await;
        let steady = Backend::start("steady").await;
        register(&a, &steady).await;
        until_known(&[&b, &c], "steady", true).await;
        let beating = Beating::of(&steady, vec![a.api_addr()]);
        let traffic = Traffic::by(&[&a, &b, &c]);
        traffic.flows("steady").await;
        let follower = (0..etcd.count())
            .find(|member| *member != etcd.leader())
            .expect("there are three");
        for (at, what) in ["a follower", "the leader"].into_iter().enumerate() {
            let member = if at == 0 { follower } else { etcd.leader() };
            etcd.kill(member);
            let began = Instant::now();
            let fresh = Backend::start(&format!("fresh-{at}")).await;
            register_aside(&a, &fresh).await;
            until_known(&[&b, &c], fresh.name(), true).await;
            println!(
                "{what} was killed; what registered then was everywhere after {:?}",
                began.elapsed()
            );
            etcd.start_again(member);
            etcd.wait();
        }
        traffic.flows("steady").await;
        until_degraded(&[&a, &b, &c], false).await;
        assert_eq!(beating.forgotten(), 0);
        traffic.ends().await;
    });
}

fn outage() {
    run(async {
        let mut etcd = Etcd::start(3);
        let [a, b, c] = three(&etcd).await;
        let all = [&a, &b, &c];
        let (steady, silent, dies) = (
            Backend::start("steady").await,
            Backend::start("silent").await,
            Backend::start("dies").await,
        );
        for backend in [&steady, &silent] {
            register(&a, backend).await;
        }
        register_aside(&a, &dies).await;
        until_known(&all, "dies", true).await;
        let beating = Beating::of(&steady, vec![b.api_addr()]);
        let traffic = Traffic::by(&all);
        traffic.flows("steady").await;
        for how in ["stands still", "is killed"] {
            let began = Instant::now();
            if how == "is killed" {
                (0..etcd.count()).for_each(|member| etcd.kill(member));
            } else {
                etcd.freeze();
            }
            until_degraded(&all, true).await;
            let fresh = Backend::start(&format!("fresh {how}").replace(' ', "-")).await;
            let registered = register_aside(&c, &fresh).await;
            let told = registered["warnings"][0].as_str().unwrap_or_default();
            assert!(told.starts_with("kept in memory only"), "{registered}");
            let _beating = Beating::of(&fresh, vec![c.api_addr()]);
            if how == "stands still" {
                dies.kill().await;
            }
            // Whoever is unheard for longer than its lease is probed: who answers is routed to all the same.
            eventually(SOON + outage_length(), "etcd was away for long", async || {
                traffic.flows("steady").await;
                let left = outage_length().saturating_sub(began.elapsed());
                if left.is_zero() {
                    Ok(())
                } else {
                    Err(format!("{left:?} to go"))
                }
            })
            .await;
            for proxy in all {
                assert_known(proxy, "steady").await;
            }
            if how == "is killed" {
                (0..etcd.count()).for_each(|member| etcd.start_again(member));
            } else {
                assert_known(&a, "silent").await;
                etcd.thaw();
            }
            let back = Instant::now();
            until_degraded(&all, false).await;
            until_known(&all, fresh.name(), true).await;
            println!(
                "etcd {how} for {:?}; {:?} after it was back what had registered meanwhile was everywhere",
                back - began,
                back.elapsed()
            );
        }
        until_known(&all, "dies", false).await;
        traffic.flows("steady").await;
        assert_eq!(beating.forgotten(), 0);
        traffic.ends().await;
    });
}

async fn assert_known(proxy: &Edgeproxy, id: &str) {
    let state = proxy.api().state(id).await;
    assert!(
        matches!(state.as_str(), "routable" | "suspect"),
        "{id} is {state}"
    );
}

fn away() {
    run(async {
        let mut etcd = Etcd::start(1);
        let address = etcd.address();
        let a = setup(&address, "a").start().await;
        let (steady, fresh) = (Backend::start("steady").await, Backend::start("fresh").await);
        register(&a, &steady).await;
        let _beating = Beating::of(&steady, vec![a.api_addr()]);
        etcd.kill(0);
        until_degraded(&[&a], true).await;
        let b = setup(&address, "b").start().await;
        let ready = b.api().get("/ready").await;
        assert_eq!(ready.status, 200);
        until_degraded(&[&b], true).await;
        register(&b, &fresh).await;
        let _fresh = Beating::of(&fresh, vec![b.api_addr()]);
        let reply = b.client().get("shop", "/").await.expect("an answer").expect(200);
        assert_eq!(reply.text(), "fresh");
        etcd.start_again(0);
        until_degraded(&[&a, &b], false).await;
        until_known(&[&a], "fresh", true).await;
        until_known(&[&b], "steady", true).await;
        let alarms = b.logs().text();
        let told = alarms.lines().filter(|line| line.contains("\"ERROR\"")).count();
        assert_eq!(told, 1, "it says so once: {alarms}");
    });
}
