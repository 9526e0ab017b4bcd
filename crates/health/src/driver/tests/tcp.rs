use std::io;

use super::*;
use crate::TcpProbe;
use crate::driver::connect;
use crate::driver::probe::{OwnFault, Stop};

#[tokio::test]
async fn a_listener_passes_and_is_left_with_a_fin() {
    let (listener, addr) = listen().await;
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read(&mut [0; 16]).await
    });
    assert!(probe(addr, TcpProbe::default()).await.passed());
    assert_eq!(
        backend.await.unwrap().unwrap(),
        0,
        "an RST would have been an error"
    );
}

#[tokio::test]
async fn a_refused_port_fails_and_says_so() {
    let (_socket, addr) = refusing();
    let reason = reason(probe(addr, TcpProbe::default()).await);
    assert_eq!(reason.to_string(), "connect: connection refused");
}

#[tokio::test]
async fn a_port_of_its_own_is_probed_in_place_of_the_backends() {
    let (_listener, addr) = listen().await;
    let (_socket, refused) = refusing();
    let tcp = |port| TcpProbe::default().with_port(port).unwrap();
    assert!(probe(refused, tcp(addr.port())).await.passed());
    assert!(!probe(addr, tcp(refused.port())).await.passed());
}

/// Under the paused clock the time-out comes as soon as nothing else can.
#[tokio::test(start_paused = true)]
async fn a_connection_that_hangs_fails_after_the_connect_timeout() {
    // With its queue full, Linux drops every further SYN of a listener that doesn't accept.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(HOUR, TcpStream::connect(addr)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 16, "the queue is never full");
    }
    let limit = Duration::from_secs(3);
    let began = tokio::time::Instant::now();
    let tcp = TcpProbe::default().with_connect_timeout(limit).unwrap();
    assert_eq!(reason(probe(addr, tcp).await), Failure::ConnectTimeout { limit });
    assert!(began.elapsed() >= limit && began.elapsed() < limit * 2);
}

#[tokio::test]
async fn a_connection_that_met_itself_is_no_backend() {
    let (socket, addr) = refusing();
    let judged = connect::judge(socket.connect(addr).await, || true);
    assert!(
        matches!(judged, Err(Stop::Failed(Failure::SelfConnect))),
        "{judged:?}"
    );
    let (_listener, addr) = listen().await;
    assert!(connect::judge(TcpStream::connect(addr).await, || true).is_ok());
}

#[test]
fn what_this_side_lacks_is_no_fault_of_the_backend() {
    let judge = |number| connect::judge(Err(io::Error::from_raw_os_error(number)), || true);
    for own in [23, 24, 99, 105, 12] {
        assert!(matches!(judge(own), Err(Stop::OwnFault(_))), "{own}");
    }
    // Refused, reset, timed out, host and network unreachable.
    for theirs in [111, 104, 110, 113, 101] {
        assert!(
            matches!(judge(theirs), Err(Stop::Failed(Failure::Connect { .. }))),
            "{theirs}"
        );
    }
}

/// To have no local port and to have no local address is the same error.
#[test]
fn a_backend_that_no_address_of_this_host_leads_to_fails_its_probe() {
    let nowhere = || Err(io::Error::from_raw_os_error(99));
    assert!(matches!(
        connect::judge(nowhere(), || false),
        Err(Stop::Failed(Failure::Connect { .. }))
    ));
    assert!(connect::has_source(([127, 0, 0, 1], 9).into()));
}

#[test]
fn what_this_side_lacks_is_said_with_what_to_do() {
    let advice = |number| match connect::judge(Err(io::Error::from_raw_os_error(number)), || true) {
        Err(Stop::OwnFault(fault)) => fault.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(advice(24).ends_with("Raise the limit on open files, or lower the load"));
    assert!(advice(99).ends_with("Widen the range of local ports, or lower the load"));
    assert!(!OwnFault::NoTls.to_string().contains("open files"));
}

#[test]
fn an_error_is_told_in_words() {
    assert_eq!(
        connect::words(&io::Error::from_raw_os_error(113)),
        "host unreachable"
    );
    assert_eq!(connect::words(&io::Error::other("it broke")), "it broke");
}
