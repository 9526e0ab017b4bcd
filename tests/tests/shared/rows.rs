//! What is promised while everything is well.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Backend, Edgeproxy, Etcd, Registration, eventually};

use crate::Test;
use crate::stage::{
    Beating, SOON, TTL, Traffic, heartbeat, is_degraded, life, register, register_aside, run, three,
    until_known,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_registration_at_one_proxy_is_routed_to_by_another_within_a_second",
        registration,
    ),
    (
        "heartbeats_at_any_proxy_keep_a_backend_and_its_end_is_known_everywhere_within_a_second",
        leases,
    ),
    ("two_proxies_change_one_backend_and_all_agree", conflict),
    ("a_proxy_is_killed_and_nobody_is_lost", killed),
    (
        "a_hand_over_keeps_the_name_the_leases_and_every_request",
        handed_over,
    ),
    ("limits_are_divided_among_the_proxies_that_are_there", limits),
];

fn registration() {
    run(async {
        let etcd = Etcd::start(3);
        let [a, b, _c] = three(&etcd).await;
        let mut client = b.client();
        let mut took = Vec::new();
        for n in 0..60 {
            let app = format!("shop-{n}");
            let backend = Backend::start(&format!("b{n}")).await;
            a.api()
                .register_new(&Registration::new(backend.name(), &app, backend.addr()))
                .await;
            let began = Instant::now();
            loop {
                let reply = client.get(&app, "/").await.expect("an answer");
                if reply.status == 200 {
                    break;
                }
                assert!(began.elapsed() < SOON, "{reply:?}");
            }
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
        println!("from the reply at A until B routes to it, 60 times: median {median:?}, worst {worst:?}");
        assert!(worst < Duration::from_secs(1) && median < Duration::from_millis(50));
    });
}

fn leases() {
    run(async {
        let etcd = Etcd::start(3);
        let [a, b, c] = three(&etcd).await;
        let all = [&a, &b, &c];
        let steady = Backend::start("steady").await;
        let (leaves, dies) = (Backend::start("leaves").await, Backend::start("dies").await);
        for backend in [&steady, &leaves, &dies] {
            register(&a, backend).await;
        }
        until_known(&all, "dies", true).await;
        let mut apis = [a.api(), b.api(), c.api()];
        let beating = async {
            // Each third of a lease at another one.
            let mut ticks = tokio::time::interval(TTL / 3);
            for turn in 0..12 {
                ticks.tick().await;
                heartbeat(&mut apis[turn % 3], "steady").await;
                heartbeat(&mut apis[(turn + 1) % 3], "leaves").await;
            }
        };
        dies.kill().await;
        let gone = async { until_known(&all, "dies", false).await };
        let ((), gone) = tokio::join!(beating, gone);
        println!("its lease was of {TTL:?}, and it was known nowhere after {gone:?}");
        let _ = b.api().delete("leaves", "").await.expect(200);
        let took = until_known(&all, "leaves", false).await;
        println!("deleted at one, known nowhere after {took:?}");
        assert!(took < Duration::from_secs(1));
        until_known(&all, "steady", true).await;
    });
}

fn conflict() {
    run(async {
        let etcd = Etcd::start(3);
        let [a, b, c] = three(&etcd).await;
        let (one, other) = (Backend::start("x").await, Backend::start("x").await);
        let steady = Backend::start("steady").await;
        register(&a, &steady).await;
        let _beating = Beating::of(&steady, vec![a.api_addr()]);
        until_known(&[&b, &c], "steady", true).await;
        let traffic = Traffic::by(&[&a, &b, &c]);
        let (mut at_a, mut at_b) = (a.api(), b.api());
        for _ in 0..20 {
            let first = Registration::new("x", "shop", one.addr());
            let second = Registration::new("x", "shop", other.addr());
            let (first, second) = tokio::join!(at_a.register(&first), at_b.register(&second));
            assert!(
                first.status.is_success() && second.status.is_success(),
                "{first:?} {second:?}"
            );
            eventually(SOON, "all know the same life", async || {
                let lives = [life(&a, "x").await, life(&b, "x").await, life(&c, "x").await];
                let there = etcd.get("backends/x");
                let stored = lives[0].is_some_and(|life| there.contains(&life.to_string()));
                if lives[0] == lives[1] && lives[1] == lives[2] && stored {
                    Ok(())
                } else {
                    Err(format!("{lives:?}, {there}"))
                }
            })
            .await;
        }
        traffic.ends().await;
    });
}

fn killed() {
    run(async {
        let etcd = Etcd::start(3);
        let [a, b, c] = three(&etcd).await;
        let (steady, dies) = (Backend::start("steady").await, Backend::start("dies").await);
        register(&a, &steady).await;
        until_known(&[&b, &c], "steady", true).await;
        let beating = Beating::of(&steady, vec![a.api_addr(), b.api_addr(), c.api_addr()]);
        let traffic = Traffic::by(&[&b, &c]);
        traffic.flows("steady").await;
        let again = a.killed().await;
        register_aside(&b, &dies).await;
        dies.kill().await;
        // Long enough for its lease and its membership to have run out.
        eventually(SOON, "it is adopted", async || {
            let there = etcd.get("backends/steady");
            let is_adopted = there.contains("\"b\"") || there.contains("\"c\"");
            if is_adopted { Ok(()) } else { Err(there) }
        })
        .await;
        until_known(&[&b, &c], "dies", false).await;
        let a = again.start().await;
        until_known(&[&a, &b, &c], "steady", true).await;
        traffic.flows("steady").await;
        assert_eq!(beating.forgotten(), 0);
        traffic.ends().await;
    });
}

fn handed_over() {
    run(async {
        let etcd = Etcd::start(1);
        let [mut a, b, _c] = three(&etcd).await;
        let steady = Backend::start("steady").await;
        register(&a, &steady).await;
        until_known(&[&b], "steady", true).await;
        let beating = Beating::of(&steady, vec![a.api_addr()]);
        let traffic = Traffic::by(&[&a, &b]);
        traffic.flows("steady").await;
        for _ in 0..2 {
            let before = a.hand_over().await;
            let fresh = Backend::start(&format!("after-{before}")).await;
            let registration = Registration::new(fresh.name(), "fresh", fresh.addr());
            let registered = a.api().register_new(&registration).await;
            assert!(registered["warnings"].is_null(), "{registered}");
            until_known(&[&b], fresh.name(), true).await;
            a.gone(before, SOON).await;
        }
        assert!(!is_degraded(&a).await && !is_degraded(&b).await);
        let there = etcd.get("backends/steady");
        assert!(there.contains("\"a\""), "its lease is its own: {there}");
        assert_eq!(beating.forgotten(), 0);
        traffic.ends().await;
    });
}

fn limits() {
    run(async {
        let etcd = Etcd::start(1);
        let start = async |name| {
            let setup = crate::stage::setup(&etcd.address(), name);
            setup.set("LIMITS", "shared").start().await
        };
        let (a, b) = (start("a").await, start("b").await);
        let backend = Backend::start("x").await;
        let registration = Registration::new("x", "shop", backend.addr())
            .with("soft_limit", 5)
            .with("hard_limit", 9);
        a.api().register_new(&registration).await;
        let _beating = Beating::of(&backend, vec![a.api_addr()]);
        until_known(&[&b], "x", true).await;
        let hard = async |proxy: &Edgeproxy| proxy.api().backend("x").await.json()["hard_limit"].as_u64();
        let reach = async |expected: &[(&Edgeproxy, u64)]| {
            eventually(SOON, "limits are divided", async || {
                for (proxy, limit) in expected {
                    let found = hard(proxy).await;
                    if found != Some(*limit) {
                        return Err(format!("{found:?}, expected {limit}"));
                    }
                }
                Ok(())
            })
            .await;
        };
        reach(&[(&a, 5), (&b, 4)]).await;
        let c = start("c").await;
        reach(&[(&a, 3), (&b, 3), (&c, 3)]).await;
        drop(c);
        reach(&[(&a, 5), (&b, 4)]).await;
    });
}
