//! A thousand open sockets when the proxy is told to stop.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Edgeproxy, PATIENCE, eventually, within};
use futures_util::{SinkExt, StreamExt};
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::stage::{before_with, in_flight};
use crate::websocket::{echo_backend, next, open};

const SOCKETS: usize = 1_000;
const DRAIN: Duration = Duration::from_secs(5);

/// Both ends of each socket are in this process, which may have been given fewer descriptors than it may have.
fn raise_the_limit_of_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit can be raised up to the maximum");
    let enough = limit.current.is_none_or(|now| now >= 3 * SOCKETS as u64);
    assert!(
        enough,
        "this test needs {} descriptors, found {limit:?}",
        3 * SOCKETS
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_go_on_in_a_drain_until_its_time_is_over() {
    raise_the_limit_of_descriptors();
    let setup = Edgeproxy::setup().set("DRAIN_TIMEOUT_SECS", &DRAIN.as_secs().to_string());
    let mut edgeproxy = before_with(setup, echo_backend().await).await;
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let mut socket = open(edgeproxy.proxy()).await;
        let hello = Message::text(format!("{n}"));
        socket.send(hello.clone()).await.expect("it is taken");
        assert_eq!(next(&mut socket).await, hello);
        sockets.push(socket);
    }
    in_flight(&edgeproxy, SOCKETS as u64).await;

    let told = Instant::now();
    edgeproxy.signal(Signal::TERM);
    eventually(
        PATIENCE,
        "no new one is accepted",
        async || match TcpStream::connect(edgeproxy.proxy()).await {
            Ok(_) => Err("a connection".to_owned()),
            Err(_) => Ok(()),
        },
    )
    .await;
    for (n, socket) in sockets.iter_mut().enumerate() {
        let still = Message::text(format!("still {n}"));
        socket.send(still.clone()).await.expect("it is taken");
        assert_eq!(next(socket).await, still);
    }
    in_flight(&edgeproxy, SOCKETS as u64).await;
    assert!(
        told.elapsed() < DRAIN,
        "this machine takes longer for that than the drain lasts: {:?}",
        told.elapsed()
    );

    let mut cut = 0;
    for mut socket in sockets {
        // An end or a reset, but no message any more.
        let end = within(DRAIN + PATIENCE, "it is cut", socket.next()).await;
        assert!(matches!(end, None | Some(Err(_))), "{end:?}");
        cut += 1;
    }
    assert_eq!(cut, SOCKETS);
    assert!(
        told.elapsed() >= DRAIN,
        "they had their time: {:?}",
        told.elapsed()
    );
    let status = edgeproxy.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{status}");
}
