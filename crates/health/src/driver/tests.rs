mod grpc;
mod http;
mod http2;
mod life;
mod tcp;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{BackendAddr, BackendId, Incarnation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Change, Driver, Failure, Handle, Outcome};
use crate::{Class, Config, First, HttpProbe, Kind, Monitor, Pace, Target};

/// A driver that runs, and what it reports.
struct Rig {
    handle: Handle,
    reports: mpsc::UnboundedReceiver<(Target, Outcome)>,
    driver: JoinHandle<()>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Config::default(), Pace::Settled)
    }

    fn with(config: Config, pace: Pace) -> Self {
        let (tell, reports) = mpsc::unbounded_channel();
        let (handle, driver) = Driver::new(config, move |target: &Target, outcome: &Outcome| {
            let _ = tell.send((target.clone(), outcome.clone()));
            pace
        });
        Self {
            handle,
            reports,
            driver: tokio::spawn(driver.run()),
        }
    }

    async fn next(&mut self) -> (u64, Outcome) {
        let (target, outcome) = soon(self.reports.recv()).await.unwrap();
        (target.incarnation.get(), outcome)
    }

    /// Stops the driver; it must have reported nothing else.
    async fn finish(mut self) {
        drop(self.handle);
        soon(self.driver).await.unwrap();
        assert!(
            self.reports.recv().await.is_none(),
            "a report that nobody asked for"
        );
    }
}

fn target(number: u64, addr: SocketAddr, monitor: Monitor) -> Target {
    Target {
        id: BackendId::parse(&format!("backend-{number}")).unwrap(),
        incarnation: Incarnation::new(number).unwrap(),
        class: Class::Monitor,
        addr: BackendAddr::new(addr.ip(), addr.port()).unwrap(),
        monitor: Arc::new(monitor),
        first: First::AtOnce,
    }
}

/// Probes once, and gives the outcome.
async fn probe(addr: SocketAddr, kind: impl Into<Kind>) -> Outcome {
    let mut rig = Rig::new();
    rig.handle.set_targets([target(1, addr, Monitor::new(kind))]);
    let (_, outcome) = rig.next().await;
    rig.finish().await;
    outcome
}

fn reason(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed { reason, .. } => reason,
        Outcome::Passed { .. } => panic!("it passed"),
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A backend that answers every connection with the same bytes once it has read a request's head, and
/// tells what it read.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (listener, addr) = listen().await;
    let (tell, requests) = mpsc::unbounded_channel();
    let answer: Arc<[u8]> = answer.into().into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answer, tell) = (answer.clone(), tell.clone());
            tokio::spawn(async move {
                let head = read_head(&mut stream).await;
                let _ = tell.send(head);
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    (addr, requests)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A port on loopback that refuses connections for as long as the socket is kept.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Waits for an event, and fails if it takes much longer than it may, well before a probe's own time-out
/// could bring it about.
async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(15), event)
        .await
        .expect("what should happen at once has not happened")
}
