//! Who gets how many of the places.

use std::num::NonZeroU32;

use super::*;
use crate::{Access, Admission, Terms};

/// What serves connections of whatever peer.
struct Accepting {
    listener: TcpListener,
    acceptor: Acceptor,
    places: Arc<Semaphore>,
    _stop: watch::Sender<()>,
}

impl Accepting {
    async fn new(places: usize, access: Access) -> Self {
        let (handle, _driver) = registry(Config::default());
        let bounds = Bounds {
            connections: places,
            ..Bounds::default()
        };
        let (_stop, stopping) = watch::channel(());
        let places = Arc::new(Semaphore::new(places));
        let state = State {
            bounds,
            terms: Terms::new(Admission::default(), access, bounds),
            ..state(&handle)
        };
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: Acceptor::new(state, Arc::clone(&places), stopping),
            places,
            _stop,
        }
    }

    async fn connect(&self, peer: &str) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await;
        let (stream, _) = self.listener.accept().await.unwrap();
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        tokio::spawn(self.acceptor.clone().serve(stream, peer, place));
        client.unwrap()
    }
}

async fn health(stream: &mut TcpStream) -> String {
    stream.write_all(HEALTH).await.unwrap();
    read_answer(stream).await
}

#[tokio::test]
async fn strangers_have_places_of_their_own_and_take_nobody_elses() {
    const PLACES: u32 = 4;
    let accepting = Accepting::new(PLACES as usize, Access::default()).await;
    let mut silent = accepting.connect("203.0.113.9").await;
    // It gives the place back, and keeps one that nobody else could have.
    drop(accepting.places.acquire_many(PLACES).await.unwrap());
    let mut next = accepting.connect("198.51.100.1").await;
    assert_eq!(read_to_end(&mut next).await, "", "there is one such place");
    let answer = health(&mut silent).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn one_network_gets_a_quarter_of_the_strangers_places() {
    let accepting = Accepting::new(128, Access::default()).await; // 8 of them are strangers'
    let mut first = accepting.connect("203.0.113.1").await;
    let _second = accepting.connect("203.0.113.2").await;
    let mut third = accepting.connect("203.0.113.3").await;
    assert_eq!(read_to_end(&mut third).await, "");
    for other in ["198.51.100.1", "2001:db8::1"] {
        let answer = health(&mut accepting.connect(other).await).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    // A place that is given back is the network's again.
    let answer = health(&mut first).await.to_lowercase();
    assert!(answer.contains("connection: close"), "{answer}");
    read_to_end(&mut first).await;
    drop(first);
    while !health(&mut accepting.connect("203.0.113.3").await)
        .await
        .starts_with("HTTP/1.1 401 ")
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_network_gets_a_quarter_of_the_places_and_keeps_half_of_those_between_requests() {
    let anyone = Access {
        insecure: true,
        ..Access::default()
    };
    let accepting = Accepting::new(32, anyone).await;
    let mut kept = Vec::new();
    for n in 0..8 {
        let mut stream = accepting.connect(&format!("203.0.113.{n}")).await;
        let answer = health(&mut stream).await.to_lowercase();
        assert_eq!(answer.contains("connection: close"), n >= 4, "{n}: {answer}");
        if n < 4 {
            kept.push(stream);
        }
    }
    // Who says nothing has no answer to be told by.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(accepting.connect("203.0.113.99").await);
    }
    assert_eq!(read_to_end(silent.last_mut().unwrap()).await, "");
    // Private networks and loopback have all of them.
    for n in 0..16 {
        let near = if n % 2 == 0 { "127.0.0.1" } else { "10.0.0.1" };
        let mut stream = accepting.connect(near).await;
        assert!(health(&mut stream).await.starts_with("HTTP/1.1 200 "), "{n}");
        kept.push(stream);
    }
}

#[tokio::test]
async fn a_network_that_shakes_hands_too_often_is_not_shaken_hands_with() {
    let (handle, _driver) = registry(Config::default());
    let bounds = Bounds {
        handshakes_per_sec: NonZeroU32::MIN,
        handshake_burst: NonZeroU32::new(2).unwrap(),
        ..Bounds::default()
    };
    let state = State {
        bounds,
        ..state(&handle)
    };
    let (_stop, stopping) = watch::channel(());
    let acceptor = Acceptor::new(state, Arc::new(Semaphore::new(1)), stopping);
    let check = |ip: &str| acceptor.check_handshake(Network::of(ip.parse().unwrap()).unwrap());
    assert!(check("203.0.113.1").is_ok() && check("203.0.113.2").is_ok());
    assert_eq!(
        check("203.0.113.3").unwrap_err().to_string(),
        "203.0.113.0/24 begins more TLS handshakes than one network may"
    );
    assert!(check("198.51.100.1").is_ok() && check("2001:db8::1").is_ok());
}
