//! Requests that two parsers could read in two ways, over HTTP/1.1. What counts is what the backend saw.

mod cases;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::cases::{Case, End};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "smuggling-cl-te",
        "a length and chunks, the length to be believed in front",
        |stage| Box::pin(hold(stage, cases::CL_TE)),
    )
    .quick(),
    Row::new(
        "smuggling-te-cl",
        "chunks and a length, the length to be believed behind",
        |stage| Box::pin(hold(stage, cases::TE_CL)),
    ),
    Row::new(
        "smuggling-te-te",
        "`Transfer-Encoding` in disguise, which one of two overlooks",
        |stage| Box::pin(disguised(stage)),
    )
    .quick(),
    Row::new(
        "smuggling-lengths",
        "several lengths, and lengths that aren't numbers",
        |stage| Box::pin(hold(stage, cases::LENGTHS)),
    ),
    Row::new(
        "smuggling-cl-0",
        "bodies that look like requests, before a backend that ignores lengths",
        |stage| Box::pin(ignorant(stage)),
    ),
    Row::new(
        "smuggling-chunks",
        "chunk sizes, extensions and ends that parsers differ about",
        |stage| Box::pin(hold(stage, cases::CHUNKS)),
    )
    .quick(),
    Row::new(
        "smuggling-line-ends",
        "bare LF and CR, NUL, folded lines, spaces about names",
        |stage| Box::pin(hold(stage, cases::LINE_ENDS)),
    )
    .quick(),
    Row::new(
        "request-lines",
        "request lines, versions and targets out of shape",
        |stage| Box::pin(hold(stage, cases::REQUEST_LINES)),
    ),
    Row::new(
        "smuggling-h2c-upgrade",
        "`Upgrade: h2c`, to get a connection past the proxy's rules",
        |stage| Box::pin(hold(stage, cases::H2C)),
    ),
    Row::new(
        "smuggling-connection",
        "`Connection` that names fields which the proxy needs to stay",
        |stage| Box::pin(hold(stage, cases::CONNECTION)),
    ),
    Row::new(
        "host-confusion",
        "several hosts, absolute targets beside another `Host`, and hosts out of shape",
        |stage| Box::pin(hold(stage, cases::HOSTS)),
    ),
    Row::new(
        "connect",
        "CONNECT to elsewhere, to the API and to this machine",
        |stage| Box::pin(hold(stage, cases::CONNECTS)),
    ),
];

/// What is sent behind everything that has to be refused: it would be answered if the connection went on.
const BEHIND: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n";
/// And behind what is in order.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";

async fn hold(stage: &Stage, cases: &[Case<'_>]) -> Result<Did> {
    let (mut refused, mut passed) = (0_u64, 0);
    let mut statuses = Vec::new();
    for case in cases {
        held(stage, case).await.with_context(|| case.what.to_owned())?;
        match case.end {
            End::Refused(status) => {
                refused += 1;
                statuses.push(status);
            }
            End::Passed(_) => passed += 1,
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    let statuses: Vec<_> = statuses.iter().map(ToString::to_string).collect();
    let mut did = format!(
        "{refused} refused ({}) and closed, the backend saw none",
        statuses.join(", ")
    );
    if passed > 0 {
        did += &format!("; {passed} passed on, without what is ambiguous");
    }
    Ok(Did::new(refused + passed, did))
}

/// No answer takes as long.
const LIMIT: Duration = Duration::from_secs(5);

async fn timely(stage: &Stage, case: &Case<'_>) -> Result<()> {
    let held = tokio::time::timeout(LIMIT, held(stage, case)).await;
    held.unwrap_or_else(|_| bail!("no answer and no end within {LIMIT:?}"))
}

async fn held(stage: &Stage, case: &Case<'_>) -> Result<()> {
    stage.origin.forget();
    let mut wire = stage.wire().await;
    let end = if matches!(case.end, End::Refused(_)) {
        BEHIND
    } else {
        LAST
    };
    wire.send(&[case.bytes, end].concat()).await;
    let mut replies = Vec::new();
    loop {
        match wire.reply().await {
            Ok(reply) => replies.push(reply),
            Err(error) => {
                let text = error.to_string();
                let is_end =
                    text.contains("after \"\"") || error.kind() == std::io::ErrorKind::ConnectionReset;
                ensure!(is_end, "an answer that can't be read: {text}");
                break;
            }
        }
    }
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    match case.end {
        End::Refused(status) => {
            ensure!(
                statuses == [status],
                "answers of {statuses:?}, expected {status} alone"
            );
            ensure!(
                replies[0].header("connection") == Some("close"),
                "it doesn't say that it closes"
            );
            stage.origin.was_left_alone()?;
            for head in stage.origin.broken() {
                ensure!(
                    !head.text().contains("smuggled"),
                    "the backend saw {:?}",
                    head.text()
                );
            }
        }
        End::Passed(expected) => {
            let asked = stage.origin.asked();
            let mut found: Vec<_> = asked
                .iter()
                .map(|asked| {
                    (
                        asked.head.line().to_owned(),
                        String::from_utf8_lossy(&asked.body).into_owned(),
                    )
                })
                .collect();
            let last = found.pop();
            ensure!(
                last.as_ref()
                    .is_some_and(|(line, _)| line == "GET /last HTTP/1.1"),
                "answers of {statuses:?}, the backend saw {found:?} and at last {last:?}"
            );
            let found: Vec<_> = found
                .iter()
                .map(|(line, body)| (line.as_str(), body.as_str()))
                .collect();
            ensure!(
                found == expected,
                "the backend saw {found:?}, expected {expected:?}"
            );
            ensure!(statuses.len() == expected.len() + 1, "answers of {statuses:?}");
            for asked in &asked {
                ensure!(
                    asked.head.one("host").as_deref() == Some("shop"),
                    "the Host {:?} came through",
                    asked.head.all("host")
                );
            }
        }
    }
    Ok(())
}

/// Each disguise before a length, where whoever doesn't see through it goes by that.
async fn disguised(stage: &Stage) -> Result<Did> {
    let mut refused = 0;
    for disguise in cases::DISGUISES {
        for with_length in [true, false] {
            let length = if with_length { "Content-Length: 4\r\n" } else { "" };
            let bytes = format!(
                "POST /attack HTTP/1.1\r\nHost: shop\r\n{length}{disguise}\r\n\r\n5c\r\nGPOST /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n0\r\n\r\n"
            );
            let case = Case {
                what: disguise,
                bytes: bytes.as_bytes(),
                end: End::Refused(400),
            };
            timely(stage, &case)
                .await
                .with_context(|| format!("{disguise:?}, with a length: {with_length}"))?;
            refused += 1;
        }
    }
    Ok(Did::new(
        refused,
        format!("{refused} refused (400) and closed, the backend saw none"),
    ))
}

/// The backend answers twice to what the proxy forwarded as one: the second answer is nobody's.
async fn ignorant(stage: &Stage) -> Result<Did> {
    const ROUNDS: u64 = 40;
    for round in 0..ROUNDS {
        let inner = format!("GET /smuggled/{round} HTTP/1.1\r\nHost: shop\r\nVia: x\r\n\r\n");
        let bytes = format!(
            "POST /ignorant/{round} HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        );
        let mut wire = stage.wire().await;
        wire.send(bytes.as_bytes()).await;
        let reply = wire.reply().await?;
        ensure!(reply.text() == format!("/ignorant/{round}"), "{reply:?}");
        // Whatever comes next on this connection is what was asked for next.
        wire.send(b"GET /next HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
            .await;
        let reply = wire.reply().await?;
        ensure!(reply.text() == "/next", "{reply:?}");
        wire.closed().await;
    }
    Ok(Did::new(
        ROUNDS,
        "each passed on as one request; the second answer discarded with its connection",
    ))
}
