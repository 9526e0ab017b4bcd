//! Documents that are made to break whoever reads them: JSON for the API, XML and archives for the importer, TOML for the
//! configuration.

mod archives;
mod documents;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeproxy_tests::{Edgeproxy, PATIENCE, eventually, within};
use http::Method;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::row::{Did, Row};
use crate::stage::Stage;
use crate::vitals::{self, Vitals};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "hostile-json",
        "depth, numbers, duplicates, surrogates, NaN, NUL, and whatever is nearly JSON",
        |stage| Box::pin(json(stage)),
    )
    .quick(),
    Row::new(
        "hostile-json-bodies",
        "megabytes, chunks without end, compressed bodies, and other types",
        |stage| Box::pin(bodies(stage)),
    ),
    Row::new(
        "hostile-xml",
        "entities that multiply or name files, depth, huge attributes, other encodings",
        |stage| Box::pin(xml(stage)),
    ),
    Row::new(
        "hostile-archives",
        "zip bombs, paths that lead out, links, and zips that lie about themselves",
        |stage| Box::pin(archives(stage)),
    ),
    Row::new(
        "hostile-toml",
        "depth, size, duplicates and bytes that are no text, as files to start with",
        |stage| Box::pin(toml(stage)),
    ),
    Row::new(
        "hostile-reload",
        "the same put in the place of a running proxy's file",
        |stage| Box::pin(reload(stage)),
    )
    .with(|setup| setup.toml("[apps.shop]\nmax_failures = 0\n"))
    .again(),
];

async fn json(stage: &Stage) -> Result<Did> {
    let mut operator = stage.operator();
    let mut sent = 0;
    for (what, body, statuses) in documents::json() {
        for path in ["/api/v1/register", "/api/v1/heartbeat/shop-1"] {
            let statuses = if path.ends_with("register") {
                statuses
            } else {
                &[200, 400, 413, 422]
            };
            let begun = Instant::now();
            let reply = operator
                .call(Method::POST, path, body.clone())
                .await
                .context(what)?;
            ensure!(
                statuses.contains(&reply.status.as_u16()),
                "{what} to {path}: {reply:?}"
            );
            ensure!(
                begun.elapsed() < Duration::from_secs(2),
                "{what} took {:?}",
                begun.elapsed()
            );
            ensure!(
                reply.body.len() < 16 * 1024,
                "{what}: an answer of {} bytes",
                reply.body.len()
            );
            sent += 1;
            if reply.header("connection") == Some("close") {
                operator = stage.operator();
            }
        }
    }
    let shop = stage
        .operator()
        .get("/api/v1/backends/shop-1")
        .await?
        .expect(200)
        .json();
    ensure!(
        shop["state"] == "routable" || shop["state"] == "draining",
        "{shop}"
    );
    let evil = stage.operator().get("/api/v1/apps/evil").await?;
    ensure!(evil.status == 404, "something was registered: {evil:?}");
    Ok(Did::new(
        sent,
        "400 with line and column, or 422 with the field; nothing was registered",
    ))
}

async fn bodies(stage: &Stage) -> Result<Did> {
    let api = stage.edgeproxy.api_addr();
    let head = format!("POST /api/v1/register HTTP/1.1\r\nHost: {api}\r\n");
    let kind = "Content-Type: application/json\r\n";
    let block = "x".repeat(64 * 1024);
    let cases: Vec<(&str, String, String, usize, &[u16])> = vec![
        (
            "ten megabytes",
            format!("{head}{kind}Content-Length: 10485760\r\n\r\n"),
            block.clone(),
            160,
            &[413],
        ),
        (
            "a length of terabytes",
            format!("{head}{kind}Content-Length: 1099511627776\r\n\r\n"),
            block.clone(),
            16,
            &[413],
        ),
        (
            "chunks without end",
            format!("{head}{kind}Transfer-Encoding: chunked\r\n\r\n"),
            format!("10000\r\n{block}\r\n"),
            160,
            &[413],
        ),
        (
            "a compressed body",
            format!("{head}{kind}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"),
            "\u{1f}\u{1}\u{8}".to_owned(),
            1,
            &[400, 415],
        ),
        (
            "a form",
            format!("{head}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 4\r\n\r\n"),
            "id=a".to_owned(),
            1,
            &[415],
        ),
        (
            "no type",
            format!("{head}Content-Length: 2\r\n\r\n"),
            "{}".to_owned(),
            1,
            &[415],
        ),
        (
            "XML",
            format!("{head}Content-Type: application/xml\r\nContent-Length: 4\r\n\r\n"),
            "<a/>".to_owned(),
            1,
            &[415],
        ),
        (
            "another charset",
            format!("{head}Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n"),
            "{}".to_owned(),
            1,
            &[400, 415, 422],
        ),
    ];
    let (mut sent, mut bytes, mut slowest, mut most) = (0, 0, Duration::ZERO, 0);
    for (what, head, again, times, statuses) in cases {
        let before = Vitals::of(&stage.edgeproxy).resident;
        vitals::forget_peak(&stage.edgeproxy);
        let begun = Instant::now();
        let (mut from, mut to) = TcpStream::connect(api).await?.into_split();
        let sending = async {
            let mut more = to.write_all(head.as_bytes()).await;
            for _ in 0..times {
                // Refused in the middle, it may be closed in the middle.
                if more.is_err() {
                    break;
                }
                more = to.write_all(again.as_bytes()).await;
                bytes += again.len();
            }
        };
        let mut said = [0; 12];
        let both = async { tokio::join!(sending, from.read_exact(&mut said)).1 };
        let read = within(BODY_TIME, what, both).await;
        let _ = read.with_context(|| format!("{what}: closed without a word"))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let status = said.rsplit(' ').next().and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{what}: {said:?}"))?;
        ensure!(statuses.contains(&status), "{what}: {status}");
        let took = begun.elapsed();
        let more = Vitals::of(&stage.edgeproxy).peak.saturating_sub(before);
        ensure!(
            more <= BODY_MEMORY,
            "{what}: {} KiB of memory, at most {} are expected",
            more / 1024,
            BODY_MEMORY / 1024
        );
        (slowest, most) = (slowest.max(took), most.max(more));
        sent += 1;
    }
    Ok(Did::new(
        sent,
        format!(
            "413 or 415 for each, within {:.1} s and {} KiB of memory; {} MiB were sent",
            slowest.as_secs_f64(),
            most / 1024,
            bytes >> 20
        ),
    ))
}

/// The longest that a body may take from its first byte to the answer, and the most memory meanwhile, others' included.
const BODY_TIME: Duration = Duration::from_secs(5);
const BODY_MEMORY: u64 = 4 << 20;

/// What edgeproxy says of a file, within a gibibyte of address space and thirty seconds.
async fn said_of(args: &[&str], path: &Path) -> Result<(i32, String)> {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("ulimit -v 1048576; exec \"$0\" \"$@\"")
        .arg(Edgeproxy::binary())
        .args(args)
        .arg(path)
        .current_dir(path.parent().context("it lies in a folder")?)
        .env_clear()
        .kill_on_drop(true);
    let output = within(
        Duration::from_secs(30),
        "edgeproxy is done with it",
        command.output(),
    )
    .await?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some(code) = output.status.code() else {
        bail!("it was ended by a signal: {:?}: {text:.500}", output.status);
    };
    ensure!(matches!(code, 0..=2), "it ended with {code}: {text:.500}");
    ensure!(!text.contains("panicked"), "{text:.500}");
    ensure!(!text.contains("root:x:"), "it read a file of the system's");
    ensure!(text.len() < 16 << 20, "it says {} bytes", text.len());
    Ok((code, text))
}

async fn xml(_stage: &Stage) -> Result<Did> {
    let folder = TempDir::new()?;
    let (mut sent, mut refused) = (0, 0);
    for (what, text) in documents::xml() {
        let path = folder.path().join("evil.xml");
        std::fs::write(&path, text)?;
        let (code, said) = said_of(&["import", "apigee"], &path)
            .await
            .with_context(|| what.to_owned())?;
        sent += 1;
        refused += u64::from(code == 2);
        ensure!(
            !said.contains("expanded expanded"),
            "{what}: entities were expanded: {said:.300}"
        );
    }
    ensure!(refused > 5, "only {refused} of {sent} were refused");
    Ok(Did::new(
        sent,
        format!(
            "{refused} refused with file and line, the others read as what they are; within 1 GiB and 30 s, no file opened that was not named"
        ),
    ))
}

async fn archives(_stage: &Stage) -> Result<Did> {
    let folder = TempDir::new()?;
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner)?;
    let mut sent = 0;
    for (what, bytes) in tokio::task::spawn_blocking(archives::all).await?? {
        let path = inner.join("evil.zip");
        std::fs::write(&path, bytes)?;
        said_of(&["import", "apigee"], &path)
            .await
            .with_context(|| what.to_owned())?;
        sent += 1;
        // Nothing is ever unpacked, neither here nor anywhere above.
        let here: Vec<_> = std::fs::read_dir(&inner)?
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        ensure!(here == ["evil.zip"], "{what}: {here:?}");
        let above = std::fs::read_dir(folder.path())?.count();
        ensure!(
            above == 1 && !Path::new("/tmp/edgeproxy-evil").exists(),
            "{what}: it wrote outside of its folder"
        );
    }
    Ok(Did::new(
        sent,
        "read in memory within limits, or refused; nothing is unpacked to a disk",
    ))
}

async fn toml(_stage: &Stage) -> Result<Did> {
    let folder = TempDir::new()?;
    let (mut sent, mut refused) = (0, 0);
    for (what, text) in documents::toml() {
        let path = folder.path().join("evil.toml");
        std::fs::write(&path, text)?;
        let (code, said) = said_of(&["check", "--config"], &path)
            .await
            .with_context(|| what.to_owned())?;
        ensure!(code == 2, "{what}: {code}: {said:.300}");
        sent += 1;
        refused += 1;
    }
    Ok(Did::new(
        sent,
        format!("{refused} refused, within 1 GiB and 30 s"),
    ))
}

async fn reload(stage: &Stage) -> Result<Did> {
    let mut sent = 0;
    for (what, text) in documents::toml() {
        let told = async || -> Result<(u64, bool), String> {
            let reply = stage.operator().get("/api/v1/config").await;
            let told = reply.map_err(|error| error.to_string())?.json();
            let count = told["reloads"].as_u64().unwrap_or_default();
            Ok((count, told["last_reload"]["applied"] == true))
        };
        let (before, _) = told().await.map_err(anyhow::Error::msg)?;
        let beside = stage.edgeproxy.config().with_extension("next");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, stage.edgeproxy.config())?;
        stage.edgeproxy.signal(rustix::process::Signal::HUP);
        sent += 1;
        let (applied, _) = eventually(PATIENCE, what, async || match told().await? {
            (count, applied) if count > before => Ok(applied),
            (count, _) => Err(format!("{count} reloads")),
        })
        .await;
        ensure!(!applied, "{what}: it is in force");
    }
    Ok(Did::new(
        sent,
        "refused whole; the configuration before it stays in force, and requests go on",
    ))
}
