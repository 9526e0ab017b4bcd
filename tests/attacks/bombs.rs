//! Heads and targets that are many, long or deep.

use anyhow::{Context, Result, ensure};

use crate::frames::{Outcome, Raw, block, code_name, get, literal};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "long-heads",
        "too many fields, too long ones, and ones that don't end",
        |stage| Box::pin(heads(stage)),
    )
    .quick(),
    Row::new(
        "long-targets",
        "targets that are too long, and ones that don't end",
        |stage| Box::pin(targets(stage)),
    ),
    Row::new(
        "long-chunks",
        "chunk extensions, sizes and trailers that don't end",
        |stage| Box::pin(chunks(stage)),
    ),
    Row::new("http2-long-heads", "the same heads over HTTP/2", |stage| {
        Box::pin(http2(stage))
    }),
    Row::new(
        "deep-targets",
        "paths of thousands of segments, and of dots",
        |stage| Box::pin(deep(stage)),
    ),
];

/// Sends it again and again, up to so many bytes, or until there is an answer.
async fn refused(stage: &Stage, first: &str, again: &str, bytes: usize, status: u16) -> Result<u64> {
    let mut wire = stage.wire().await;
    let mut text = first.to_owned();
    text.push_str(&again.repeat(bytes / again.len().max(1)));
    wire.send(text.as_bytes()).await;
    let reply = wire.reply().await?;
    ensure!(
        reply.status == status,
        "{} in place of {status}: {reply:?}",
        reply.status
    );
    ensure!(
        reply.header("connection") == Some("close"),
        "it doesn't say that it closes"
    );
    wire.closed().await;
    Ok(text.len() as u64)
}

const HEAD: &str = "GET /bomb HTTP/1.1\r\nHost: shop\r\n";
const MIB: usize = 1 << 20;

async fn heads(stage: &Stage) -> Result<Did> {
    let cases = [
        ("many fields", HEAD.to_owned(), "a: b\r\n", 101 * 6),
        ("fields without end", HEAD.to_owned(), "a: b\r\n", MIB),
        ("a value without end", format!("{HEAD}X: "), "y", MIB),
        ("a name without end", HEAD.to_owned(), "n", MIB),
        ("spaces without end", format!("{HEAD}X:"), " ", MIB),
        ("cookies without end", HEAD.to_owned(), "Cookie: a=b\r\n", MIB),
        (
            "forwarding fields without end",
            HEAD.to_owned(),
            "X-Forwarded-For: 1.2.3.4\r\n",
            MIB,
        ),
        ("Via without end", HEAD.to_owned(), "Via: 1.1 a\r\n", MIB),
        ("Connection without end", format!("{HEAD}Connection: "), "a,", MIB),
        (
            "codings without end",
            format!("{HEAD}Transfer-Encoding: "),
            "gzip,",
            MIB,
        ),
    ];
    let (count, mut bytes) = (cases.len() as u64, 0);
    for (what, first, again, length) in cases {
        let whole = length < MIB;
        let first = if whole {
            format!("{first}{}\r\n", again.repeat(101))
        } else {
            first
        };
        let again = if whole { "" } else { again };
        bytes += refused(stage, &first, again, length, 431).await.context(what)?;
    }
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        count,
        format!("431 for each, and closed; {} KiB were sent", bytes / 1024),
    ))
}

async fn targets(stage: &Stage) -> Result<Did> {
    let mut bytes = 0;
    let target = format!("GET /{} HTTP/1.1\r\nHost: shop\r\n\r\n", "a".repeat(9_000));
    bytes += refused(stage, &target, "", 0, 414).await.context("a long path")?;
    let target = format!("GET /?{} HTTP/1.1\r\nHost: shop\r\n\r\n", "a=b&".repeat(3_000));
    bytes += refused(stage, &target, "", 0, 414)
        .await
        .context("a long query")?;
    let target = format!(
        "GET http://shop/{} HTTP/1.1\r\nHost: shop\r\n\r\n",
        "%41".repeat(3_000)
    );
    bytes += refused(stage, &target, "", 0, 414)
        .await
        .context("a long absolute target")?;
    bytes += refused(stage, "GET /", "a", MIB, 414)
        .await
        .context("a target without end")?;
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        4,
        format!("414 for each, and closed; {} KiB were sent", bytes / 1024),
    ))
}

async fn chunks(stage: &Stage) -> Result<Did> {
    let head = "POST /bomb HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("an extension without end", format!("{head}5;"), "a"),
        ("extensions without end", format!("{head}5"), ";a=b"),
        ("a size of zeros without end", head.to_owned(), "0"),
        ("a quoted extension without end", format!("{head}5;a=\""), "\\\""),
        ("a trailer without end", format!("{head}0\r\nA: "), "b"),
        ("trailers without end", format!("{head}0\r\n"), "a: b\r\n"),
    ];
    let (count, mut bytes) = (cases.len() as u64, 0);
    for (what, first, again) in cases {
        bytes += refused(stage, &first, again, MIB, 400).await.context(what)?;
    }
    stage.origin.was_left_alone()?;
    Ok(Did::new(
        count,
        format!(
            "400 for each, and closed; the backend's request aborted; {} KiB were sent",
            bytes / 1024
        ),
    ))
}

async fn http2(stage: &Stage) -> Result<Did> {
    let mut many = get("/bomb");
    for n in 0..400 {
        many.extend(literal(format!("x-{n}").as_bytes(), b"y"));
    }
    let long = [get("/bomb"), literal(b"x", &[b'y'; 15_000])].concat();
    let longer = [
        get("/bomb"),
        literal(b"x", &[b'y'; 5_000]),
        literal(b"y", &[b'z'; 9_000]),
    ]
    .concat();
    let path = format!("/{}", "a".repeat(9_000));
    let target = get(&path);
    let nobody = block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", &[b'a'; 9_000]),
    ]);
    let mut said = Vec::new();
    for (what, head, statuses) in [
        ("many fields", many, &[431][..]),
        ("a long value", long, &[200, 431]),
        ("two long values", longer, &[200, 431]),
        ("a long target", target, &[414]),
        ("a long authority", nobody, &[400, 414, 431]),
    ] {
        let mut raw = Raw::connect(stage.proxy()).await?;
        raw.request(1, &head).await?;
        let outcome = raw.outcome(1).await.context(what)?;
        said.push(match outcome {
            Outcome::Answered(status) if statuses.contains(&status) => status.to_string(),
            Outcome::Reset(code) | Outcome::Ended(code) if code != 0 => code_name(code),
            other => anyhow::bail!("{what}: {other:?}"),
        });
    }
    Ok(Did::new(5, said.join(", ")))
}

async fn deep(stage: &Stage) -> Result<Did> {
    let mut wire = stage.wire().await;
    let paths = [
        "/a".repeat(4_000),
        "/..".repeat(2_600),
        "/%2e%2e".repeat(1_100),
        "/.".repeat(4_000),
        "//".repeat(4_000),
        "/..;".repeat(2_000),
        "/%252e%252e".repeat(700),
        "/..%c0%af".repeat(800),
        r"/..\".to_owned(),
    ];
    let (mut passed, mut refused) = (0_u64, 0_u64);
    for path in &paths {
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes())
            .await;
        let reply = wire.reply().await?;
        match reply.status.as_u16() {
            // Without a route that goes by paths they are the backend's to judge, and come to it as they are.
            200 => {
                ensure!(reply.text() == path, "the path was changed");
                passed += 1;
            }
            400 => {
                refused += 1;
                wire = stage.wire().await;
            }
            status => anyhow::bail!("{status} for {path:.20}…"),
        }
    }
    Ok(Did::new(
        paths.len() as u64,
        format!("{passed} passed on byte by byte, {refused} refused (400)"),
    ))
}
