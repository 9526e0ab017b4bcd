//! Text of strangers, on its way to where somebody, or something, would obey it. Its way into logs and onto terminals has
//! files of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::Registration;
use serde_json::{Value, json};

use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "injection-names",
        "markup, paths, escapes and control bytes in ids, apps, regions and queries",
        |stage| Box::pin(names(stage)),
    )
    .quick(),
    Row::new(
        "injection-metrics",
        "labels that would be further lines of metrics",
        |stage| Box::pin(metrics(stage)),
    ),
    Row::new(
        "injection-dashboard",
        "the same on the dashboard, in a real browser",
        |stage| Box::pin(page(stage)),
    ),
];

/// What would run, lead out of a folder, end a line, or be obeyed by a terminal or a shell.
pub(crate) const PAYLOADS: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "</title><svg onload=alert(1)>",
    "{{constructor.constructor('alert(1)')()}}",
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "a/../b",
    "a\nb",
    "a\r\nSet-Cookie: b=c",
    "a\0b",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "\u{202e}gnp.exe",
    "\u{200b}",
    "a\"} 1\nevil_metric 1\n#",
    "$(id)",
    "`id`",
    "; rm -rf /",
    "%s%s%s%n",
    "' OR '1'='1",
    "\u{ff0e}\u{ff0e}/",
    "caf\u{e9}",
    " a",
    "a ",
    "",
];

pub(crate) fn evil() -> Registration {
    Registration::new("evil", "evil", SocketAddr::from(([10, 0, 0, 1], 9)))
}

async fn names(stage: &Stage) -> Result<Did> {
    let mut operator = stage.operator();
    let mut sent = 0;
    for payload in PAYLOADS {
        for field in ["id", "app", "region", "country", "ip", "protocol"] {
            let reply = operator.register(&evil().with(field, *payload)).await?;
            ensure!(reply.status == 422, "{field} {payload:?}: {reply:?}");
            ensure!(
                reply.header("content-type") == Some("application/problem+json"),
                "{reply:?}"
            );
            ensure!(
                reply.header("x-content-type-options") == Some("nosniff"),
                "{reply:?}"
            );
            sent += 1;
        }
        let encoded: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/api/v1/backends/{encoded}"),
            format!("/api/v1/apps/{encoded}"),
            format!("/api/v1/backends?app={encoded}"),
            format!("/api/v1/explain?app={encoded}&client_ip={encoded}"),
        ] {
            let reply = operator.get(&path).await?;
            ensure!(
                matches!(reply.status.as_u16(), 200 | 400 | 404 | 422),
                "{path}: {reply:?}"
            );
            let kind = reply.header("content-type").unwrap_or_default();
            ensure!(
                kind == "application/problem+json"
                    || kind == "application/json"
                    || kind.starts_with("text/html") && payload.is_empty(),
                "{path}: {kind}"
            );
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            ensure!(
                !text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\n'),
                "{path}: control bytes in {text:?}"
            );
            sent += 1;
        }
    }
    let reply = operator.get("/api/v1/apps/evil").await?;
    ensure!(reply.status == 404, "something was registered: {reply:?}");
    Ok(Did::new(
        sent,
        "422, 400 or 404; answers are JSON and say so, with nothing in them that is obeyed",
    ))
}

/// A backend whose metadata holds all of them that the API takes.
pub(crate) async fn registered(stage: &Stage) -> Result<u64> {
    let pairs = PAYLOADS
        .iter()
        .enumerate()
        .map(|(n, payload)| (format!("k{n} {payload}"), json!(payload)));
    let metadata: Value = json!(pairs.collect::<serde_json::Map<_, _>>());
    let reply = stage
        .operator()
        .register(&evil().with("metadata", metadata.clone()))
        .await?;
    if reply.status == 201 {
        return Ok(PAYLOADS.len() as u64);
    }
    // Those that are no metadata are left out, one by one.
    let mut taken = serde_json::Map::new();
    for (n, payload) in PAYLOADS.iter().enumerate() {
        let mut more = taken.clone();
        more.insert(format!("k{n}"), json!(payload));
        let reply = stage
            .operator()
            .register(&evil().with("metadata", json!(more)))
            .await?;
        ensure!(
            matches!(reply.status.as_u16(), 200 | 201 | 422),
            "{payload:?}: {reply:?}"
        );
        if reply.status != 422 {
            taken = more;
        }
    }
    ensure!(taken.len() > 5, "nearly no text may be metadata: {taken:?}");
    Ok(PAYLOADS.len() as u64)
}

async fn metrics(stage: &Stage) -> Result<Did> {
    let mut sent = registered(stage).await?;
    for payload in PAYLOADS {
        let host: String = payload.chars().filter(|c| !c.is_control()).collect();
        let mut wire = stage.wire().await;
        wire.send(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {host}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await;
        let _ = wire.reply().await?;
        sent += 1;
    }
    let text = stage.operator().get("/metrics").await?.expect(200);
    let text = text.text().to_owned();
    let mut lines = 0;
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        ensure!(
            line.starts_with("edgeproxy_") || line.starts_with("process_"),
            "{line}"
        );
        let (name, rest) = line.rsplit_once(' ').context("a value")?;
        ensure!(rest.parse::<f64>().is_ok(), "{line}");
        if let Some((_, labels)) = name.split_once('{') {
            let labels = labels.strip_suffix('}').with_context(|| line.to_owned())?;
            ensure!(!labels.contains('<') && !labels.contains('\u{1b}'), "{line}");
        }
        lines += 1;
    }
    Ok(Did::new(
        sent,
        format!("{lines} lines, each of a family of edgeproxy's own; hosts and metadata are in none"),
    ))
}

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page");

async fn page(stage: &Stage) -> Result<Did> {
    let there = |package: &str| Path::new(SCRIPTS).join("node_modules").join(package).is_dir();
    if !edgeproxy_tests::is_installed("node")
        || !edgeproxy_tests::is_installed("chromium")
        || !there("playwright-core")
    {
        return Ok(Did::skipped(
            "there is no node, chromium or playwright-core: npm ci --prefix tests/page",
        ));
    }
    let sent = registered(stage).await?;
    let about = json!({
        "api": format!("http://{}", stage.edgeproxy.api_addr()),
        "proxy": format!("http://{}", stage.proxy()),
        "payloads": PAYLOADS,
    });
    let played = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("run.mjs")
            .arg("text_of_attackers_is_never_run")
            .current_dir(SCRIPTS)
            .env("EDGEPROXY_TEST_PAGE", about.to_string())
            .stdin(Stdio::null())
            .output()
    })
    .await??;
    let said = [played.stdout, played.stderr].concat();
    ensure!(played.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(Did::new(
        sent,
        "all of it is text: nothing ran, no request went elsewhere",
    ))
}
