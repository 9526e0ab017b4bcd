//! TLS handshakes that are begun and left, drawn out, or none.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{PATIENCE, Setup, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::origin::BYSTANDER;
use crate::row::{Did, Row};
use crate::stage::{SHOP, Stage};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "tls-handshakes-left",
        "2,000 handshakes that are begun and left, at once or when the answer has come",
        |stage| Box::pin(left(stage)),
    )
    .with(tls)
    .again()
    .quick(),
    Row::new(
        "tls-slow-handshakes",
        "300 handshakes: nothing said, a byte at a time, and a whole first message with nothing behind it",
        |stage| Box::pin(slow(stage)),
    )
    .with(|setup| tls(setup).set("HANDSHAKE_TIMEOUT_SECS", "2")),
    Row::new(
        "tls-garbage",
        "first messages that are none, half ones, and 500 with bytes that are flipped",
        |stage| Box::pin(garbage(stage)),
    )
    .with(|setup| tls(setup).set("HANDSHAKE_TIMEOUT_SECS", "2")),
    Row::new(
        "tls-records",
        "records and handshake messages too large, empty ones, and floods of warnings, 20 times each",
        |stage| Box::pin(records(stage)),
    )
    .with(tls)
    .quick(),
    Row::new(
        "tls-renegotiation",
        "renegotiation of a TLS 1.2 session, by openssl",
        |stage| Box::pin(renegotiation(stage)),
    )
    .with(|setup| {
        tls(setup)
            .set("IDLE_TIMEOUT_SECS", "2")
            .set("HEADER_TIMEOUT_SECS", "2")
    }),
];

/// With HTTPS, by a certificate that signs itself.
fn tls(setup: Setup) -> Setup {
    let made = rcgen::generate_simple_self_signed(vec![SHOP.to_owned()]).expect("a certificate can be made");
    setup
        .file("cert.pem", &made.cert.pem())
        .file("key.pem", &made.signing_key.serialize_pem())
        .set("TLS_ENABLED", "true")
        .set("TLS_LISTEN_ADDR", "127.0.0.1:0")
        .set("TLS_CERT", "cert.pem")
        .set("TLS_KEY", "key.pem")
}

/// Where it ends TLS, by its log.
async fn addr(stage: &Stage) -> Result<SocketAddr> {
    let said = stage.edgeproxy.logs().find(|line| {
        let (_, rest) = line.split_once("serves HTTPS, HTTP/1.1 and HTTP/2, on ")?;
        let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':')))?;
        rest[..end].parse().ok()
    });
    said.await.context("it ends TLS nowhere")
}

/// A length of so many bytes, and what has it.
fn with_length(bytes: usize, what: &[u8]) -> Vec<u8> {
    let length = what.len().to_be_bytes();
    [&length[length.len() - bytes..], what].concat()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &with_length(2, content)[..]].concat()
}

const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// What a client of TLS 1.3 says first (RFC 8446 §4.1.2), as a handshake message.
fn hello() -> Vec<u8> {
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &with_length(2, content)].concat();
    let name = [&[0], &with_length(2, SHOP.as_bytes())[..]].concat();
    let share = [&[0, 0x1d], &with_length(2, &[9; 32])[..]].concat();
    let extensions = [
        extension(0, &with_length(2, &name)),
        // Groups, signatures, versions, and a share of x25519: any 32 bytes are one.
        extension(10, &with_length(2, &[0, 0x1d, 0, 0x17])),
        extension(13, &with_length(2, &[4, 3, 8, 4, 4, 1])),
        extension(43, &with_length(1, &[3, 4, 3, 3])),
        extension(51, &with_length(2, &share)),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &with_length(1, &[5; 32]),
        &with_length(2, &[0x13, 1, 0x13, 2, 0xc0, 0x2b]),
        &with_length(1, &[0]),
        &with_length(2, &extensions),
    ]
    .concat();
    [&[1], &with_length(3, &body)[..]].concat()
}

async fn open(addr: SocketAddr) -> Result<TcpStream> {
    let connected = within(Duration::from_secs(5), "a connection", TcpStream::connect(addr)).await;
    connected.context("it is not accepted")
}

/// What is said until the connection ends, which it has to by then. A reset is an end, too.
async fn ended(mut connection: TcpStream, limit: Duration) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(limit, connection.read_to_end(&mut said)).await;
    let _ = read.with_context(|| format!("a connection is open after {limit:?}"))?;
    Ok(said)
}

/// Somebody whose handshake is a good one is answered meanwhile.
async fn others_are_served(stage: &Stage, addr: SocketAddr) -> Result<()> {
    let port = addr.port();
    let asked = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "5",
            "--noproxy",
            "*",
            "--cacert",
        ])
        .arg(stage.edgeproxy.folder().join("cert.pem"))
        .args(["--write-out", "%{http_code}", "--output", "/dev/null"])
        .args(["--resolve", &format!("{SHOP}:{port}:127.0.0.1")])
        .arg(format!("https://{SHOP}:{port}{BYSTANDER}tls/1"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("curl can't be run")?;
    let said = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
    ensure!(said == "200", "somebody else was not served over TLS: {said}");
    Ok(())
}

const NO_CURL: &str = "there is no curl: apt-get install curl";

fn has_curl() -> bool {
    edgeproxy_tests::is_installed("curl")
}

async fn left(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 2_000;
    if !has_curl() {
        return Ok(Did::skipped(NO_CURL));
    }
    let addr = addr(stage).await?;
    let first = record(HANDSHAKE, &hello());
    let begun = Instant::now();
    for number in 0..COUNT {
        let mut connection = open(addr).await?;
        connection.write_all(&first).await?;
        if number % 2 == 0 {
            let mut kind = [0];
            let read = within(PATIENCE, "an answer", connection.read_exact(&mut kind)).await;
            let _ = read.context("it says nothing")?;
            ensure!(
                kind == [HANDSHAKE],
                "a good first message is answered by {kind:?}"
            );
        }
        connection.set_zero_linger()?;
        if number % 500 == 0 {
            others_are_served(stage, addr).await?;
        }
    }
    Ok(Did::new(
        COUNT,
        format!(
            "each forgotten, in {:.1} s; whoever finished a handshake meanwhile was served",
            begun.elapsed().as_secs_f64()
        ),
    ))
}

/// How much later than its deadline something may end here.
const SLACK: Duration = Duration::from_secs(3);
const TWO: Duration = Duration::from_secs(2);

async fn slow(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 100;
    if !has_curl() {
        return Ok(Did::skipped(NO_CURL));
    }
    let addr = addr(stage).await?;
    let first = record(HANDSHAKE, &hello());
    let (mut silent, mut slow, mut half) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..COUNT {
        silent.push(open(addr).await?);
        slow.push(open(addr).await?);
        let mut connection = open(addr).await?;
        connection.write_all(&first).await?;
        half.push(connection);
    }
    let begun = Instant::now();
    let mut bytes = 0;
    // As slowly as they can, and to their deadline at the least.
    for byte in &first {
        for connection in &mut slow {
            bytes += u64::from(connection.write_all(&[*byte]).await.is_ok());
        }
        if begun.elapsed() + Duration::from_millis(300) > TWO {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    others_are_served(stage, addr).await?;
    let until = begun + TWO + SLACK;
    for (connections, may_say) in [(silent, &[ALERT][..]), (slow, &[ALERT]), (half, &[HANDSHAKE])] {
        for connection in connections {
            let limit = until.saturating_duration_since(Instant::now());
            let said = ended(connection, limit.max(Duration::from_millis(100))).await?;
            ensure!(said.first().is_none_or(|kind| may_say.contains(kind)), "{said:?}");
        }
    }
    Ok(Did::new(
        3 * COUNT as u64 + bytes,
        format!(
            "all closed within {:.1} s, `handshake_timeout_secs` being 2; others were served",
            begun.elapsed().as_secs_f64()
        ),
    ))
}

/// Whatever a stranger may say first.
fn first_words() -> Vec<Vec<u8>> {
    let message = hello();
    let whole = record(HANDSHAKE, &message);
    let lies = |at: usize, bytes: &[u8]| {
        let mut message = message.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        record(HANDSHAKE, &message)
    };
    let mut all = vec![
        b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        // SSL 2.0
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80".to_vec(),
        vec![0; 1_000],
        vec![0xff; 1_000],
        vec![HANDSHAKE; 1_000],
        record(HANDSHAKE, &[2, 0, 0, 0]),
        record(HANDSHAKE, &[1, 0, 0, 0]),
        record(0x17, b"application data"),
        record(0x14, &[1]),
        record(ALERT, &[2, 0]),
        record(0x18, &[1, 0x40, 0]),
        // Lengths that lead beyond their message, or end before it: of the message, the session, the suites.
        lies(1, &[0, 0, 4]),
        lies(1, &[0, 0xff, 0xff]),
        lies(38, &[0xff]),
        lies(71, &[0xff, 0xff]),
        // A version of SSL 3.0
        lies(4, &[3, 0]),
    ];
    for cut in (0..whole.len()).step_by(7) {
        all.push(whole[..cut].to_vec());
    }
    all
}

async fn garbage(stage: &Stage) -> Result<Did> {
    const FLIPPED: u64 = 500;
    if !has_curl() {
        return Ok(Did::skipped(NO_CURL));
    }
    let addr = addr(stage).await?;
    let mut words = first_words();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..FLIPPED {
        let mut flipped = record(HANDSHAKE, &hello());
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..flipped.len());
            flipped[at] ^= random.u8(1..);
        }
        words.push(flipped);
    }
    let begun = Instant::now();
    let mut connections = Vec::new();
    for word in &words {
        let mut connection = open(addr).await?;
        // Who is closed on in the middle of it is told all the same.
        let _ = connection.write_all(word).await;
        connections.push(connection);
    }
    others_are_served(stage, addr).await?;
    let mut told = 0;
    for connection in connections {
        let said = ended(connection, TWO + SLACK).await?;
        // Among those that were flipped some may be good, and then are left: what they are told then is a handshake. Who
        // speaks HTTP in the clear is told by it.
        ensure!(
            matches!(said.first(), None | Some(&(ALERT | HANDSHAKE))) || said.starts_with(b"HTTP/1.1 400 "),
            "it says {:?}",
            String::from_utf8_lossy(&said)
        );
        told += u64::from(said.first() == Some(&ALERT));
    }
    ensure!(told > FLIPPED / 10, "only {told} were told what is wrong");
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        words.len() as u64,
        format!(
            "{told} refused by an alert, the others closed, all within {:.1} s; none reached the backend",
            begun.elapsed().as_secs_f64()
        ),
    ))
}

/// What is refused as soon as it is seen, long before a handshake's time is over; each with what it is.
fn refused_at_once() -> Vec<(&'static str, Vec<u8>)> {
    let fragments: Vec<u8> = hello()
        .chunks(1)
        .flat_map(|byte| record(HANDSHAKE, byte))
        .collect();
    // All of it once more, behind it: nothing may come before the client's second message.
    let twice = [fragments.clone(), fragments].concat();
    let header = |length: u16| [&[HANDSHAKE, 3, 3][..], &length.to_be_bytes(), &[0; 4_096]].concat();
    let mut huge = vec![1, 0xff, 0xff, 0xff];
    huge.resize(16_384, 0);
    vec![
        ("a record of 64 KiB", header(0xffff)),
        ("a record just too large", header(0x4000 + 2_048 + 1)),
        (
            "a message of 16 MiB",
            record(HANDSHAKE, &huge)
                .into_iter()
                .chain(record(HANDSHAKE, &[0; 16_384]).repeat(63))
                .collect(),
        ),
        ("an empty record", record(HANDSHAKE, &[]).repeat(1_000)),
        ("warnings without end", record(ALERT, &[1, 90]).repeat(10_000)),
        ("changes of cipher without end", record(0x14, &[1]).repeat(10_000)),
        ("data before the handshake", record(0x17, &[0; 16_384]).repeat(16)),
        ("the first message twice, a byte in each record", twice),
    ]
}

async fn records(stage: &Stage) -> Result<Did> {
    const TIMES: usize = 20;
    if !has_curl() {
        return Ok(Did::skipped(NO_CURL));
    }
    let addr = addr(stage).await?;
    let mut sent = 0;
    for (what, bytes) in refused_at_once() {
        for _ in 0..TIMES {
            let (mut from, mut to) = open(addr).await?.into_split();
            let sending = async {
                // It may be closed on in the middle, and what is still to come is then lost.
                let _ = to.write_all(&bytes).await;
            };
            let mut said = Vec::new();
            let reading = async {
                let _ = from.read_to_end(&mut said).await;
            };
            let both = async { tokio::join!(sending, reading) };
            // `handshake_timeout_secs` is 10 here.
            let done = tokio::time::timeout(Duration::from_secs(5), both).await;
            let _ = done.with_context(|| format!("{what}: it is not refused at once"))?;
            ensure!(
                matches!(said.first(), None | Some(&(ALERT | HANDSHAKE))),
                "{what}: {said:?}"
            );
            sent += 1;
        }
        others_are_served(stage, addr).await?;
    }
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        sent,
        "an alert, or closed, at once; the next handshake is served",
    ))
}

async fn renegotiation(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 5;
    if !has_curl() {
        return Ok(Did::skipped(NO_CURL));
    }
    if !edgeproxy_tests::is_installed("openssl") {
        return Ok(Did::skipped("there is no openssl: apt-get install openssl"));
    }
    let addr = addr(stage).await?;
    for _ in 0..COUNT {
        let mut client = Command::new("openssl")
            .args(["s_client", "-msg", "-tls1_2", "-servername", SHOP, "-connect"])
            .arg(addr.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        // It is read when the handshake is over. That it stays open shows that it is the proxy that ends it.
        let mut input = client.stdin.take().context("it was asked for")?;
        input.write_all(b"R\n").await?;
        let output = within(PATIENCE, "the session ends", client.wait_with_output()).await?;
        drop(input);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let hellos = |from: &str| {
            let is_hello = |line: &&str| line.starts_with(from) && line.contains("Handshake");
            let lines = said.lines().filter(is_hello);
            lines.filter(|line| line.ends_with("Hello")).count()
        };
        ensure!(
            (hellos(">>>"), hellos("<<<")) == (2, 1),
            "the first of two handshakes alone is answered: {said}"
        );
    }
    others_are_served(stage, addr).await?;
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        COUNT,
        "not answered; the session is over after `idle_timeout_secs`, which was 2",
    ))
}
