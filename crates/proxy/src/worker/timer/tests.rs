use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{advance, sleep};

use super::*;

/// The runtime's own timer counts milliseconds, and may be late by one.
const LATE: Duration = TICK.saturating_add(Duration::from_millis(1));

/// Runs `test` as a worker runs, with a clock that stands still until all wait, and then moves to the next timer.
fn run<R>(test: impl Future<Output = R>) -> R {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .unwrap()
        .block_on(test)
}

/// Timers with their driver, and how often that has been polled.
fn driven() -> (Timers, Rc<Cell<u32>>, JoinHandle<()>) {
    let timers = Timers::new();
    let polls = Rc::new(Cell::new(0));
    let (counted, driver) = (Rc::clone(&polls), timers.run());
    let driver = spawn_local(async move {
        let mut driver = pin!(driver);
        poll_fn(|cx| {
            counted.set(counted.get() + 1);
            driver.as_mut().poll(cx)
        })
        .await;
    });
    (timers, polls, driver)
}

async fn due(timer: &Timer) {
    poll_fn(|cx| timer.poll_due(cx)).await;
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn woken() -> (Arc<Woken>, Waker) {
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    (Arc::clone(&woken), Waker::from(woken))
}

/// Whoever else has something to do has its turn in between.
#[test]
fn of_thousands_that_are_due_together_few_are_woken_at_a_time() {
    run(async {
        let (timers, _, _driver) = driven();
        let fired = Rc::new(Cell::new(0_usize));
        let deadline = Instant::now() + Duration::from_secs(1);
        for _ in 0..1_000 {
            let (timer, fired) = (timers.timer(), Rc::clone(&fired));
            timer.arm(deadline);
            spawn_local(async move {
                due(&timer).await;
                fired.set(fired.get() + 1);
            });
        }
        sleep(Duration::from_millis(900)).await;
        advance(Duration::from_millis(200)).await;
        let (mut before, mut most) = (fired.get(), 0);
        while before < 1_000 {
            yield_now().await;
            let now = fired.get();
            most = most.max(now - before);
            before = now;
        }
        assert!((1..=2 * AT_ONCE).contains(&most), "{most} at a time");
    });
}

#[test]
fn a_timer_is_two_words() {
    assert!(size_of::<Timer>() <= 2 * size_of::<usize>());
}

#[test]
fn a_deadline_that_passes_is_noticed_within_a_tick() {
    run(async {
        let (timers, _, _) = driven();
        let timer = timers.timer();
        for millis in [0, 1, 49, 50, 51, 999, 1_000, 75_003, 3_600_000] {
            let deadline = Instant::now() + Duration::from_millis(millis);
            timer.arm(deadline);
            assert!(!timer.is_due());
            due(&timer).await;
            assert!(timer.is_due());
            let now = Instant::now();
            assert!(
                deadline <= now && now <= deadline + LATE,
                "{millis} ms: {:?}",
                now - deadline
            );
        }
    });
}

#[test]
fn a_deadline_in_the_past_fires_within_a_tick() {
    run(async {
        let (timers, _, _) = driven();
        let timer = timers.timer();
        let past = Instant::now();
        advance(Duration::from_secs(100)).await;
        let armed = Instant::now();
        timer.arm(past);
        due(&timer).await;
        assert!(Instant::now() - armed <= LATE);
    });
}

#[test]
fn a_deadline_that_is_put_off_does_not_fire_at_the_old_one() {
    run(async {
        let (timers, _, _) = driven();
        let timer = timers.timer();
        let start = Instant::now();
        for millis in (0..20_000).step_by(700) {
            timer.arm(start + Duration::from_millis(millis + 1_000));
            sleep(Duration::from_millis(700)).await;
            assert!(!timer.is_due(), "{millis}");
        }
        due(&timer).await;
        let passed = Instant::now() - start;
        assert!(passed >= Duration::from_millis(19_600 + 1_000), "{passed:?}");
    });
}

#[test]
fn a_deadline_that_is_brought_forward_wakes_a_sleeping_driver() {
    run(async {
        let (timers, _, _) = driven();
        let timer = timers.timer();
        let start = Instant::now();
        timer.arm(start + Duration::from_secs(75));
        sleep(Duration::from_secs(1)).await;
        let deadline = start + Duration::from_secs(2);
        timer.arm(deadline);
        due(&timer).await;
        assert!(Instant::now() <= deadline + LATE);
    });
}

#[test]
fn what_has_fired_is_armed_anew_or_disarmed() {
    run(async {
        let (timers, _, _) = driven();
        let timer = timers.timer();
        timer.arm(Instant::now());
        due(&timer).await;
        timer.arm(Instant::now() + Duration::from_secs(1));
        assert!(!timer.is_due());
        due(&timer).await;
        timer.disarm();
        assert!(!timer.is_due());
        sleep(Duration::from_secs(100)).await;
        assert!(!timer.is_due());
    });
}

#[test]
fn nothing_is_looked_at_while_nothing_is_armed() {
    run(async {
        let (timers, polls, _driver) = driven();
        let timer = timers.timer();
        sleep(Duration::from_secs(10)).await;
        let idle = polls.get();
        assert_eq!(idle, 1);
        timer.arm(Instant::now() + Duration::from_secs(1));
        timer.disarm();
        let _other = timers.timer();
        sleep(Duration::from_secs(86_400)).await;
        // It was told that something is armed, found that nothing is, and went back to sleep.
        assert_eq!(polls.get(), idle + 1);
    });
}

#[test]
fn a_driver_with_a_distant_deadline_sleeps_for_revolutions_not_for_ticks() {
    run(async {
        let (timers, polls, _driver) = driven();
        let timer = timers.timer();
        timer.arm(Instant::now() + Duration::from_secs(75));
        due(&timer).await;
        assert!(polls.get() <= 5, "{}", polls.get());
    });
}

#[test]
fn wake_all_wakes_whoever_waits_armed_or_not() {
    let timers = Timers::new();
    let (armed, unarmed, unpolled) = (timers.timer(), timers.timer(), timers.timer());
    armed.arm(Instant::now() + Duration::from_secs(1));
    let (one, one_waker) = woken();
    let (other, other_waker) = woken();
    assert!(armed.poll_due(&mut Context::from_waker(&one_waker)).is_pending());
    assert!(
        unarmed
            .poll_due(&mut Context::from_waker(&other_waker))
            .is_pending()
    );
    for times in 1..3 {
        timers.wake_all();
        assert_eq!(one.0.load(Ordering::Relaxed), times);
        assert_eq!(other.0.load(Ordering::Relaxed), times);
    }
    assert!(!armed.is_due() && !unarmed.is_due() && !unpolled.is_due());
    drop(armed);
    timers.wake_all();
    assert_eq!(one.0.load(Ordering::Relaxed), 2);
    assert_eq!(other.0.load(Ordering::Relaxed), 3);
}

#[test]
fn the_task_that_polled_last_is_woken_and_clones_of_its_waker_are_not_made_again() {
    let timers = Timers::new();
    let timer = timers.timer();
    let (one, one_waker) = woken();
    let (other, other_waker) = woken();
    let poll = |waker| {
        assert!(timer.poll_due(&mut Context::from_waker(waker)).is_pending());
    };
    poll(&one_waker);
    let count = Arc::strong_count(&one);
    poll(&one_waker);
    assert_eq!(Arc::strong_count(&one), count);
    poll(&other_waker);
    assert_eq!(Arc::strong_count(&one), count - 1);
    timers.wake_all();
    assert_eq!(one.0.load(Ordering::Relaxed), 0);
    assert_eq!(other.0.load(Ordering::Relaxed), 1);
}

#[test]
fn the_driver_ends_with_the_last_timer() {
    run(async {
        let (timers, _, driver) = driven();
        let timer = timers.timer();
        timer.arm(Instant::now() + Duration::from_secs(3_600));
        yield_now().await;
        let before = Instant::now();
        drop(timers);
        yield_now().await;
        assert!(!driver.is_finished());
        drop(timer);
        driver.await.unwrap();
        assert_eq!(Instant::now(), before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Many clients, each with its own times: nobody is early, and nobody more than a tick late.
    #[test]
    fn every_deadline_is_noticed_within_a_tick(
        clients in proptest::collection::vec(proptest::collection::vec((0_u64..40_000, any::<bool>()), 1..20), 1..30),
    ) {
        run(async {
            let (timers, _, _driver) = driven();
            let clients: Vec<_> = clients.into_iter().map(|deadlines| {
                let timers = timers.clone();
                spawn_local(async move {
                    let timer = timers.timer();
                    for (millis, waits) in deadlines {
                        let deadline = Instant::now() + Duration::from_millis(millis);
                        timer.arm(deadline);
                        if waits {
                            due(&timer).await;
                            let now = Instant::now();
                            assert!(deadline <= now && now <= deadline + LATE);
                        } else {
                            sleep(Duration::from_millis(millis / 2)).await;
                            assert!(!timer.is_due() || millis == 0);
                        }
                    }
                })
            }).collect();
            for client in clients {
                client.await.unwrap();
            }
        });
    }
}
