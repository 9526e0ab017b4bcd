//! Whose answer is whose, after errors, cuts, early answers and resets.

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::{
    CANCEL, END_HEADERS, END_STREAM, HEADERS, Outcome, RST_STREAM, Raw, WINDOW_UPDATE, frame, get,
};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "answers-of-others",
        "backends that answer early, twice, half, not at all, or reset, mixed",
        |stage| Box::pin(mixed(stage)),
    )
    .quick(),
    Row::new(
        "answers-after-cut-requests",
        "requests whose clients go away in the middle, at every byte",
        |stage| Box::pin(cut(stage)),
    ),
    Row::new(
        "answers-after-resets",
        "HTTP/2 requests that are reset while the backend answers",
        |stage| Box::pin(resets(stage)),
    ),
    Row::new(
        "answers-to-pipelined",
        "requests sent ahead, some of them refused or cut",
        |stage| Box::pin(pipelined(stage)),
    ),
];

async fn mixed(stage: &Stage) -> Result<Did> {
    const ROUNDS: u64 = 60;
    let kinds = ["/early", "/more", "/half", "/cut", "/reset", "/fine"];
    let mut sent = 0;
    for round in 0..ROUNDS {
        for kind in kinds {
            let target = format!("{kind}/{round}");
            let body = if kind == "/early" {
                "x".repeat(60_000)
            } else {
                "hello".to_owned()
            };
            let mut wire = stage.wire().await;
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            wire.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
            let reply = wire.reply().await;
            sent += 1;
            match kind {
                "/early" | "/fine" => ensure!(
                    reply.as_ref().is_ok_and(|reply| reply.text() == target),
                    "{target}: {reply:?}"
                ),
                "/more" => ensure!(
                    reply.as_ref().is_ok_and(|reply| reply.text() == "mine"),
                    "{target}: {reply:?}"
                ),
                "/half" => ensure!(reply.is_err(), "{target}: {reply:?}"),
                _ => ensure!(
                    reply.as_ref().is_ok_and(|reply| reply.status == 502),
                    "{target}: {reply:?}"
                ),
            }
            if reply.is_ok_and(|reply| reply.header("connection") != Some("close")) {
                wire.send(b"GET /next HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
                    .await;
                let next = wire.reply().await?;
                ensure!(next.text() == "/next", "after {target}: {next:?}");
                sent += 1;
            }
        }
    }
    Ok(Did::new(
        sent,
        "502, or cut visibly, or their own answer; a second answer goes to nobody",
    ))
}

async fn cut(stage: &Stage) -> Result<Did> {
    let request = b"POST /mine HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    let mut sent = 0;
    for _ in 0..4 {
        for at in 1..request.len() {
            let mut stream = TcpStream::connect(stage.proxy()).await?;
            stream.write_all(&request[..at]).await?;
            if at % 2 == 0 {
                stream.set_zero_linger()?;
            } else {
                stream.shutdown().await?;
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                let said = String::from_utf8_lossy(&said);
                ensure!(
                    said.is_empty() || said.starts_with("HTTP/1.1 400 ") || said.starts_with("HTTP/1.1 408 "),
                    "cut at {at}: {said:?}"
                );
            }
            sent += 1;
        }
    }
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        sent,
        "never completed: the backend saw no whole request of them",
    ))
}

async fn resets(stage: &Stage) -> Result<Did> {
    const ROUNDS: u32 = 40;
    // What comes of streams before they are reset counts, too, and nobody here gives it back.
    const WINDOW: u32 = 1 << 24;
    let mut sent = 0;
    for round in 0..ROUNDS {
        let mut raw = Raw::connect(stage.proxy()).await?;
        raw.write(&frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes()))
            .await?;
        for n in 0..10 {
            let stream = 2 * n + 1;
            let path = if n % 2 == 0 { "/large/200000" } else { "/early/1" };
            raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path)))
                .await?;
            if (round + n) % 3 != 0 {
                tokio::task::yield_now().await;
            }
            raw.write(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()))
                .await?;
            sent += 1;
        }
        raw.request(21, &get("/mine")).await?;
        let outcome = raw.outcome(21).await?;
        ensure!(outcome == Outcome::Answered(200), "{outcome:?}");
        sent += 1;
    }
    Ok(Did::new(
        sent,
        "each connection to the backend that was left in the middle is closed; what is asked next is answered",
    ))
}

async fn pipelined(stage: &Stage) -> Result<Did> {
    const ROUNDS: u64 = 40;
    let mut sent = 0;
    for round in 0..ROUNDS {
        let mut wire = stage.wire().await;
        let mut bytes = Vec::new();
        for n in 0..10 {
            bytes.extend(format!("GET /ahead/{round}/{n} HTTP/1.1\r\nHost: shop\r\n\r\n").into_bytes());
        }
        bytes.extend(b"GET /cut HTTP/1.1\r\nHost: shop\r\n\r\nGET /behind HTTP/1.1\r\nHost: shop\r\n\r\nGET /bad HTTP/1.1\r\nHost : shop\r\n\r\nGET /never HTTP/1.1\r\nHost: shop\r\n\r\n");
        wire.send(&bytes).await;
        for n in 0..10 {
            let reply = wire.reply().await?;
            ensure!(reply.text() == format!("/ahead/{round}/{n}"), "{reply:?}");
        }
        let statuses = [wire.reply().await?, wire.reply().await?, wire.reply().await?];
        ensure!(
            statuses[0].status == 502 && statuses[1].text() == "/behind" && statuses[2].status == 400,
            "{statuses:?}"
        );
        wire.closed().await;
        sent += 14;
    }
    ensure!(
        !stage
            .origin
            .asked()
            .iter()
            .any(|asked| asked.head.target() == "/never"),
        "what is behind a refused one was served"
    );
    Ok(Did::new(
        sent,
        "in order, each its own; nothing behind a refused one",
    ))
}
