//! Many clients that do nothing, in two ways.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// How long any of them waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each makes one request, reads the answer and keeps the connection until standard input ends.
pub(crate) fn idle(to: SocketAddr, clients: usize) -> anyhow::Result<()> {
    let mut crowd = Vec::with_capacity(clients);
    let mut buffer = vec![0; 16 * 1024];
    for n in 0..clients {
        let of = || format!("client {n} of {clients}");
        let mut client = TcpStream::connect(to).with_context(of)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_nodelay(true)?;
        request(&mut client, "/1k").with_context(of)?;
        answer(&mut client, &mut buffer).with_context(of)?;
        crowd.push(client);
    }
    stay();
    drop(crowd);
    Ok(())
}

/// Clients on one address: fewer than the system has ports for.
const BY_ADDRESS: u32 = 15_000;

/// Threads that clients are made by.
const MAKERS: u32 = 4;

/// What a WebSocket begins with (RFC 6455 §4.1), and nothing after it.
const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: bench.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Each makes one request, or becomes a WebSocket, and stays until standard input ends; says how long it took all of them.
pub(crate) fn held(to: SocketAddr, clients: u32, kind: &str) -> anyhow::Result<()> {
    let upgrade = match kind {
        "idle" => false,
        "websocket" => true,
        other => bail!("found `{other}`, expected idle or websocket"),
    };
    let began = std::time::Instant::now();
    let some = |first: u32| {
        move || -> anyhow::Result<Vec<TcpStream>> {
            let mut buffer = vec![0; 16 * 1024];
            (first..clients)
                .step_by(MAKERS as usize)
                .map(|n| one(to, n, upgrade, &mut buffer).with_context(|| format!("client {n} of {clients}")))
                .collect()
        }
    };
    let makers: Vec<_> = (0..MAKERS).map(|first| std::thread::spawn(some(first))).collect();
    let mut crowd = Vec::new();
    for maker in makers {
        crowd.push(
            maker
                .join()
                .map_err(|_| anyhow::anyhow!("a thread has panicked"))??,
        );
    }
    println!("seconds {}", began.elapsed().as_secs_f64());
    stay();
    drop(crowd);
    Ok(())
}

fn one(to: SocketAddr, n: u32, upgrade: bool, buffer: &mut [u8]) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    let source = 2 + u8::try_from(n / BY_ADDRESS).context("more clients than there are addresses for")?;
    socket.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into())?;
    socket.connect(&to.into())?;
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_nodelay(true)?;
    if upgrade {
        client.write_all(UPGRADE.as_bytes())?;
        let count = client.read(buffer)?;
        let head = String::from_utf8_lossy(&buffer[..count]);
        ensure!(
            head.starts_with("HTTP/1.1 101 "),
            "found `{}`, expected 101",
            head.lines().next().unwrap_or_default()
        );
    } else {
        request(&mut client, "/1k")?;
        answer(&mut client, buffer)?;
    }
    Ok(client)
}

/// Each asks for 256 KiB into a buffer of a few KiB and never reads, until standard input ends.
pub(crate) fn stalled(to: SocketAddr, clients: usize) -> anyhow::Result<()> {
    let mut crowd = Vec::with_capacity(clients);
    for n in 0..clients {
        let of = || format!("client {n} of {clients}");
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        // Only before the connection is there does it bound the window.
        socket.set_recv_buffer_size(4096)?;
        socket.connect(&to.into()).with_context(of)?;
        let mut client = TcpStream::from(socket);
        request(&mut client, "/256k").with_context(of)?;
        crowd.push(client);
    }
    stay();
    drop(crowd);
    Ok(())
}

/// Says that everybody is there, and returns when standard input ends.
fn stay() {
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Sends a GET of `path`.
pub(crate) fn request(client: &mut TcpStream, path: &str) -> std::io::Result<()> {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n\r\n").as_bytes())
}

/// Reads one 200 with a Content-Length to its end.
pub(crate) fn answer(client: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let status = status(client, buffer)?;
    ensure!(status == 200, "found status {status}, expected 200");
    Ok(())
}

/// Reads one answer with a Content-Length to its end, and gives its status.
pub(crate) fn status(client: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<u16> {
    let mut held = 0;
    loop {
        ensure!(held < buffer.len(), "the answer is longer than {held} bytes");
        let count = client.read(&mut buffer[held..]).context("no answer")?;
        if count == 0 {
            bail!("the connection was closed after {held} bytes");
        }
        held += count;
        let Some(head) = buffer[..held].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).unwrap_or_default();
        let status = status
            .parse()
            .with_context(|| format!("found status `{status}`, expected a number"))?;
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .context("the answer has no Content-Length")?
            .trim()
            .parse()
            .context("the answer's Content-Length is no number")?;
        if held >= head + 4 + length {
            return Ok(status);
        }
    }
}
