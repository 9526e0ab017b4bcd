//! Clients that take, or give, as little as they can, by the hundred.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "slowloris-heads",
        "heads, a byte at a time, on 300 connections",
        |stage| Box::pin(heads(stage)),
    )
    .with(|setup| setup.set("HEADER_TIMEOUT_SECS", "2"))
    .quick(),
    Row::new(
        "slowloris-after-an-answer",
        "the same for the second request of a connection",
        |stage| Box::pin(second_heads(stage)),
    )
    .with(|setup| setup.set("HEADER_TIMEOUT_SECS", "2")),
    Row::new(
        "slow-bodies",
        "bodies that stop in the middle, on 100 connections",
        |stage| Box::pin(bodies(stage)),
    )
    .with(|setup| setup.set("RESPONSE_HEADER_TIMEOUT_SECS", "2")),
    Row::new(
        "slow-reading",
        "answers of 8 MiB that nobody takes, on 100 connections",
        |stage| Box::pin(reading(stage)),
    )
    .with(|setup| setup.set("SEND_TIMEOUT_SECS", "2"))
    .again(),
    Row::new(
        "idle-connections",
        "5,000 connections on which nothing is said",
        |stage| Box::pin(idle(stage, b"")),
    )
    .with(|setup| {
        setup
            .set("HEADER_TIMEOUT_SECS", "2")
            .set("IDLE_TIMEOUT_SECS", "2")
    })
    .again(),
    Row::new(
        "idle-after-a-request",
        "2,000 connections that are kept and not used",
        |stage| Box::pin(kept(stage)),
    )
    .with(|setup| setup.set("IDLE_TIMEOUT_SECS", "2"))
    .again(),
    Row::new(
        "half-a-preface",
        "1,000 connections with the first half of HTTP/2's preface",
        |stage| Box::pin(idle(stage, b"PRI * HTTP/2.0\r\n")),
    )
    .with(|setup| {
        setup
            .set("HEADER_TIMEOUT_SECS", "2")
            .set("IDLE_TIMEOUT_SECS", "2")
    }),
    Row::new(
        "idle-http2",
        "500 connections of HTTP/2 without a stream",
        |stage| {
            Box::pin(idle(
                stage,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            ))
        },
    )
    .with(|setup| setup.set("IDLE_TIMEOUT_SECS", "2"))
    .again(),
    Row::new(
        "connections-of-one-client",
        "400 connections of one address, where it may have 100",
        |stage| Box::pin(many(stage)),
    )
    .with(|setup| setup.set("MAX_CONNECTIONS_PER_CLIENT", "100")),
    Row::new(
        "connect-and-go",
        "3,000 connections that are reset at once",
        |stage| Box::pin(gone(stage)),
    ),
];

/// How much later than its deadline something may end here: deadlines are kept by turns of a wheel, and the machine
/// does something else, too.
const SLACK: Duration = Duration::from_secs(3);

const TWO: Duration = Duration::from_secs(2);

async fn open(stage: &Stage, count: usize) -> Result<Vec<TcpStream>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let connected = within(
            Duration::from_secs(5),
            "a connection",
            TcpStream::connect(stage.proxy()),
        )
        .await;
        connections.push(connected.context("it is not accepted")?);
    }
    Ok(connections)
}

/// What they were told until they were closed.
async fn rest(connections: Vec<TcpStream>, limit: Duration) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let until = tokio::time::Instant::now() + limit;
    for mut connection in connections {
        let mut text = Vec::new();
        let read = tokio::time::timeout_at(until, connection.read_to_end(&mut text)).await;
        // A reset is an end, too.
        let _ = read.with_context(|| format!("a connection is open after {limit:?}"))?;
        said.push(String::from_utf8_lossy(&text).into_owned());
    }
    Ok(said)
}

fn all_408(said: &[String]) -> Result<()> {
    let late = said
        .iter()
        .filter(|text| text.starts_with("HTTP/1.1 408 "))
        .count();
    ensure!(
        late == said.len(),
        "{late} of {} were answered by 408; others: {:?}",
        said.len(),
        said.iter().find(|text| !text.starts_with("HTTP/1.1 408 "))
    );
    Ok(())
}

/// Writes a byte to each, in turn, until the time is over.
async fn trickle(connections: &mut [TcpStream], lasts: Duration) -> u64 {
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < lasts {
        for connection in connections.iter_mut() {
            if connection.write_all(b"x").await.is_ok() {
                bytes += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bytes
}

async fn heads(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 300;
    let mut connections = open(stage, COUNT).await?;
    for connection in &mut connections {
        connection
            .write_all(b"GET /slow HTTP/1.1\r\nHost: shop\r\nX: ")
            .await?;
    }
    let begun = Instant::now();
    let bytes = trickle(&mut connections, TWO - Duration::from_millis(300)).await;
    let said = rest(connections, SLACK + TWO).await?;
    let took = begun.elapsed();
    all_408(&said)?;
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        COUNT as u64 + bytes,
        format!(
            "408 for each, and closed, {:.1} s after the first byte, `header_timeout_secs` being 2",
            took.as_secs_f64()
        ),
    ))
}

async fn second_heads(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 100;
    let mut connections = open(stage, COUNT).await?;
    for connection in &mut connections {
        connection
            .write_all(b"GET /first HTTP/1.1\r\nHost: shop\r\n\r\nGET /second HTTP/1.1\r\n")
            .await?;
    }
    let begun = Instant::now();
    let bytes = trickle(&mut connections, TWO - Duration::from_millis(300)).await;
    let said = rest(connections, SLACK + TWO).await?;
    let took = begun.elapsed();
    for text in &said {
        ensure!(
            text.starts_with("HTTP/1.1 200 ") && text.contains("HTTP/1.1 408 "),
            "{text:?}"
        );
    }
    Ok(Did::new(
        COUNT as u64 + bytes,
        format!("200, then 408, and closed within {:.1} s", took.as_secs_f64()),
    ))
}

async fn bodies(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 100;
    let mut connections = open(stage, COUNT).await?;
    for connection in &mut connections {
        connection
            .write_all(b"POST /slow HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nhalf")
            .await?;
    }
    let said = rest(connections, SLACK + 2 * TWO).await?;
    all_408(&said)?;
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        COUNT as u64,
        "408 for each after `response_header_timeout_secs`, which was 2; the backend's connections aborted",
    ))
}

async fn reading(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 100;
    let mut connections = open(stage, COUNT).await?;
    for connection in &mut connections {
        connection
            .write_all(b"GET /large/8388608 HTTP/1.1\r\nHost: shop\r\n\r\n")
            .await?;
    }
    // Nothing is read until the proxy has had to give up.
    let mut operator = stage.operator();
    let begun = Instant::now();
    loop {
        let reply = operator.get("/api/v1/backends/shop-1").await?.expect(200).json();
        let in_flight = reply["in_flight"].as_u64().context("it is a number")?;
        if begun.elapsed() > Duration::from_millis(500) && in_flight < 5 {
            break;
        }
        ensure!(
            begun.elapsed() < TWO + SLACK,
            "{in_flight} are in flight after {:?}",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    let said = rest(connections, SLACK + TWO).await?;
    ensure!(
        said.iter().all(|text| text.len() < 8_388_608),
        "somebody got the whole answer"
    );
    Ok(Did::new(
        COUNT as u64,
        format!(
            "each cut within {:.1} s, `send_timeout_secs` being 2",
            took.as_secs_f64()
        ),
    ))
}

async fn idle(stage: &Stage, first: &[u8]) -> Result<Did> {
    let count = match first.len() {
        0 => 5_000,
        1..=20 => 1_000,
        _ => 500,
    };
    let mut connections = open(stage, count).await?;
    for connection in &mut connections {
        connection.write_all(first).await?;
    }
    let begun = Instant::now();
    let _ = rest(connections, 2 * TWO + SLACK).await?;
    Ok(Did::new(
        count as u64,
        format!(
            "all closed within {:.1} s of the last",
            begun.elapsed().as_secs_f64()
        ),
    ))
}

async fn kept(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 2_000;
    let mut connections = Vec::new();
    for _ in 0..COUNT {
        let mut connection = open(stage, 1).await?.remove(0);
        connection
            .write_all(b"GET /once HTTP/1.1\r\nHost: shop\r\n\r\n")
            .await?;
        connections.push(connection);
    }
    let begun = Instant::now();
    let said = rest(connections, 2 * TWO + SLACK).await?;
    ensure!(
        said.iter().all(|text| text.starts_with("HTTP/1.1 200 ")),
        "somebody was not answered"
    );
    Ok(Did::new(
        COUNT as u64,
        format!(
            "each answered, and closed within {:.1} s",
            begun.elapsed().as_secs_f64()
        ),
    ))
}

async fn many(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 400;
    let connections = open(stage, COUNT).await?;
    let mut taken = Vec::new();
    let mut closed = 0_u64;
    for mut connection in connections {
        let asked = connection
            .write_all(b"GET /one HTTP/1.1\r\nHost: shop\r\n\r\n")
            .await;
        let mut bytes = [0; 512];
        let read = within(
            Duration::from_secs(5),
            "an answer or an end",
            connection.read(&mut bytes),
        )
        .await;
        match read {
            Ok(read) if read > 0 && asked.is_ok() => taken.push(connection),
            _ => closed += 1,
        }
    }
    ensure!(taken.len() == 100, "{} were served at a time", taken.len());
    Ok(Did::new(
        COUNT as u64,
        format!("100 served, {closed} closed at once"),
    ))
}

async fn gone(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 3_000;
    for n in 0..COUNT {
        let mut connection = TcpStream::connect(stage.proxy())
            .await
            .context("it is not accepted")?;
        if n % 2 == 0 {
            connection
                .write_all(b"GET /gone HTTP/1.1\r\nHost: shop\r\n\r\n")
                .await?;
        }
        connection.set_zero_linger()?;
    }
    Ok(Did::new(COUNT, "each forgotten at once"))
}
