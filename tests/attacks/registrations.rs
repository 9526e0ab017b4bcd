//! Whoever may use the API, and would use it up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{Registration, Reply, spread, within};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::call::Caller;
use crate::row::{Did, Row};
use crate::stage::{SHOP, SHOP_ID, Stage};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "registrations-ids",
        "1,500 ids for one app, where there is room for 500",
        |stage| Box::pin(ids(stage)),
    )
    .with(|setup| setup.set("MAX_BACKENDS", "500"))
    // 499 of them are there in the end.
    .keeps(2)
    .quick(),
    Row::new("registrations-apps", "12,000 apps, each of a backend", |stage| {
        Box::pin(apps(stage))
    })
    .peak(128)
    .keeps(96),
    Row::new(
        "registrations-regions",
        "2,000 regions that nobody has configured",
        |stage| Box::pin(regions(stage)),
    ),
    Row::new(
        "registrations-churn",
        "one id at 3,000 addresses, each a new incarnation",
        |stage| Box::pin(churn(stage)),
    )
    .again(),
    Row::new(
        "registrations-metadata",
        "metadata, bodies and fields that are too many or too large",
        |stage| Box::pin(large(stage)),
    )
    .quick(),
    Row::new(
        "registrations-rate",
        "500 requests at once from one address, where 20 a second may be",
        |stage| Box::pin(rate(stage)),
    )
    .with(|setup| setup.set("API_RATE_PER_PEER", "20"))
    .quick(),
    Row::new(
        "heartbeats-of-nobody",
        "5,000 heartbeats of ids that aren't there",
        |stage| Box::pin(nobody(stage)),
    ),
    Row::new(
        "api-connections",
        "900 connections to the API that say nothing",
        |stage| Box::pin(connections(stage)),
    )
    .again(),
    Row::new(
        "api-slowloris",
        "400 requests to the API, a byte at a time",
        |stage| Box::pin(slowloris(stage)),
    )
    .again(),
    Row::new(
        "api-readers",
        "200 readers of events that read nothing",
        |stage| Box::pin(readers(stage)),
    )
    .again(),
    Row::new(
        "tokens-of-another-app",
        "what a token for one app may do to another",
        |stage| Box::pin(another(stage)),
    )
    .tokens()
    .quick(),
    Row::new(
        "weights-and-limits",
        "a backend that claims all there is",
        |stage| Box::pin(greedy(stage)),
    ),
];

fn nowhere(port: usize) -> SocketAddr {
    let port = u16::try_from(1 + port % 60_000).expect("it is below 60,001");
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// One that is still there when the last has come.
fn lasting(id: &str, app: &str, port: usize) -> Registration {
    Registration::new(id, app, nowhere(port)).with("ttl_secs", 3_600)
}

/// How many answers had which status.
#[derive(Default)]
struct Statuses(std::collections::BTreeMap<u16, u64>);

impl Statuses {
    fn of(&self, status: u16) -> u64 {
        self.0.get(&status).copied().unwrap_or_default()
    }

    fn words(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        words.join(", ")
    }
}

/// Many registrations, by eight clients at once.
async fn flood(
    stage: &Stage,
    count: usize,
    registration: impl Fn(usize) -> Registration + Clone + Send + 'static,
    check: fn(&Reply) -> bool,
) -> Result<Statuses> {
    let api = stage.edgeproxy.api_addr();
    let token = stage.tokens.as_ref().map(|tokens| tokens.operate.clone());
    let (sender, mut replies) = tokio::sync::mpsc::unbounded_channel();
    spread(
        8,
        count,
        move || (Caller::new(api, token.clone()), sender.clone()),
        move |(mut caller, sender), n| {
            let registration = registration(n);
            async move {
                let reply = caller.register(&registration).await;
                let told = reply.map(|reply| (reply.status.as_u16(), check(&reply), format!("{reply:?}")));
                let _ = sender.send(told);
                (caller, sender)
            }
        },
    )
    .await;
    let mut statuses = Statuses::default();
    while let Some(told) = replies.recv().await {
        let (status, is_right, text) = told?;
        ensure!(is_right, "{text}");
        *statuses.0.entry(status).or_default() += 1;
    }
    Ok(statuses)
}

/// 201, or 503 and when to come again.
fn is_taken_or_full(reply: &Reply) -> bool {
    match reply.status.as_u16() {
        201 => true,
        503 => reply.header("retry-after").is_some() && reply.json()["error"].is_string(),
        _ => false,
    }
}

async fn ids(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 1_500;
    let statuses = flood(
        stage,
        COUNT,
        |n| lasting(&format!("evil-{n}"), "evil", n),
        is_taken_or_full,
    )
    .await?;
    ensure!(statuses.of(201) == 499, "{}", statuses.words());
    // Whoever is there already can still renew.
    let again = Registration::new(SHOP_ID, SHOP, stage.origin.addr)
        .with("ttl_secs", 3_600)
        .with("soft_limit", 0)
        .with("hard_limit", 0);
    let _ = stage.operator().register(&again).await?.expect(200);
    Ok(Did::new(
        COUNT as u64,
        format!("{}; those that are there renew", statuses.words()),
    ))
}

async fn apps(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 12_000;
    let statuses = flood(
        stage,
        COUNT,
        |n| lasting(&format!("evil-{n}"), &format!("evil-{n}"), n),
        is_taken_or_full,
    )
    .await?;
    ensure!(statuses.of(201) == 9_999, "{}", statuses.words());
    Ok(Did::new(COUNT as u64, statuses.words()))
}

async fn regions(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 2_000;
    let statuses = flood(
        stage,
        COUNT,
        |n| Registration::new(&format!("evil-{n}"), "evil", nowhere(n)).with("region", format!("r{n}")),
        |reply| reply.status == 422 && reply.text().contains("known are"),
    )
    .await?;
    Ok(Did::new(
        COUNT as u64,
        format!("{}, each with the regions that there are", statuses.words()),
    ))
}

async fn churn(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 3_000;
    let mut operator = stage.operator();
    for n in 0..COUNT {
        let reply = operator
            .register(&Registration::new("evil", "evil", nowhere(n)))
            .await?;
        ensure!(matches!(reply.status.as_u16(), 200 | 201), "{reply:?}");
    }
    let reply = operator.get("/api/v1/backends?app=evil").await?.expect(200);
    let total = reply.json()["total"].as_u64().context("a number")?;
    ensure!(total <= 2, "{total} are listed");
    Ok(Did::new(
        COUNT as u64,
        format!("each took the place of the one before; {total} listed in the end"),
    ))
}

async fn large(stage: &Stage) -> Result<Did> {
    let base = || Registration::new("evil", "evil", nowhere(9));
    let pairs = |count: usize, length: usize| {
        let pairs = (0..count).map(|n| (format!("k{n}"), json!("v".repeat(length))));
        json!(pairs.collect::<serde_json::Map<_, _>>())
    };
    let mut many = base();
    for n in 0..1_000 {
        many = many.with(&format!("field{n}"), n);
    }
    let cases = [
        ("33 pairs", base().with("metadata", pairs(33, 1)), 422),
        ("4 KiB and more", base().with("metadata", pairs(2, 2_100)), 422),
        (
            "a name of 5 KiB",
            base().with("metadata", json!({"k".repeat(5_000): ""})),
            422,
        ),
        ("64 KiB and more", base().with("metadata", pairs(30, 3_000)), 413),
        ("an id of 129", base().with("id", "x".repeat(129)), 422),
        ("an id of 60,000", base().with("id", "x".repeat(60_000)), 422),
        ("an app of 254", base().with("app", "x".repeat(254)), 422),
        ("a weight of 1,001", base().with("weight", 1_001), 422),
        ("a lease of a year", base().with("ttl_secs", 31_536_000), 422),
        (
            "a limit of 2^32",
            base().with("hard_limit", 4_294_967_296_u64),
            422,
        ),
        ("a thousand unknown fields", many, 201),
    ];
    let mut operator = stage.operator();
    let count = cases.len() as u64;
    for (what, registration, status) in cases {
        let reply = operator.register(&registration).await?;
        ensure!(
            reply.status == status,
            "{what}: {} in place of {status}: {:.300}",
            reply.status,
            reply.text()
        );
        ensure!(
            reply.body.len() < 64 * 1024,
            "{what}: an answer of {} bytes",
            reply.body.len()
        );
        if reply.header("connection") == Some("close") {
            operator = stage.operator();
        }
    }
    Ok(Did::new(
        count,
        "413 and 422, with every bad field; unknown ones are named in an answer of bounded length",
    ))
}

async fn rate(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 500;
    let statuses = flood(
        stage,
        COUNT,
        |n| Registration::new(&format!("evil-{}", n % 50), "evil", nowhere(n % 50)),
        |reply| match reply.status.as_u16() {
            200 | 201 => true,
            429 => reply.header("retry-after").is_some(),
            _ => false,
        },
    )
    .await?;
    ensure!(
        statuses.of(429) > 0,
        "nobody was told to wait: {}",
        statuses.words()
    );
    Ok(Did::new(
        COUNT as u64,
        format!(
            "{}, with `Retry-After`; another address's heartbeats go on",
            statuses.words()
        ),
    ))
}

async fn nobody(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 5_000;
    let mut operator = stage.operator();
    for n in 0..COUNT {
        let reply = operator
            .call(Method::POST, &format!("/api/v1/heartbeat/nobody-{n}"), "")
            .await?;
        ensure!(reply.status == 404, "{reply:?}");
    }
    Ok(Did::new(COUNT, "404 for each; nothing is kept of them"))
}

async fn connections(stage: &Stage) -> Result<Did> {
    // From loopback, which has all of the 1,024 places, as private networks have. From elsewhere a quarter is the most.
    const COUNT: u64 = 900;
    let mut open = Vec::new();
    for _ in 0..COUNT {
        open.push(TcpStream::connect(stage.edgeproxy.api_addr()).await?);
    }
    let ended = trickled(open, b"").await?;
    Ok(Did::new(
        COUNT,
        format!(
            "all closed within {:.1} s, until when they hold places, of which there are 1,024; agents go on, those that connect anew as well",
            ended.as_secs_f64()
        ),
    ))
}

async fn slowloris(stage: &Stage) -> Result<Did> {
    const COUNT: u64 = 400;
    let mut open = Vec::new();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(stage.edgeproxy.api_addr()).await?;
        stream
            .write_all(b"POST /api/v1/register HTTP/1.1\r\nHost: 127.0.0.1\r\nX")
            .await?;
        open.push(stream);
    }
    let ended = trickled(open, b"x").await?;
    Ok(Did::new(
        COUNT,
        format!(
            "all closed within {:.1} s, until when they hold places; agents go on, those that connect anew as well",
            ended.as_secs_f64()
        ),
    ))
}

/// How long the API gives a head, from its first byte or from the connection's beginning.
const HEAD: Duration = Duration::from_secs(10);

/// What a busy machine adds to it.
const LATE: Duration = Duration::from_secs(8);

/// Goes on with each a piece at a time until the API closes it, by 408 or without a word, and says how long the last one
/// lasted. One that lasts longer than a head may is a failure, as is one that is closed before anything could be wrong.
async fn trickled(open: Vec<TcpStream>, piece: &'static [u8]) -> Result<Duration> {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for mut stream in open {
        clients.spawn(async move {
            let mut said = Vec::new();
            let (mut from, mut to) = stream.split();
            let going_on = async {
                while to.write_all(piece).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                // Nobody takes any more; that is said where it is read.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                // A reset says the same.
                _ = from.read_to_end(&mut said) => {}
                () = going_on => {}
            }
            (begun.elapsed(), String::from_utf8_lossy(&said).into_owned())
        });
    }
    let mut last = Duration::ZERO;
    let all = async {
        while let Some(ended) = clients.join_next().await {
            let (lasted, said) = ended?;
            ensure!(
                said.is_empty() || said.starts_with("HTTP/1.1 408 "),
                "the API said {said:?}"
            );
            ensure!(lasted > HEAD / 2, "closed after {lasted:?} already");
            last = last.max(lasted);
        }
        Ok(())
    };
    within(HEAD + LATE, "the API closes all of them", all).await?;
    Ok(last)
}

async fn readers(stage: &Stage) -> Result<Did> {
    const COUNT: usize = 200;
    let api = stage.edgeproxy.api_addr();
    let (mut following, mut refused) = (Vec::new(), 0);
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(api).await?;
        stream
            .write_all(format!("GET /api/v1/events HTTP/1.1\r\nHost: {api}\r\n\r\n").as_bytes())
            .await?;
        let mut head = [0; 12];
        within(Duration::from_secs(10), "an answer", stream.read_exact(&mut head)).await?;
        match &head[9..] {
            b"200" => following.push(stream),
            b"503" => refused += 1,
            other => anyhow::bail!("{:?}", String::from_utf8_lossy(other)),
        }
    }
    ensure!(
        refused > 0 && following.len() <= 128,
        "{} follow",
        following.len()
    );
    // Something for them to read.
    let mut operator = stage.operator();
    for n in 0..500 {
        let reply = operator
            .register(&Registration::new("evil", "evil", nowhere(n)))
            .await?;
        ensure!(reply.status.is_success(), "{reply:?}");
    }
    Ok(Did::new(
        COUNT as u64,
        format!(
            "{} follow, {refused} are refused (503); what they don't read is dropped",
            following.len()
        ),
    ))
}

async fn another(stage: &Stage) -> Result<Did> {
    let tokens = stage.tokens.as_ref().context("there are tokens")?;
    let api = stage.edgeproxy.api_addr();
    let _ = stage
        .operator()
        .register(&Registration::new("bank-1", "bank", nowhere(1)))
        .await?
        .expect(201);
    let mut of_shop = Caller::new(api, Some(tokens.register.clone()));
    let mut reader = Caller::new(api, Some(tokens.read.clone()));
    let evil = |id: &str, app: &str| Registration::new(id, app, nowhere(2)).to_json();
    let patch = r#"{"enabled":false}"#.to_owned();
    let cases: [(&str, Method, &str, String, &[u16]); 9] = [
        (
            "register for another app",
            Method::POST,
            "/api/v1/register",
            evil("evil-1", "bank"),
            &[403],
        ),
        (
            "by another case of letters",
            Method::POST,
            "/api/v1/register",
            evil("evil-1", "BANK"),
            &[403],
        ),
        (
            "for an app that begins alike",
            Method::POST,
            "/api/v1/register",
            evil("evil-1", "shop.evil"),
            &[403],
        ),
        (
            "take over its id",
            Method::POST,
            "/api/v1/register",
            evil("bank-1", "shop"),
            &[403, 409],
        ),
        (
            "its heartbeat",
            Method::POST,
            "/api/v1/heartbeat/bank-1",
            String::new(),
            &[403],
        ),
        (
            "drain it by a heartbeat",
            Method::POST,
            "/api/v1/heartbeat/bank-1",
            r#"{"draining":true}"#.to_owned(),
            &[403],
        ),
        (
            "take it out",
            Method::DELETE,
            "/api/v1/backends/bank-1",
            String::new(),
            &[403],
        ),
        (
            "change it",
            Method::PATCH,
            "/api/v1/backends/bank-1",
            patch.clone(),
            &[403],
        ),
        (
            "change its own as an operator",
            Method::PATCH,
            "/api/v1/backends/shop-1",
            patch.clone(),
            &[403],
        ),
    ];
    let mut sent = 0;
    for (what, method, path, body, statuses) in cases {
        let reply = of_shop.call(method, path, body).await?;
        ensure!(statuses.contains(&reply.status.as_u16()), "{what}: {reply:?}");
        sent += 1;
    }
    for (method, path, body) in [
        (Method::POST, "/api/v1/register", evil("evil-1", "shop")),
        (Method::DELETE, "/api/v1/backends/shop-1", String::new()),
        (Method::POST, "/api/v1/heartbeat/shop-1", String::new()),
        (Method::PATCH, "/api/v1/backends/shop-1", patch),
    ] {
        let reply = reader.call(method, path, body).await?;
        ensure!(reply.status == 403, "to read is not to change: {reply:?}");
        sent += 1;
    }
    let bank = stage
        .operator()
        .get("/api/v1/backends/bank-1")
        .await?
        .expect(200)
        .json();
    ensure!(bank["state"] == "routable" && bank["app"] == "bank", "{bank}");
    Ok(Did::new(
        sent,
        "403, or 409 for an id that another app has; nothing was changed",
    ))
}

async fn greedy(stage: &Stage) -> Result<Did> {
    // In the bystanders' app that would be its right. In another one it changes nothing for them.
    let mut operator = stage.operator();
    let greedy = Registration::new("evil", "evil", nowhere(9))
        .with("weight", 1_000)
        .with("soft_limit", 0)
        .with("hard_limit", 0);
    let _ = operator.register(&greedy).await?.expect(201);
    let mut sent = 1;
    for report in [
        r#"{"in_flight":4294967295,"utilization":1.0,"weight":1000}"#,
        r#"{"in_flight":0,"utilization":0.0}"#,
        r#"{"utilization":1e308}"#,
        r#"{"utilization":-1}"#,
        r#"{"in_flight":-1}"#,
        r#"{"in_flight":18446744073709551616}"#,
        r#"{"weight":100000}"#,
    ] {
        let reply = operator
            .call(Method::POST, "/api/v1/heartbeat/evil", report)
            .await?;
        ensure!(
            matches!(reply.status.as_u16(), 200 | 400 | 422),
            "{report}: {reply:?}"
        );
        sent += 1;
    }
    Ok(Did::new(
        sent,
        "taken where it is in range, else 422; other apps' traffic is as before",
    ))
}
