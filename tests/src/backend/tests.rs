use std::time::Duration;

use http::Response;

use super::*;
use crate::{Client, PATIENCE, Wire, within};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn it_answers_with_its_name_and_counts() {
    let backend = Backend::start("b1").await;
    let mut client = Client::new(backend.addr());
    for _ in 0..3 {
        let reply = client.get("any.example", "/").await.unwrap().expect(200);
        assert_eq!((reply.text(), reply.header("x-backend")), ("b1", Some("b1")));
        assert_eq!(reply.header("date"), None, "the proxy's date must be seen");
    }
    client.get("any.example", PROBE_PATH).await.unwrap();
    assert_eq!(
        (backend.requests(), backend.probes(), backend.connections()),
        (3, 1, 1)
    );
    assert_eq!((backend.in_flight(), backend.high_water()), (0, 1));
    assert_eq!(backend.last_seen().headers["host"], "any.example");
}

#[tokio::test]
async fn it_holds_until_released() {
    let backend = Backend::start("b1").await;
    backend.behave(Behaviour::Hold);
    let addr = backend.addr();
    let held: Vec<_> = (0..5)
        .map(|_| tokio::spawn(async move { Client::new(addr).get("a", "/").await }))
        .collect();
    backend.holds(5).await;
    assert!(held.iter().all(|request| !request.is_finished()));
    backend.release();
    for request in held {
        let _ = request.await.unwrap().unwrap().expect(200);
    }
    assert_eq!((backend.in_flight(), backend.high_water()), (0, 5));
}

#[tokio::test]
async fn it_closes_unanswered_resets_and_talks_garbage() {
    let backend = Backend::start("b1").await;

    backend.behave(Behaviour::CloseUnanswered);
    let mut wire = Wire::connect(backend.addr()).await;
    wire.send(GET).await;
    assert_eq!(wire.rest().await.unwrap(), "");

    backend.behave(Behaviour::Reset);
    let mut wire = Wire::connect(backend.addr()).await;
    wire.send(GET).await;
    assert_eq!(
        wire.rest().await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );

    backend.behave(Behaviour::Garbage);
    let mut wire = Wire::connect(backend.addr()).await;
    wire.send(GET).await;
    assert_eq!(wire.rest().await.unwrap(), "\x00\x01this is not HTTP\r\n\r\n");
    assert_eq!(backend.requests(), 3);

    backend.behave(Behaviour::CloseOnAccept);
    let mut wire = Wire::connect(backend.addr()).await;
    assert_eq!(wire.rest().await.unwrap(), "");
    assert_eq!((backend.requests(), backend.connections()), (3, 4));
}

#[tokio::test]
async fn garbage_also_on_a_connection_that_was_fine_before() {
    let backend = Backend::start("b1").await;
    let mut wire = Wire::connect(backend.addr()).await;
    wire.send(GET).await;
    assert_eq!(wire.reply().await.unwrap().text(), "b1");
    backend.behave(Behaviour::Garbage);
    wire.send(GET).await;
    assert!(wire.rest().await.unwrap().contains("not HTTP"));
}

#[tokio::test]
async fn it_refuses_keeps_its_port_and_comes_back() {
    let backend = Backend::start("b1").await;
    let mut kept = Client::new(backend.addr());
    kept.get("a", "/").await.unwrap();
    backend.refuse().await;
    kept.get("a", "/").await.expect("an open connection stays");
    assert!(Client::new(backend.addr()).get("a", "/").await.is_err());
    assert!(
        TcpListener::bind(backend.addr()).await.is_err(),
        "the port stays reserved"
    );
    backend.listen();
    let _ = Client::new(backend.addr())
        .get("a", "/")
        .await
        .unwrap()
        .expect(200);
}

#[tokio::test]
async fn killed_it_resets_what_is_under_way() {
    let backend = Backend::start("b1").await;
    backend.behave(Behaviour::Hold);
    let mut wire = Wire::connect(backend.addr()).await;
    wire.send(GET).await;
    backend.holds(1).await;
    backend.kill().await;
    assert_eq!(
        wire.rest().await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(Client::new(backend.addr()).get("a", "/").await.is_err());
    backend.holds(0).await;
    backend.behave(Behaviour::Answer);
    backend.listen();
    let _ = Client::new(backend.addr())
        .get("a", "/")
        .await
        .unwrap()
        .expect(200);
}

#[tokio::test]
async fn it_responds_as_told_after_the_work_it_is_told_to_do() {
    let backend = Backend::start("b1").await;
    backend.behave(Behaviour::respond(|seen| {
        Response::builder()
            .status(418)
            .body(Full::new(seen.body.clone()))
            .unwrap()
    }));
    let mut client = Client::new(backend.addr());
    assert_eq!(
        client.post("a", "/", "tea").await.unwrap().expect(418).text(),
        "tea"
    );
    backend.behave(Behaviour::AnswerAfter(Duration::from_millis(20)));
    let begun = Instant::now();
    within(PATIENCE, "an answer", client.get("a", "/")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(20));
}
