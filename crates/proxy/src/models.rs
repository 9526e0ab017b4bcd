//! What must hold however workers interleave. loom plays all of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, InFlight, Incarnation, Limits,
    Region,
};
use loom::thread;

use crate::exchange::queue::{Queue, Returned, Waiting};
use crate::http2::served::Served;
use crate::listen::clients::Clients;
use crate::sync::{AtomicBool, Ordering};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Remembers that it was called.
#[derive(Default)]
struct Called(std::sync::atomic::AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Called {
    fn is_called(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn a_client_never_has_more_connections_than_it_may() {
    loom::model(|| {
        let clients = Arc::new(Clients::default());
        let first = clients.enter(CLIENT, 1);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let clients = Arc::clone(&clients);
                thread::spawn(move || clients.enter(CLIENT, 1))
            })
            .collect();
        drop(first);
        let held: Vec<_> = others
            .into_iter()
            .filter_map(|other| other.join().unwrap())
            .collect();
        assert!(held.len() <= 1);
        drop(held);
        assert!(
            clients.enter(CLIENT, 1).is_some(),
            "none is counted that has gone"
        );
    });
}

fn endpoint() -> Arc<Endpoint> {
    let mut backend = Backend::new(
        BackendId::parse("a").unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("127.0.0.1", 80).unwrap(),
    );
    backend.limits = Limits::new(1, 1).unwrap();
    Arc::new(Endpoint::new(backend, Incarnation::FIRST))
}

/// As a request does that waits for a place: tries when it has a turn, and else sleeps.
fn try_for_a_place(waiting: &mut Waiting, endpoint: &Arc<Endpoint>, waker: &Waker) -> Option<InFlight> {
    while waiting.poll_turn(&mut Context::from_waker(waker)).is_ready() {
        if let Ok(place) = endpoint.admit(Admission::Regular) {
            return Some(place);
        }
    }
    None
}

#[test]
fn a_place_that_is_given_back_wakes_whoever_begins_to_wait() {
    loom::model(|| {
        let (endpoint, queue) = (endpoint(), Arc::new(Queue::new()));
        let held = (
            endpoint.admit(Admission::Regular).unwrap(),
            Returned(Arc::clone(&queue)),
        );
        let worker = thread::spawn(move || {
            let (place, returned) = held;
            drop(place);
            drop(returned);
        });
        let mut waiting = queue.join(1).unwrap();
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        let mut place = try_for_a_place(&mut waiting, &endpoint, &waker);
        worker.join().unwrap();
        if place.is_none() {
            assert!(called.is_called(), "it sleeps though there is a place");
            place = try_for_a_place(&mut waiting, &endpoint, &waker);
        }
        assert!(place.is_some());
    });
}

#[test]
fn one_who_gives_up_hands_its_turn_on() {
    loom::model(|| {
        let (endpoint, queue) = (endpoint(), Arc::new(Queue::new()));
        let held = (
            endpoint.admit(Admission::Regular).unwrap(),
            Returned(Arc::clone(&queue)),
        );
        let mut gives_up = queue.join(2).unwrap();
        let mut waiting = queue.join(2).unwrap();
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        assert!(try_for_a_place(&mut gives_up, &endpoint, Waker::noop()).is_none());
        assert!(try_for_a_place(&mut waiting, &endpoint, &waker).is_none());
        let worker = thread::spawn(move || {
            let (place, returned) = held;
            drop(place);
            drop(returned);
        });
        drop(gives_up);
        worker.join().unwrap();
        assert!(called.is_called(), "it sleeps though there is a place");
        assert!(try_for_a_place(&mut waiting, &endpoint, &waker).is_some());
    });
}

#[test]
fn whoever_is_woken_while_it_is_polled_is_polled_again() {
    loom::model(|| {
        let told = Arc::new(AtomicBool::new(false));
        let left = Arc::new(std::sync::Mutex::new(None::<Waker>));
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut served = Served::new();
        let future = {
            let (told, left, done) = (Arc::clone(&told), Arc::clone(&left), Arc::clone(&done));
            std::future::poll_fn(move |cx| {
                *left.lock().unwrap() = Some(cx.waker().clone());
                if told.load(Ordering::Acquire) {
                    done.store(true, std::sync::atomic::Ordering::SeqCst);
                    return Poll::Ready(());
                }
                Poll::Pending
            })
        };
        served.push(Box::pin(future));
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        let mut cx = Context::from_waker(&waker);
        assert!(served.poll(&mut cx));
        let other = left.lock().unwrap().clone().unwrap();
        // It is woken for another reason, and is about to be polled.
        other.wake_by_ref();
        called.0.store(false, std::sync::atomic::Ordering::SeqCst);
        let worker = thread::spawn(move || {
            told.store(true, Ordering::Release);
            other.wake();
        });
        assert!(served.poll(&mut cx));
        worker.join().unwrap();
        if !done.load(std::sync::atomic::Ordering::SeqCst) {
            assert!(called.is_called(), "its task sleeps though it was woken");
            assert!(served.poll(&mut cx));
        }
        assert!(done.load(std::sync::atomic::Ordering::SeqCst));
    });
}
