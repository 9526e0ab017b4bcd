//! Clients of HTTP/2 that have the proxy work, or keep, for nothing.

use anyhow::{Context, Result, bail, ensure};

use crate::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, Outcome, PING,
    PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, asked, code_name,
    frame, get, literal,
};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "http2-rapid-reset",
        "requests that are reset at once (CVE-2023-44487)",
        |stage| Box::pin(rapid_reset(stage)),
    )
    .quick(),
    Row::new(
        "http2-made-you-reset",
        "requests that the proxy has to reset, by a window of too much (CVE-2025-8671)",
        |stage| {
            Box::pin(flood(stage, |n| {
                let stream = stream(n);
                let mut both = frame(HEADERS, END_HEADERS, stream, &get("/flood"));
                both.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 255, 255, 255]));
                both
            }))
        },
    )
    .quick(),
    Row::new(
        "http2-made-you-reset-zero",
        "the same by a window update of nothing",
        |stage| {
            Box::pin(ended_by(stage, PROTOCOL_ERROR, |n| {
                let stream = stream(n);
                let mut both = frame(HEADERS, END_HEADERS, stream, &get("/flood"));
                both.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
                both
            }))
        },
    ),
    Row::new(
        "http2-made-you-reset-length",
        "the same by more DATA than the length says",
        |stage| {
            Box::pin(flood(stage, |n| {
                let stream = stream(n);
                let head = [asked("POST", "/flood"), literal(b"content-length", b"1")].concat();
                let mut both = frame(HEADERS, END_HEADERS, stream, &head);
                both.extend(frame(DATA, END_STREAM, stream, b"xx"));
                both
            }))
        },
    ),
    Row::new(
        "http2-continuation",
        "a head that goes on for ever (CVE-2024-27316)",
        |stage| {
            Box::pin(flood(stage, |n| match n {
                0 => frame(HEADERS, 0, 1, &get("/flood")),
                n => frame(CONTINUATION, 0, 1, &literal(format!("x-{n}").as_bytes(), b"y")),
            }))
        },
    )
    .quick(),
    Row::new(
        "http2-empty-continuation",
        "a head that goes on with nothing",
        |stage| {
            Box::pin(flood(stage, |n| match n {
                0 => frame(HEADERS, 0, 1, &get("/flood")),
                _ => frame(CONTINUATION, 0, 1, b""),
            }))
        },
    ),
    Row::new("http2-ping", "PING without end (CVE-2019-9512)", |stage| {
        Box::pin(flood(stage, |_| frame(PING, 0, 0, &[0; 8])))
    }),
    Row::new(
        "http2-settings",
        "SETTINGS without end (CVE-2019-9515)",
        |stage| Box::pin(flood(stage, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))),
    ),
    Row::new(
        "http2-empty-settings",
        "SETTINGS of nothing without end",
        |stage| Box::pin(flood(stage, |_| frame(SETTINGS, 0, 0, &[]))),
    ),
    Row::new(
        "http2-empty-data",
        "DATA of nothing without end (CVE-2019-9518)",
        |stage| {
            Box::pin(flood(stage, |n| match n {
                0 => frame(HEADERS, END_HEADERS, 1, &asked("POST", "/flood")),
                _ => frame(DATA, 0, 1, b""),
            }))
        },
    ),
    Row::new("http2-padding", "DATA of padding alone without end", |stage| {
        Box::pin(flood(stage, |n| match n {
            0 => frame(HEADERS, END_HEADERS, 1, &asked("POST", "/flood")),
            _ => frame(DATA, 8, 1, &[0]),
        }))
    }),
    Row::new(
        "http2-priority",
        "PRIORITY without end (CVE-2019-9513)",
        |stage| {
            Box::pin(flood(stage, |n| {
                frame(PRIORITY, 0, stream(n % 1000), &[0, 0, 0, 0, 1])
            }))
        },
    ),
    Row::new(
        "http2-window-updates",
        "WINDOW_UPDATE by one without end",
        |stage| Box::pin(flood(stage, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
    ),
    Row::new(
        "http2-unknown-frames",
        "frames that nobody knows without end",
        |stage| Box::pin(flood(stage, |_| frame(0x42, 0, 0, b""))),
    ),
    Row::new(
        "http2-hpack-bomb",
        "small heads that unpack to large ones (CVE-2016-6581)",
        |stage| Box::pin(hpack_bomb(stage)),
    )
    .quick(),
    Row::new(
        "http2-hpack-resizing",
        "heads that resize the table of fields over and over",
        |stage| Box::pin(resizing(stage)),
    ),
    Row::new(
        "http2-tiny-windows",
        "answers asked for by the hundred, and never taken (CVE-2019-9511, CVE-2019-9517)",
        |stage| Box::pin(tiny_windows(stage)),
    )
    .with(|setup| setup.set("SEND_TIMEOUT_SECS", "2"))
    .again(),
    Row::new("http2-trickled-windows", "answers taken byte by byte", |stage| {
        Box::pin(trickled(stage))
    }),
    Row::new(
        "http2-stream-ids",
        "the last of all stream ids, ids that go back, and even ones",
        |stage| Box::pin(ids(stage)),
    ),
    Row::new(
        "http2-streams-held",
        "more streams than are allowed, all held open",
        |stage| Box::pin(held(stage)),
    )
    .with(|setup| setup.set("HEADER_TIMEOUT_SECS", "2")),
    Row::new(
        "http2-frame-errors",
        "frames that are too long, of no stream, or for servers alone",
        |stage| Box::pin(errors(stage)),
    ),
];

/// More than any budget allows.
const MOST: u64 = 400_000;

fn stream(n: u64) -> u32 {
    u32::try_from(2 * n + 1).expect("there are not as many")
}

/// One connection after the other does nothing else: each is calmed down.
async fn flood(stage: &Stage, again: impl Fn(u64) -> Vec<u8>) -> Result<Did> {
    ended_by(stage, ENHANCE_YOUR_CALM, again).await
}

async fn ended_by(stage: &Stage, expected: u32, again: impl Fn(u64) -> Vec<u8>) -> Result<Did> {
    const CONNECTIONS: u64 = 4;
    let (mut total, mut most) = (0, 0);
    for _ in 0..CONNECTIONS {
        let raw = Raw::connect(stage.proxy()).await?;
        let (sent, code) = raw.flood(MOST, &again).await?;
        ensure!(code == expected, "ended by {} after {sent}", code_name(code));
        total += sent;
        most = most.max(sent);
    }
    let code = code_name(expected);
    Ok(Did::new(
        total,
        format!("each of {CONNECTIONS} connections ended by {code}, after {most} at most"),
    ))
}

async fn rapid_reset(stage: &Stage) -> Result<Did> {
    let mut did = flood(stage, |n| {
        let stream = stream(n);
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/flood"));
        both.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        both
    })
    .await?;
    let reached = stage.origin.asked().len();
    ensure!(reached < 1_000, "{reached} of them reached the backend");
    did.did += &format!("; {reached} reached the backend");
    Ok(did)
}

async fn hpack_bomb(stage: &Stage) -> Result<Did> {
    const ROUNDS: u64 = 50;
    // A field of 4,000 bytes that is remembered, and then named four thousand times by one byte.
    let mut bomb = get("/flood");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4_000]);
    bomb.extend([0xbe; 4_000]);
    let mut said = Vec::new();
    for _ in 0..ROUNDS {
        let mut raw = Raw::connect(stage.proxy()).await?;
        raw.request(1, &bomb).await?;
        let outcome = raw.outcome(1).await?;
        said.push(match outcome {
            Outcome::Answered(431) => "431".to_owned(),
            Outcome::Reset(code) | Outcome::Ended(code) if code != 0 => code_name(code),
            other => bail!("{other:?}"),
        });
    }
    said.sort_unstable();
    said.dedup();
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        ROUNDS,
        format!("each of 16 MB refused by {}", said.join(" or ")),
    ))
}

async fn resizing(stage: &Stage) -> Result<Did> {
    const HEADS: u32 = 2_000;
    let mut raw = Raw::connect(stage.proxy()).await?;
    // Down to nothing, up to 4,096, and fields that are remembered in between (RFC 7541 §6.3).
    let mut fields = Vec::new();
    for _ in 0..60 {
        fields.extend([0x40, 1, b'x', 1, b'y']);
    }
    let mut sent = 0;
    for n in 0..HEADS {
        let head = [&[0x20, 0x3f, 0xe1, 0x1f][..], &get("/flood"), &fields].concat();
        raw.request(2 * n + 1, &head).await?;
        sent += 1;
        if let Outcome::Ended(code) = raw.outcome(2 * n + 1).await? {
            return Ok(Did::new(
                sent,
                format!("ended by {} after {sent}", code_name(code)),
            ));
        }
    }
    Ok(Did::new(sent, "all answered, in constant memory"))
}

async fn tiny_windows(stage: &Stage) -> Result<Did> {
    const CONNECTIONS: u64 = 10;
    const STREAMS: u32 = 100;
    let mut attackers = Vec::new();
    for _ in 0..CONNECTIONS {
        // No window at all for answers.
        let mut raw = Raw::with(stage.proxy(), &[(4, 0)]).await?;
        for n in 0..STREAMS {
            raw.request(2 * n + 1, &get("/large/262144")).await?;
        }
        attackers.push(raw);
    }
    let mut reset = 0_u64;
    for raw in &mut attackers {
        let mut mine = 0;
        while mine < STREAMS {
            let frame = raw.next().await?.context("the connection has ended")?;
            ensure!(
                frame.kind != DATA || frame.payload.is_empty(),
                "content without a window"
            );
            match frame.kind {
                RST_STREAM => mine += 1,
                GOAWAY => break,
                _ => {}
            }
        }
        reset += u64::from(mine);
    }
    Ok(Did::new(
        CONNECTIONS * u64::from(STREAMS),
        format!(
            "{reset} answers given up after `send_timeout_secs`, which was 2, and their places given back"
        ),
    ))
}

async fn trickled(stage: &Stage) -> Result<Did> {
    const STREAMS: u32 = 100;
    const BYTES: u32 = 300;
    let mut raw = Raw::with(stage.proxy(), &[(4, 0)]).await?;
    for n in 0..STREAMS {
        raw.request(2 * n + 1, &get("/large/65536")).await?;
    }
    let mut sent = 0;
    for n in 0..BYTES * STREAMS {
        if raw
            .write(&frame(WINDOW_UPDATE, 0, 2 * (n % STREAMS) + 1, &[0, 0, 0, 1]))
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
    }
    let (_, code) = raw
        .flood(MOST, |n| frame(WINDOW_UPDATE, 0, stream(n % 100), &[0, 0, 0, 1]))
        .await?;
    ensure!(code == ENHANCE_YOUR_CALM, "ended by {}", code_name(code));
    Ok(Did::new(
        sent,
        "ended by ENHANCE_YOUR_CALM; meanwhile it held 100 streams and their first buffers",
    ))
}

async fn ids(stage: &Stage) -> Result<Did> {
    let mut raw = Raw::connect(stage.proxy()).await?;
    raw.request(0x7fff_ffff, &get("/flood")).await?;
    let last = raw.outcome(0x7fff_ffff).await?;
    ensure!(last == Outcome::Answered(200), "the last id: {last:?}");
    // There is none behind it.
    raw.request(1, &get("/flood")).await?;
    let back = raw.outcome(1).await?;
    ensure!(
        matches!(back, Outcome::Ended(_) | Outcome::Closed),
        "an id that goes back: {back:?}"
    );
    let mut raw = Raw::connect(stage.proxy()).await?;
    raw.request(2, &get("/flood")).await?;
    let even = raw.outcome(2).await?;
    ensure!(matches!(even, Outcome::Ended(1)), "an even id: {even:?}");
    let mut raw = Raw::connect(stage.proxy()).await?;
    raw.request(0, &get("/flood")).await?;
    let zero = raw.outcome(0).await?;
    ensure!(
        matches!(zero, Outcome::Ended(1)),
        "a request on stream 0: {zero:?}"
    );
    Ok(Did::new(
        4,
        "the last id answered; ids that go back, even ones and 0 end the connection",
    ))
}

async fn held(stage: &Stage) -> Result<Did> {
    const CONNECTIONS: u64 = 8;
    const STREAMS: u32 = 400;
    let (mut sent, mut refused, mut ended) = (0, 0_u64, 0_u64);
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::connect(stage.proxy()).await?;
        for n in 0..STREAMS {
            let head = frame(HEADERS, END_HEADERS, 2 * n + 1, &asked("POST", "/flood"));
            if raw.write(&head).await.is_err() {
                break;
            }
            sent += 1;
        }
        let mut mine = 0;
        while let Some(frame) = raw.next().await? {
            match frame.kind {
                RST_STREAM => mine += 1,
                GOAWAY => {
                    ensure!(
                        frame.code() == ENHANCE_YOUR_CALM,
                        "ended by {}",
                        code_name(frame.code())
                    );
                    ended += 1;
                    break;
                }
                _ => {}
            }
            if mine == STREAMS - 128 {
                break;
            }
        }
        refused += u64::from(mine);
    }
    ensure!(refused > 0 || ended > 0, "all of them were taken");
    Ok(Did::new(
        sent,
        format!("{refused} refused, and {ended} of {CONNECTIONS} connections ended by ENHANCE_YOUR_CALM"),
    ))
}

async fn errors(stage: &Stage) -> Result<Did> {
    let cases: [(&str, Vec<u8>, u32); 8] = [
        ("a frame above 16 KiB", frame(DATA, 0, 1, &[0; 16_385]), 6),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
            3,
        ),
        ("a PING of four bytes", frame(PING, 0, 0, &[0; 4]), 6),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), 6),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), 1),
        ("CONTINUATION of nothing", frame(CONTINUATION, 0, 1, b""), 1),
        (
            "a push by the client",
            frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]),
            1,
        ),
        ("DATA on no stream", frame(DATA, 0, 0, b"x"), 1),
    ];
    let count = cases.len() as u64;
    for (what, bytes, expected) in cases {
        let raw = Raw::connect(stage.proxy()).await?;
        let (_, code) = raw
            .flood(10_000, |_| bytes.clone())
            .await
            .with_context(|| what.to_owned())?;
        ensure!(code == expected, "{what}: ended by {}", code_name(code));
    }
    Ok(Did::new(
        count,
        "each ends its connection, with the code of RFC 9113",
    ))
}
