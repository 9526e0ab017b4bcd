//! Real requests through Pingora to real sockets.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use edgeproxy_registry::EventKind;
use parking_lot::Mutex;
use pingora_core::server::Fds;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::*;

/// Answers each connection's one request with its own address.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            let body = addr.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    addr
}

/// Takes a request and hangs up.
async fn rude_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
        }
    });
    addr
}

/// Where nobody listens. The listener beside it keeps others from the port.
fn nobody() -> (SocketAddr, std::net::TcpListener) {
    let beside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = beside.local_addr().unwrap().port();
    (SocketAddr::from(([127, 0, 0, 2], port)), beside)
}

/// Pingora on a socket that is open already, as when it takes over from an older process: no port to find out, and no
/// moment at which it isn't listening yet.
fn serve(fleet: Arc<Fleet>, shutdown: ShutdownWatch) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut fds = Fds::new();
    fds.add(addr.to_string(), listener.into_raw_fd());
    let conf = Arc::new(ServerConf::default());
    let mut proxy = pingora_proxy::http_proxy_service(&conf, Edge(fleet));
    proxy.add_tcp(&addr.to_string());
    tokio::spawn(async move {
        Service::start_service(&mut proxy, Some(Arc::new(Mutex::new(fds))), shutdown, 1).await;
    });
    addr
}

async fn ask(proxy: SocketAddr) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_fail_are_ejected_and_no_client_notices() {
    let (told, mut events) = mpsc::unbounded_channel();
    let (fleet, ledgers, handle) = assemble(move |event: &Event| drop(told.send(event.clone()))).unwrap();
    let (stop, shutdown) = watch::channel(false);
    let (gone, _beside) = nobody();
    let addrs = [backend().await, gone, rude_backend().await, backend().await];
    configure(&handle, &addrs).unwrap();
    let proxy = serve(fleet, shutdown.clone());
    let registry = tokio::spawn(async move { ledgers.start(shutdown).await });
    handle.settled().await;

    // Two of four fail, and each request is tried on three.
    for _ in 0..40 {
        let answer = ask(proxy).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let by = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(
            by == addrs[0].to_string() || by == addrs[3].to_string(),
            "{answer}"
        );
    }

    let mut ejected = Vec::new();
    while ejected.len() < 2 {
        let event = events.recv().await.unwrap();
        if event.kind == EventKind::Ejected {
            ejected.push(event.id.to_string());
        }
    }
    ejected.sort_unstable();
    assert_eq!(ejected, ["shop-2", "shop-3"]);
    let statuses = handle.app(&AppName::parse(APP).unwrap()).unwrap();
    let figures = |id: &str| {
        let status = statuses
            .iter()
            .find(|status| status.endpoint.id.as_str() == id)
            .unwrap();
        (status.endpoint.meter.totals(), status.endpoint.meter.in_flight())
    };
    for id in ["shop-2", "shop-3"] {
        let failures = u64::from(MAX_FAILURES);
        assert_eq!(figures(id), ((failures, failures), 0), "nobody asked {id} again");
    }
    let ((one, none), ((other, no_more), _)) = (figures("shop-1").0, figures("shop-4"));
    assert_eq!((one + other, none + no_more), (40, 0));
    stop.send(true).unwrap();
    registry.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_backend_at_all_clients_are_told_so() {
    let (fleet, ledgers, handle) = assemble(|_: &Event| ()).unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let proxy = serve(fleet, shutdown.clone());
    tokio::spawn(async move { ledgers.start(shutdown).await });
    configure(&handle, &[]).unwrap();
    let answer = ask(proxy).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}
