use std::sync::atomic::AtomicU32;
use std::task::Wake;
use std::thread;

use super::*;

const MAX: usize = 64;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn is_turn(waiting: &mut Waiting) -> bool {
    waiting
        .poll_turn(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

#[test]
fn a_request_waits_until_a_place_is_given_back() {
    let queue = Arc::new(Queue::new());
    assert!(queue.is_empty());
    queue.release_one();
    let mut one = queue.join(MAX).unwrap();
    assert!(is_turn(&mut one));
    assert!(!is_turn(&mut one));
    let mut other = queue.join(MAX).unwrap();
    assert_eq!(queue.join(2).err(), Some(QueueFull { max: 2 }));
    assert_eq!(queue.len(), 2);
    queue.release_one();
    assert!(!is_turn(&mut other));
    assert!(is_turn(&mut one));
    drop(one);
    assert!(!is_turn(&mut other));
    queue.wake_all();
    assert!(is_turn(&mut other));
    drop(other);
    assert!(queue.is_empty());
}

#[test]
fn the_settings_of_whoever_joins_say_how_long_the_line_may_be() {
    let queue = Arc::new(Queue::new());
    assert_eq!(queue.join(0).err(), Some(QueueFull { max: 0 }));
    let _waiting: Vec<_> = (0..3).map(|_| queue.join(3).unwrap()).collect();
    assert_eq!(queue.join(2).err(), Some(QueueFull { max: 2 }));
    assert!(queue.join(4).is_ok());
}

#[test]
fn who_times_out_with_a_turn_hands_it_on() {
    let queue = Arc::new(Queue::new());
    let mut waiting: Vec<_> = (0..3).map(|_| queue.join(MAX).unwrap()).collect();
    assert!(is_turn(&mut waiting[0]));
    assert!(!is_turn(&mut waiting[0]));
    queue.release_one();
    drop(waiting.remove(0));
    assert!(!is_turn(&mut waiting[1]));
    assert!(is_turn(&mut waiting[0]));
}

#[test]
fn room_that_one_request_cannot_use_is_the_next_ones_turn() {
    let queue = Arc::new(Queue::new());
    let (mut retry, mut other) = (queue.join(MAX).unwrap(), queue.join(MAX).unwrap());
    assert!(is_turn(&mut retry));
    assert!(!is_turn(&mut other));
    retry.pass_on();
    assert!(!is_turn(&mut retry));
    assert!(is_turn(&mut other));
}

/// Many threads share few places. A lost wake-up would leave one parked for good.
#[test]
fn under_contention_everybody_is_served_and_the_limit_holds() {
    const THREADS: u32 = 6;
    const ROUNDS: u32 = 400;
    const HARD: u32 = 2;

    let queue = Arc::new(Queue::new());
    let in_flight = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (queue, in_flight) = (Arc::clone(&queue), Arc::clone(&in_flight));
            thread::spawn(move || {
                let waker = Waker::from(Arc::new(Unpark(thread::current())));
                let mut cx = Context::from_waker(&waker);
                // Relaxed, as the meter does it: the queue brings its own fences.
                let admit = || {
                    let order = Ordering::Relaxed;
                    in_flight
                        .fetch_update(order, order, |count| (count < HARD).then_some(count + 1))
                        .is_ok()
                };
                for round in 0..ROUNDS {
                    if !(queue.is_empty() && admit()) {
                        let mut waiting = queue.join(MAX).unwrap();
                        // Some leave before they are served.
                        let mut patience = if (round + thread) % 7 == 0 { 2 } else { u32::MAX };
                        let served = loop {
                            if waiting.poll_turn(&mut cx).is_ready() {
                                if admit() {
                                    break true;
                                }
                            } else {
                                patience -= 1;
                                if patience == 0 {
                                    break false;
                                }
                                thread::park();
                            }
                        };
                        drop(waiting);
                        if !served {
                            continue;
                        }
                    }
                    assert!(in_flight.load(Ordering::Relaxed) <= HARD);
                    if round % 3 == 0 {
                        thread::yield_now();
                    }
                    in_flight.fetch_sub(1, Ordering::Release);
                    queue.release_one();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(in_flight.load(Ordering::Relaxed), 0);
    assert!(queue.is_empty());
}
