//! Connections to backends that are kept for later, while somebody needs a descriptor now.

use std::sync::Arc;

use bytes::Bytes;
use edgeproxy_backend::Limits;
use http::Response;
use tokio::sync::Semaphore;

use crate::backend::{self, Backend, Reply};
use crate::client::{Client, Response as Answer};
use crate::http2;
use crate::short::{Short, alone};
use crate::stage::{Stage, app, config, endpoint, h2c};

/// Enough for each of the two workers to have some.
const CLIENTS: usize = 16;

/// A proxy that keeps connections to two backends, and has none to a third.
struct Kept {
    _stage: Stage,
    http1: Backend,
    h2c: http2::Backend,
    _fresh: Backend,
    clients: Vec<Client>,
}

impl Kept {
    async fn new() -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&permits);
        let http1 = Backend::start(move |_, _| {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_vec();
            Reply::Hold(head, Arc::clone(&held), b"x".to_vec())
        });
        let h2c = http2::Backend::start(|_, _, mut reply| async move {
            let mut stream = reply.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"x"), true).unwrap();
        });
        let (http1, h2c) = (http1.await, h2c.await);
        let fresh = Backend::start(|_, _| backend::ok("fresh")).await;
        let stage = Stage::start(
            config(),
            [
                app("http1", &[endpoint(1, http1.addr, Limits::NONE)]),
                app("h2c", &[self::h2c(2, h2c.addr, Limits::NONE)]),
                app("app", &[endpoint(3, fresh.addr, Limits::NONE)]),
            ],
        );
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::connect(stage.addr).await);
        }
        for client in &mut clients {
            client.write("GET / HTTP/1.1\r\nhost: http1\r\n\r\n").await;
        }
        // All at once, so that each has a connection of its own.
        http1.until(|t| t.in_flight == CLIENTS).await;
        permits.add_permits(CLIENTS);
        for client in &mut clients {
            assert_eq!(client.read().await.body, "x");
            client.write("GET / HTTP/1.1\r\nhost: h2c\r\n\r\n").await;
            assert_eq!(client.read().await.body, "x");
        }
        assert_eq!(http1.tally().connections, CLIENTS);
        Self {
            _stage: stage,
            http1,
            h2c,
            _fresh: fresh,
            clients,
        }
    }

    /// Every worker has let go of whatever it kept.
    async fn all_closed(&self) {
        self.http1.until(|t| t.closed == CLIENTS).await;
        self.h2c.until(|t| t.closed == t.connections).await;
    }
}

fn is_fresh(answer: &Answer) -> bool {
    (answer.status, answer.body.as_str()) == (200, "fresh")
}

#[tokio::test]
async fn what_is_idle_is_closed_for_a_request_that_needs_a_descriptor_by_every_worker() {
    let _alone = alone().await;
    let mut kept = Kept::new().await;
    let short = Short::of_more();
    let answer = kept.clients[0].get("/").await;
    drop(short);
    assert!(is_fresh(&answer), "{answer:?}");
    kept.all_closed().await;
}
