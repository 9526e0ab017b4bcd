//! Leases that run out, and those that only seem to.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_proxy_is_back_and_whom_the_others_doubted_meanwhile_nobody_doubts() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        // It knows no other proxy, and answers all the time.
        a.register("steady", 1).await;
        sleep(SECOND).await;
        drop(a);
        until("it is in doubt", || b.doubts("steady") || c.doubts("steady")).await;
        let a = site.start("a").await;
        let end = Instant::now() + TTL;
        while Instant::now() < end {
            assert!(a.beat("steady"));
            sleep(TTL / 3).await;
        }
        for proxy in [&a, &b, &c] {
            assert!(!proxy.doubts("steady"), "{}", proxy.name);
            assert_eq!(proxy.gaps.get(), 0, "{}", proxy.name);
        }
        assert_eq!(site.owner("steady").as_deref(), Some("a"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_comes_while_the_end_waits_for_a_slow_store_and_nobody_is_removed() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        a.register("late", 1).await;
        b.register("other", 1).await;
        sleep(TTL - SECOND).await;
        site.refuses("late");
        // What the store is busy with.
        site.hub.slow(20 * SECOND);
        assert!(a.beat("other"));
        until("it is found gone", || !a.routes("late")).await;
        site.refusing.borrow_mut().clear();
        beat_for(TTL * 10, &[(&a, "late")]).await;
        assert_eq!(site.owner("late").as_deref(), Some("a"));
        assert_eq!(a.handle.stats().expiries, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_registers_while_the_store_is_ending_its_life_begins_another_and_stays() {
    on_one_thread(async {
        let site = Site::default();
        let a = site.start("a").await;
        a.register("x", 1).await;
        let first = a.life("x");
        sleep(TTL / 2).await;
        site.hub.slow(SECOND);
        // Its lease runs out alone, and the store is asked; half of the way there it registers.
        sleep(TTL / 2 + SECOND / 4).await;
        assert!(a.knows("x"), "it is not known yet that it has ended");
        assert_eq!(a.register("x", 1).await, None, "it is kept");
        assert_ne!(a.life("x"), first);
        sleep(3 * SECOND).await;
        assert!(a.routes("x"));
        let stored = site.hub.owner(&id("x")).map(|(life, _)| life);
        assert_eq!(stored, Some(a.life("x")));
        assert_eq!(a.handle.stats().expiries, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_file_has_the_id_of_a_registration_that_nobody_renews_and_that_ends() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, c] = site.three().await;
        a.register("x", 1).await;
        until("it is everywhere", || b.knows("x") && c.knows("x")).await;
        let backends = vec![registration("x", 1).backend];
        let filed = Configuration {
            backends,
            ..Configuration::default()
        };
        a.handle.configure(filed).unwrap();
        until("the registration is gone", || !b.knows("x") && !c.knows("x")).await;
        assert!(site.hub.is_empty() && a.routes("x"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_registrations_is_written_in_parts_between_which_others_have_their_turn() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        site.hub.slow(SECOND);
        let stormed: Vec<_> = (1..=2_000)
            .map(|n| {
                let handle = a.handle.clone();
                let asked = registration(&format!("x{n}"), n);
                tokio::task::spawn_local(async move { handle.register(asked).await.map(drop) })
            })
            .collect();
        until("the first are written", || !site.hub.is_empty()).await;
        assert!(site.hub.len() <= 960, "{}", site.hub.len());
        b.register("other", 1).await;
        until("it is told", || a.routes("other")).await;
        assert!(site.hub.len() < 2_000, "{}", site.hub.len());
        for registered in stormed {
            registered.await.unwrap().unwrap();
        }
        assert_eq!(site.hub.len(), 2_001);
    })
    .await;
}

/// Registers them at one proxy, and has each renew often enough to be counted.
async fn seasoned(proxy: &Proxy, names: &[&str]) {
    for (port, name) in (1..).zip(names) {
        proxy.register(name, port).await;
    }
    for _ in 0..3 {
        for name in names {
            assert!(proxy.beat(name));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn most_of_an_app_falls_silent_at_a_proxy_alone_and_who_answers_is_kept_for_three_ttls() {
    on_one_thread(async {
        let site = Site::default();
        let a = site.start("a").await;
        seasoned(&a, &["x1", "x2", "x3", "x4"]).await;
        site.refuses("x4");
        let silent_since = Instant::now();
        until("the one that refuses is gone", || !a.knows("x4")).await;
        assert!(silent_since.elapsed() < TTL + 2 * SECOND);
        until("the first of the others is gone", || {
            ["x1", "x2", "x3"].iter().any(|name| !a.knows(name))
        })
        .await;
        let kept = silent_since.elapsed();
        assert!(kept >= TTL * 4 && kept < TTL * 4 + 6 * SECOND, "{kept:?}");
        assert_eq!(a.handle.stats().suspected, 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn most_of_what_one_of_three_proxies_hears_falls_silent_and_is_kept_for_three_ttls() {
    on_one_thread(async {
        let site = Site::default();
        let [a, b, _c] = site.three().await;
        seasoned(&a, &["x1", "x2", "x3"]).await;
        // Heard by another proxy, which has nothing to fear for.
        b.register("y", 9).await;
        let silent_since = Instant::now();
        while silent_since.elapsed() < TTL * 4 - SECOND {
            assert!(b.beat("y"));
            sleep(SECOND).await;
            for name in ["x1", "x2", "x3"] {
                assert!(b.routes(name), "{name} after {:?}", silent_since.elapsed());
            }
        }
        until("they are gone everywhere", || {
            !b.knows("x1") && !b.knows("x2") && !b.knows("x3")
        })
        .await;
        assert!(silent_since.elapsed() < TTL * 4 + 6 * SECOND);
        assert!(b.routes("y"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_few_of_an_app_fall_silent_and_end_at_their_ttl() {
    on_one_thread(async {
        let site = Site::default();
        let a = site.start("a").await;
        seasoned(&a, &["x1", "x2", "x3", "x4"]).await;
        let silent_since = Instant::now();
        while silent_since.elapsed() < TTL + SECOND {
            for name in ["x3", "x4"] {
                assert!(a.beat(name));
            }
            sleep(SECOND).await;
        }
        assert!(!a.knows("x1") && !a.knows("x2"));
        assert!(a.knows("x3") && a.knows("x4"));
        assert_eq!(a.handle.stats().suspected, 0);
    })
    .await;
}
