//! Connections whose bytes nobody looks at, through the real binary.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edgeproxy_tests::{Edgeproxy, PATIENCE, Registration, Setup, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

fn setup() -> Setup {
    Edgeproxy::setup()
        .set("TCP_LISTEN_ADDR", "127.0.0.1:0")
        .set("TCP_APP", "database")
}

/// Where the TCP listener is, from the start-up log.
async fn tcp_addr(edgeproxy: &Edgeproxy) -> SocketAddr {
    let said = edgeproxy.logs().find(|line| {
        let (_, rest) = line.split_once("serves TCP on ")?;
        rest.split_once(", for app")?.0.parse().ok()
    });
    within(PATIENCE, "it says where it serves TCP", said)
        .await
        .expect("edgeproxy is running")
}

/// A backend that sends back what comes, and ends when its client has.
struct Echo {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        let (listener, addr) = listener().await;
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        Self { addr, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    (listener, addr)
}

async fn register(edgeproxy: &Edgeproxy, id: &str, addr: SocketAddr) {
    let registration = Registration::new(id, "database", addr).with("protocol", "tcp");
    edgeproxy.api().register_new(&registration).await;
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.expect("edgeproxy accepts")
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    let reading = stream.read_exact(&mut read);
    within(PATIENCE, "bytes come", reading)
        .await
        .expect("they come whole");
    assert_eq!(read, bytes);
}

async fn ended(stream: &mut TcpStream) -> io::Result<usize> {
    within(PATIENCE, "the connection ends", stream.read(&mut [0; 1])).await
}

#[tokio::test]
async fn an_echo_half_closes_and_a_reset_gets_through() {
    let edgeproxy = setup().start().await;
    let addr = tcp_addr(&edgeproxy).await;
    let echo = Echo::start().await;
    register(&edgeproxy, "echo", echo.addr).await;
    let mut client = connect(addr).await;
    for word in [&b"one"[..], b"two", &[7; 100_000]] {
        client.write_all(word).await.expect("it is taken");
        expect(&mut client, word).await;
    }
    client.write_all(b"last").await.expect("it is taken");
    client.shutdown().await.expect("half of it is closed");
    expect(&mut client, b"last").await;
    assert_eq!(ended(&mut client).await.expect("an end, not a reset"), 0);
    drop(echo);

    let (listener, backend) = listener().await;
    register(&edgeproxy, "echo", backend).await;
    for by_client in [true, false] {
        let mut client = connect(addr).await;
        client.write_all(b"x").await.expect("it is taken");
        let (mut server, _) = within(PATIENCE, "it is passed on", listener.accept())
            .await
            .expect("a connection");
        expect(&mut server, b"x").await;
        let (gone, mut left) = if by_client {
            (client, server)
        } else {
            (server, client)
        };
        gone.set_zero_linger().expect("it can be reset");
        drop(gone);
        let error = ended(&mut left).await.expect_err("a reset, not an end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

/// Numbers, so that a part that is lost, repeated or moved is seen.
fn pattern(from: usize, count: usize) -> Vec<u8> {
    (from..from + count)
        .map(|at| ((at / 251) ^ at).to_le_bytes()[0])
        .collect()
}

/// A client's connection and the backend's, through the proxy.
async fn through(edgeproxy: &Edgeproxy) -> (TcpStream, TcpStream) {
    let addr = tcp_addr(edgeproxy).await;
    let (listener, backend) = listener().await;
    register(edgeproxy, "sink", backend).await;
    let client = connect(addr).await;
    let (server, _) = within(PATIENCE, "it is passed on", listener.accept())
        .await
        .expect("a connection");
    (client, server)
}

#[tokio::test]
async fn a_backend_that_has_said_all_is_still_told_the_rest() {
    let edgeproxy = setup().start().await;
    let (mut client, mut server) = through(&edgeproxy).await;
    server.write_all(b"goodbye").await.expect("it is taken");
    server.shutdown().await.expect("half of it is closed");
    expect(&mut client, b"goodbye").await;
    assert_eq!(ended(&mut client).await.expect("an end, not a reset"), 0);
    for word in [&b"one"[..], b"two", &[7; 1_000_000]] {
        let (sent, ()) = tokio::join!(client.write_all(word), expect(&mut server, word));
        sent.expect("it is taken");
    }
    client.shutdown().await.expect("the other half is closed");
    assert_eq!(ended(&mut server).await.expect("an end, not a reset"), 0);
}

/// 64 MiB for a reader that reads nothing at first: the writer has to come to a stop, after 8 MiB at most.
async fn pass_whole_although_the_reader_stalls(writer: TcpStream, mut reader: TcpStream) {
    const TOTAL: usize = 64 << 20;
    const PIECE: usize = 1 << 20;
    let mut sent = 0;
    let stopped = loop {
        let piece = pattern(sent, PIECE);
        match writer.try_write(&piece) {
            Ok(count) => sent += count,
            Err(_) => match tokio::time::timeout(Duration::from_millis(500), writer.writable()).await {
                Ok(ready) => ready.expect("it is open"),
                Err(_) => break sent,
            },
        }
        assert!(sent < TOTAL, "nothing holds the writer back");
    };
    assert!(
        stopped <= 8 << 20,
        "{stopped} bytes went before the reader took one"
    );

    let reading = tokio::spawn(async move {
        let mut at = 0;
        let mut piece = vec![0; PIECE];
        loop {
            let count = reader.read(&mut piece).await.expect("no reset");
            if count == 0 {
                return at;
            }
            assert!(
                piece[..count] == pattern(at, count)[..],
                "bytes from {at} on differ"
            );
            at += count;
        }
    });
    let mut writer = writer;
    while sent < TOTAL {
        let piece = pattern(sent, PIECE.min(TOTAL - sent));
        within(PATIENCE, "a piece is taken", writer.write_all(&piece))
            .await
            .expect("it is taken");
        sent += piece.len();
    }
    writer.shutdown().await.expect("half of it is closed");
    let received = within(PATIENCE, "all has come", reading).await;
    assert_eq!(received.expect("it is as it was sent"), TOTAL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_pass_whole_although_the_backend_stalls() {
    let edgeproxy = setup().start().await;
    let (client, server) = through(&edgeproxy).await;
    pass_whole_although_the_reader_stalls(client, server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_pass_whole_although_the_client_stalls() {
    let edgeproxy = setup().start().await;
    let (client, server) = through(&edgeproxy).await;
    pass_whole_although_the_reader_stalls(server, client).await;
}

#[tokio::test]
async fn a_killed_backend_is_passed_over() {
    let edgeproxy = setup().start().await;
    let addr = tcp_addr(&edgeproxy).await;
    let (one, other) = (Echo::start().await, Echo::start().await);
    register(&edgeproxy, "one", one.addr).await;
    register(&edgeproxy, "other", other.addr).await;
    let dead = one.addr;
    drop(one);
    eventually(PATIENCE, "nobody listens there any more", async || {
        TcpStream::connect(dead)
            .await
            .map_or(Ok(()), |_| Err("open".to_owned()))
    })
    .await;
    for _ in 0..20 {
        let mut client = connect(addr).await;
        client.write_all(b"hello").await.expect("it is taken");
        expect(&mut client, b"hello").await;
    }
    drop(other);
    let nobody = eventually(PATIENCE, "with nobody left it is a reset", async || {
        let mut client = connect(addr).await;
        match ended(&mut client).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    nobody.await;
}

/// Descriptors that edgeproxy has open.
#[cfg(target_os = "linux")]
fn descriptors(edgeproxy: &Edgeproxy) -> usize {
    let folder = format!("/proc/{}/fd", edgeproxy.id());
    std::fs::read_dir(folder).expect("it is running").count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_return_to_where_they_began() {
    let edgeproxy = setup().start().await;
    let addr = tcp_addr(&edgeproxy).await;
    let echo = Echo::start().await;
    register(&edgeproxy, "echo", echo.addr).await;
    let before = descriptors(&edgeproxy);
    let mut clients = Vec::new();
    for _ in 0..8 {
        // Enough to be carried by pipes, both ways.
        clients.push(tokio::spawn(async move {
            let mut client = connect(addr).await;
            let (mut from, mut to) = client.split();
            let sending = async {
                to.write_all(&vec![7; 4 << 20]).await?;
                to.shutdown().await
            };
            let mut received = Vec::new();
            let (sent, read) = tokio::join!(sending, from.read_to_end(&mut received));
            sent.and(read).expect("it is echoed")
        }));
    }
    for client in clients {
        let received = within(PATIENCE, "an echo is whole", client).await;
        assert_eq!(received.expect("an echo"), 4 << 20);
    }
    for number in 0..200 {
        let mut client = connect(addr).await;
        client.write_all(b"x").await.expect("it is taken");
        expect(&mut client, b"x").await;
        if number % 2 == 0 {
            client.set_zero_linger().expect("it can be reset");
        }
    }
    eventually(PATIENCE, "its descriptors are as many as before", async || {
        // The API's connection that registered may be closed by now, too.
        match descriptors(&edgeproxy) {
            now if now <= before => Ok(()),
            now => Err(format!("{now}, {before} before")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_of_the_file_speaks_the_proxy_protocol_both_ways() {
    let edgeproxy = Edgeproxy::setup()
        .toml(
            "[[listeners]]\nname = \"db\"\naddr = \"127.0.0.1:0\"\nprotocol = \"tcp\"\napp = \"database\"\n\
             proxy_protocol = true\nproxy_protocol_from = [\"127.0.0.0/8\"]\nsend_proxy = \"v1\"\n",
        )
        .start()
        .await;
    let addr = tcp_addr(&edgeproxy).await;
    let (listener, backend) = listener().await;
    register(&edgeproxy, "db", backend).await;
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 5432\r\n";
    let mut client = connect(addr).await;
    client
        .write_all(&[&line[..], b"query"].concat())
        .await
        .expect("it is taken");
    let accepted = within(PATIENCE, "it is passed on", listener.accept()).await;
    let (mut server, peer) = accepted.expect("a connection");
    assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 1]));
    expect(&mut server, &[&line[..], b"query"].concat()).await;

    let mut stranger = connect(addr).await;
    stranger
        .write_all(b"query without a header")
        .await
        .expect("it is taken");
    assert!(matches!(ended(&mut stranger).await, Ok(0) | Err(_)));
    let told = edgeproxy.logs().find(|line| {
        line.contains("does not begin with a PROXY protocol header")
            .then_some(())
    });
    within(PATIENCE, "it is logged", told).await.expect("a line");
}

#[tokio::test]
async fn half_a_tcp_listener_is_refused_before_anything_starts() {
    for (name, value, told) in [
        ("TCP_LISTEN_ADDR", "127.0.0.1:0", "there is no tcp_app"),
        ("TCP_APP", "database", "there is no tcp_listen_addr"),
    ] {
        let refused = Edgeproxy::setup().set(name, value).refused().await;
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
}
