//! Fields that say who the client is, from clients who would be somebody else.

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{Wire, within};
use std::net::SocketAddr;

use crate::frames::{Outcome, Raw, get, literal};
use crate::origin::Asked;
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new("forged-forwarding-fields", "`X-Forwarded-*`, `Forwarded` and their kin, in every spelling", |stage| Box::pin(fields(stage)))
        .quick(),
    Row::new("forged-ids", "`X-Request-Id` and `traceparent` of rubbish, and of megabytes", |stage| Box::pin(ids(stage))),
    Row::new("forged-proxy-protocol", "PROXY protocol headers, from whoever isn't trusted, and broken ones from who is", |stage| Box::pin(proxy_protocol(stage)))
        .with(|setup| {
            setup.toml(
                "[[listeners]]\nname = \"introduced\"\naddr = \"127.0.0.1:0\"\nprotocol = \"http\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\n\n\
                 [[listeners]]\nname = \"stranger\"\naddr = \"127.0.0.1:0\"\nprotocol = \"http\"\nproxy_protocol_from = [\"10.0.0.0/8\"]\n",
            )
        }),
];

const LYING: &[&str] = &[
    "X-Forwarded-For: 10.9.9.9",
    "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-For: 10.9.9.8",
    "x-forwarded-for: 127.0.0.1, 10.9.9.9",
    "X-FORWARDED-FOR: <script>, 10.9.9.9",
    "X_Forwarded_For: 10.9.9.9",
    "X-Forwarded_For: 10.9.9.9",
    "X-Forwarded-Proto: https 10.9.9.9",
    "X_Forwarded_Proto: https 10.9.9.9",
    "X-Forwarded-Host: 10.9.9.9",
    "X-Forwarded-Port: 10.9.9.9",
    "X-Forwarded-Server: 10.9.9.9",
    "X-Real-IP: 10.9.9.9",
    "X_Real_IP: 10.9.9.9",
    "Forwarded: for=10.9.9.9;proto=https;host=evil",
    "Forwarded: for=\"[::1]:1\", for=10.9.9.9",
    "forwarded: for=10.9.9.9\r\nForwarded: for=10.9.9.9",
];

/// Other names that some backend believes; they mean nothing to the proxy.
const OTHERS: &[&str] = &[
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
];

fn is_clean(asked: &Asked) -> Result<()> {
    let text = asked.head.text();
    ensure!(!text.contains("10.9.9"), "the backend was told {text:?}");
    ensure!(
        asked.head.one("x-forwarded-for").as_deref() == Some("127.0.0.1"),
        "{text:?}"
    );
    ensure!(
        asked.head.one("x-forwarded-proto").as_deref() == Some("http"),
        "{text:?}"
    );
    ensure!(
        asked
            .head
            .one("x-forwarded-host")
            .is_none_or(|host| host == "shop"),
        "{text:?}"
    );
    Ok(())
}

async fn fields(stage: &Stage) -> Result<Did> {
    let mut sent = 0;
    for line in LYING {
        for connection in [
            "",
            "Connection: x-forwarded-for, x-forwarded-proto, forwarded, via\r\n",
        ] {
            let mut wire = stage.wire().await;
            wire.send(format!("GET /lie HTTP/1.1\r\nHost: shop\r\n{connection}{line}\r\n\r\n").as_bytes())
                .await;
            let reply = wire.reply().await?;
            ensure!(reply.status == 200, "{line}: {reply:?}");
            sent += 1;
        }
        let mut raw = Raw::connect(stage.proxy()).await?;
        let mut head = get("/lie");
        for line in line.split("\r\n") {
            let (name, value) = line.split_once(": ").context("a field")?;
            head.extend(literal(name.to_ascii_lowercase().as_bytes(), value.as_bytes()));
        }
        raw.request(1, &head).await?;
        let outcome = raw.outcome(1).await?;
        ensure!(
            outcome == Outcome::Answered(200),
            "{line} over HTTP/2: {outcome:?}"
        );
        sent += 1;
    }
    let asked = stage.origin.asked();
    ensure!(
        asked.len() as u64 == sent,
        "{} of {sent} came through",
        asked.len()
    );
    for asked in &asked {
        is_clean(asked)?;
    }
    sent += others(stage).await?;
    Ok(Did::new(
        sent,
        format!(
            "taken away or replaced in all; others' inventions ({}) pass as they are",
            OTHERS.join(", ")
        ),
    ))
}

/// That those arrive as they were sent, over HTTP/1.1 and HTTP/2: a backend must not take them for the proxy's word.
async fn others(stage: &Stage) -> Result<u64> {
    const LIE: &str = "10.9.9.9";
    let mut sent = 0;
    for name in OTHERS {
        stage.origin.forget();
        let mut wire = stage.wire().await;
        wire.send(
            format!("GET /lie HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{name}: {LIE}\r\n\r\n")
                .as_bytes(),
        )
        .await;
        let reply = wire.reply().await?;
        ensure!(reply.status == 200, "{name}: {reply:?}");
        let mut raw = Raw::connect(stage.proxy()).await?;
        let field = literal(name.to_ascii_lowercase().as_bytes(), LIE.as_bytes());
        raw.request(1, &[get("/lie"), field].concat()).await?;
        let outcome = raw.outcome(1).await?;
        ensure!(
            outcome == Outcome::Answered(200),
            "{name} over HTTP/2: {outcome:?}"
        );
        let asked = stage.origin.asked();
        ensure!(asked.len() == 2, "{name}: {} of 2 came through", asked.len());
        for asked in asked {
            let text = asked.head.text();
            ensure!(asked.head.one(name).as_deref() == Some(LIE), "{name}: {text:?}");
            ensure!(
                asked.head.one("x-forwarded-for").as_deref() == Some("127.0.0.1"),
                "{name} is believed: {text:?}"
            );
            sent += 1;
        }
    }
    Ok(sent)
}

async fn ids(stage: &Stage) -> Result<Did> {
    let long = "a".repeat(5_000);
    let cases = [
        ("x-request-id", "<script>alert(1)</script>"),
        ("x-request-id", "a b"),
        ("x-request-id", "a\"b,c;d"),
        ("x-request-id", "%0d%0aSet-Cookie: a=b"),
        ("x-request-id", "\u{e9}\u{202e}"),
        ("x-request-id", ""),
        ("x-request-id", &long),
        (
            "traceparent",
            "00-00000000000000000000000000000000-0000000000000000-01",
        ),
        ("traceparent", "00-xyz-xyz-01"),
        (
            "traceparent",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        (
            "traceparent",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        ),
        ("traceparent", &long),
    ];
    let mut sent = 0;
    for (name, value) in cases {
        stage.origin.forget();
        let mut wire = stage.wire().await;
        wire.send(
            format!("GET /id HTTP/1.1\r\nHost: shop\r\n{name}: {value}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await;
        let reply = wire.reply().await?;
        sent += 1;
        if reply.status == 400 {
            continue;
        }
        ensure!(reply.status == 200, "{name}: {value}: {reply:?}");
        let asked = stage.origin.asked();
        let found = asked[0]
            .head
            .one(name)
            .with_context(|| format!("there is other than one {name}"))?;
        ensure!(
            value.is_empty() || found != value,
            "{name} came through: {found:?}"
        );
        let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/+=~@".contains(&byte);
        ensure!(
            found.len() <= 128 && found.bytes().all(permitted),
            "{name} came through as {found:?}"
        );
    }
    // Twice is as good as never.
    stage.origin.forget();
    let mut wire = stage.wire().await;
    wire.send(b"GET /id HTTP/1.1\r\nHost: shop\r\nX-Request-Id: one\r\nX-Request-Id: two\r\n\r\n")
        .await;
    let _ = wire.reply().await?;
    let found = stage.origin.asked()[0].head.all("x-request-id");
    ensure!(
        found.len() == 1 && found[0] != "one" && found[0] != "two",
        "{found:?}"
    );
    Ok(Did::new(sent + 1, "replaced by one of its own in all"))
}

/// Where a listener of the file is.
async fn listener(stage: &Stage, name: &str) -> Result<SocketAddr> {
    let wanted = format!("\"listener\":\"{name}\"");
    let said = stage.edgeproxy.logs().find(|line| {
        let (_, rest) = line.contains(&wanted).then(|| line.split_once(" on "))??;
        let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))?;
        rest[..end].parse().ok()
    });
    within(edgeproxy_tests::PATIENCE, "it says where it listens", said)
        .await
        .context("edgeproxy is running")
}

async fn proxy_protocol(stage: &Stage) -> Result<Did> {
    let request = b"GET /introduced HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
    let forged = b"PROXY TCP4 10.9.9.9 127.0.0.1 1000 80\r\n";
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[10, 9, 9, 9, 127, 0, 0, 1, 3, 232, 0, 80],
    ]
    .concat();
    let mut sent = 0;
    // Where nobody, or somebody else, is trusted with it, it is no request.
    for addr in [stage.proxy(), listener(stage, "stranger").await?] {
        for header in [&forged[..], &v2] {
            let mut wire = Wire::connect(addr).await;
            wire.send(&[header, request].concat()).await;
            let reply = wire.reply().await;
            ensure!(
                reply.as_ref().map_or(true, |reply| reply.status == 400),
                "{reply:?}"
            );
            sent += 1;
        }
    }
    stage.origin.was_left_alone()?;
    // Where it has to come, it has to be right.
    let trusted = listener(stage, "introduced").await?;
    let broken: [&[u8]; 12] = [
        b"",
        b"PROXY TCP4 10.9.9.9 127.0.0.1 1000\r\n",
        b"PROXY TCP4 10.9.9.9 127.0.0.1 1000 80 90\r\n",
        b"PROXY TCP4 010.9.9.9 127.0.0.1 1000 80\r\n",
        b"PROXY TCP6 10.9.9.9 127.0.0.1 1000 80\r\n",
        b"PROXY TCP4 10.9.9.9 127.0.0.1 1000 99999\r\n",
        b"PROXY TCP4 10.9.9.9 127.0.0.1 1000 80\n",
        b"PROXY  TCP4 10.9.9.9 127.0.0.1 1000 80\r\n",
        b"proxy TCP4 10.9.9.9 127.0.0.1 1000 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x0a\x09\x09\x09\x7f\0\0\x01\x03\xe8\0\x50",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x0a\x09\x09\x09",
    ];
    for header in broken {
        let mut wire = Wire::connect(trusted).await;
        wire.send(&[header, request].concat()).await;
        wire.finish().await;
        let reply = wire.reply().await;
        ensure!(
            reply.as_ref().map_or(true, |reply| reply.status == 400),
            "{:?}: {reply:?}",
            String::from_utf8_lossy(header)
        );
        sent += 1;
    }
    stage.origin.was_left_alone()?;
    for header in [&forged[..], &v2] {
        let mut wire = Wire::connect(trusted).await;
        wire.send(&[header, request].concat()).await;
        let reply = wire.reply().await?;
        ensure!(reply.status == 200, "{reply:?}");
        sent += 1;
    }
    let told: Vec<_> = stage
        .origin
        .asked()
        .iter()
        .map(|asked| asked.head.one("x-forwarded-for"))
        .collect();
    ensure!(
        told.iter().all(|told| told.as_deref() == Some("10.9.9.9")),
        "{told:?}"
    );
    Ok(Did::new(
        sent,
        "400, or closed without a word; right ones are believed where they are configured alone",
    ))
}
