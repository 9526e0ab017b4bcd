//! A proxy that is cut off from etcd for longer than a lease.

use std::time::Instant;

use edgeproxy_tests::{Backend, Etcd, Passing, Relay, eventually};

use crate::Test;
use crate::stage::{Beating, SOON, TTL, Traffic, register, run, setup, until_degraded, until_known};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_partition_in_both_directions_removes_nobody_who_answers_and_brings_nobody_back",
        both,
    ),
    (
        "a_partition_in_one_direction_removes_nobody_who_answers_and_brings_nobody_back",
        one,
    ),
];

fn both() {
    cut(Passing::Neither);
}

fn one() {
    cut(Passing::OnlyThere);
}

fn cut(passing: Passing) {
    run(async {
        let etcd = Etcd::start(3);
        let mut relays = Vec::new();
        for member in 0..etcd.count() {
            relays.push(Relay::before(etcd.port(member)).await);
        }
        let ports: Vec<_> = relays.iter().map(Relay::port).collect();
        let address = etcd.address();
        let a = setup(&Etcd::address_of(&ports), "a").start().await;
        let (b, c) = (
            setup(&address, "b").start().await,
            setup(&address, "c").start().await,
        );
        let all = [&a, &b, &c];
        let (here, there, leaves) = (
            Backend::start("here").await,
            Backend::start("there").await,
            Backend::start("leaves").await,
        );
        register(&a, &here).await;
        register(&b, &there).await;
        register(&a, &leaves).await;
        until_known(&all, "here", true).await;
        until_known(&all, "there", true).await;
        until_known(&all, "leaves", true).await;
        // Each is heard on one side only.
        let beating = [
            Beating::of(&here, vec![a.api_addr()]),
            Beating::of(&there, vec![b.api_addr()]),
        ];
        let traffic = Traffic::by(&all);
        for backend in ["here", "there"] {
            traffic.flows(backend).await;
        }

        relays.iter().for_each(|relay| relay.set(passing));
        let began = Instant::now();
        until_degraded(&[&a], true).await;
        let _ = b.api().delete("leaves", "").await.expect(200);
        until_known(&[&b, &c], "leaves", false).await;
        // Until the lease has run out twice on the side that doesn't hear it.
        eventually(SOON, "the cut is longer than a lease", async || {
            traffic.flows("here").await;
            traffic.flows("there").await;
            let left = (TTL * 3).saturating_sub(began.elapsed());
            if left.is_zero() {
                Ok(())
            } else {
                Err(format!("{left:?} to go"))
            }
        })
        .await;
        relays.iter().for_each(|relay| relay.set(Passing::Both));
        let back = Instant::now();
        until_degraded(&[&a], false).await;
        until_known(&[&a], "leaves", false).await;
        println!(
            "cut off for {:?}, one again after {:?}",
            back - began,
            back.elapsed()
        );
        let fresh = Backend::start("fresh").await;
        register(&a, &fresh).await;
        let _fresh = Beating::of(&fresh, vec![a.api_addr()]);
        until_known(&[&b, &c], "fresh", true).await;
        for backend in ["here", "there"] {
            until_known(&all, backend, true).await;
            traffic.flows(backend).await;
        }
        assert_eq!(beating.map(|beating| beating.forgotten()), [0, 0]);
        until_known(&all, "leaves", false).await;
        traffic.ends().await;
    });
}
