//! Text of strangers on its way into logs. Each text has a mark before it, so that it is seen to have arrived, and not only to
//! have done no harm.

use anyhow::{Context, Result, ensure};
use edgeproxy_tests::{PATIENCE, Setup, Wire, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::injection::{PAYLOADS, evil};
use crate::row::{Did, Row};
use crate::stage::Stage;
use crate::terminal::is_obeyed;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "injection-logs",
        "hosts, paths, agents, ids and metadata that would be further lines of a log, or obeyed by a terminal",
        |stage| Box::pin(logs(stage, Form::Text)),
    )
    .with(|setup| setup_of(setup, "text"))
    .quick(),
    Row::new(
        "injection-logs-json",
        "the same where the proxy's own log is JSON",
        |stage| Box::pin(logs(stage, Form::Json)),
    )
    .with(|setup| setup_of(setup, "json")),
];

/// How the proxy's own log is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

fn setup_of(setup: Setup, form: &str) -> Setup {
    setup
        .set("ACCESS_LOG", "access.jsonl")
        .set("AUDIT_LOG", "audit.jsonl")
        .set("LOG_FORMAT", form)
        // With the path of each request to the API.
        .set(
            "LOG",
            "warn,edgeproxy=info,edgeproxy_server=info,edgeproxy_api=debug",
        )
}

/// A line of its own, if it were obeyed.
const FORGED: &str = "\"}\n{\"forged\":true}\n";

fn payloads() -> impl Iterator<Item = (usize, &'static str)> {
    PAYLOADS.iter().chain([&FORGED]).copied().enumerate()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Without what ends a line of a request.
fn on_one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\r' | '\n' | '\0'))
        .collect()
}

/// Whether the API takes it in a path as the bytes that it is: what is beyond ASCII, and nothing of what is out of place.
fn is_taken(payload: &str) -> bool {
    !payload.is_ascii() && !payload.bytes().any(|byte| byte.is_ascii_control())
}

/// On its way to the proxy.
async fn ask(stage: &Stage, mark: &str, payload: &str) -> u64 {
    let (text, escaped) = (on_one_line(payload), escaped(payload));
    let requests = [
        format!("GET /{mark}path{escaped} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"),
        format!(
            "GET /{mark}agent HTTP/1.1\r\nHost: shop\r\nUser-Agent: {text}\r\nReferer: {text}\r\nX-Request-Id: {text}\r\nConnection: close\r\n\r\n"
        ),
        format!("GET /{mark}raw{text} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {mark}{text}\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: shop\r\nX: {payload}\r\n\r\n"),
        format!("{mark}{text} / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"),
    ];
    let count = requests.len() as u64;
    for request in requests {
        let mut wire = stage.wire().await;
        wire.send(request.as_bytes()).await;
        wire.finish().await;
        let _ = wire.reply().await;
    }
    count
}

/// And to the API.
async fn change(stage: &Stage, mark: &str, payload: &str) -> Result<u64> {
    let mut operator = stage.operator();
    let id = format!("{mark}id{payload}");
    let refused = operator.register(&evil().with("id", &*id)).await?;
    let is_valid = payload.is_empty() || payload == "a/../b" && refused.status == 201;
    ensure!(is_valid || refused.status == 422, "{id:?}: {refused:?}");
    let path = format!("/api/v1/backends/{mark}gone{}", escaped(payload));
    let _ = operator.call(Method::DELETE, &path, "").await?;
    let metadata = json!({ "k": format!("{mark}secret{payload}") });
    let _ = operator.register(&evil().with("metadata", metadata)).await?;
    // As bytes that no client would send.
    let api = stage.edgeproxy.api_addr();
    let mut wire = Wire::connect(api).await;
    let path = format!(
        "/api/v1/backends/{mark}raw{}",
        on_one_line(payload).replace(' ', "")
    );
    wire.send(format!("DELETE {path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").as_bytes())
        .await;
    let _ = wire.reply().await;
    Ok(4)
}

/// Nothing in it is obeyed, and nothing is a line of its own.
fn is_harmless(name: &str, text: &str) -> Result<()> {
    for line in text.lines() {
        ensure!(
            !line.starts_with("{\"forged\""),
            "{name}: a line is forged: {line}"
        );
        // A tabulator is no harm, and nobody writes one.
        let wrong = line.chars().find(|c| is_obeyed(*c) || *c == '\t');
        ensure!(wrong.is_none(), "{name} holds {wrong:?}: {line:?}");
    }
    Ok(())
}

/// A file of lines of JSON, once each of these is in it.
async fn objects(stage: &Stage, name: &str, wanted: &[String]) -> Result<(String, Vec<Value>)> {
    let path = stage.edgeproxy.folder().join(name);
    // Lines are gathered before they are written.
    let (text, _) = eventually(PATIENCE, name, async || {
        let text = std::fs::read(&path).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).map_err(|error| error.to_string())?;
        match wanted.iter().find(|mark| !text.contains(*mark)) {
            None => Ok(text),
            Some(mark) => Err(format!("{mark} is not in it")),
        }
    })
    .await;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned();
    is_harmless(name, &whole)?;
    let parsed = whole.lines().map(|line| {
        let value: Value = serde_json::from_str(line).with_context(|| format!("{name}: {line:?}"))?;
        ensure!(value.get("forged").is_none(), "{name}: {line}");
        Ok(value)
    });
    let values: Vec<_> = parsed.collect::<Result<_>>()?;
    Ok((whole, values))
}

/// Whether a text is a member of one of them.
fn has(values: &[Value], member: &str, is: impl Fn(&str) -> bool) -> bool {
    values.iter().any(|value| value[member].as_str().is_some_and(&is))
}

async fn logs(stage: &Stage, form: Form) -> Result<Did> {
    let mut sent = 0;
    for (number, payload) in payloads() {
        let mark = format!("mark{number:02}");
        sent += ask(stage, &mark, payload).await;
        sent += change(stage, &mark, payload).await?;
    }
    let marks = |what: &str| -> Vec<String> {
        let mark = |(number, _)| format!("mark{number:02}{what}");
        payloads().map(mark).collect()
    };
    let raw: Vec<_> = payloads()
        .filter(|(_, payload)| is_taken(payload))
        .map(|(number, _)| format!("mark{number:02}raw"))
        .collect();
    let (access, asked) = objects(stage, "access.jsonl", &marks("path")).await?;
    let (audit, changed) = objects(stage, "audit.jsonl", &[marks("gone"), raw.clone()].concat()).await?;
    let own = stage.edgeproxy.logs().text();
    is_harmless("the log", &own)?;
    for (number, payload) in payloads() {
        let mark = format!("mark{number:02}");
        let path = format!("/{mark}path{}", escaped(payload));
        ensure!(
            has(&asked, "path", |text| text == path),
            "{path} is not in the access log"
        );
        let path = format!("/api/v1/backends/{mark}gone{}", escaped(payload));
        ensure!(
            has(&changed, "path", |text| text == path),
            "{path} is not in the audit log"
        );
    }
    for mark in &raw {
        ensure!(own.contains(mark), "{mark} is not in the log");
    }
    // What is obeyed arrived there, and is told: as bytes in hexadecimal, and as Rust escapes it.
    for (name, text) in [("the audit log", &audit), ("the log", &own)] {
        ensure!(
            text.contains("%C2%9B31m") && text.contains("%E2%80%AEgnp.exe"),
            "{name} holds nothing of what is obeyed"
        );
    }
    ensure!(
        audit.contains(r"\\u{9b}31m") && audit.contains(r"\\u{1b}["),
        "the audit log tells nothing of what was refused"
    );
    for text in [&access, &audit, &own] {
        ensure!(!text.contains("secret"), "metadata is in a log");
    }
    if form == Form::Json {
        for line in own.lines() {
            let _: Value = serde_json::from_str(line).with_context(|| format!("the log: {line:?}"))?;
        }
    }
    let lines = asked.len() + changed.len();
    Ok(Did::new(
        sent,
        format!(
            "{lines} lines, each one object of JSON; each text arrived, escaped, and no line is forged; metadata is in none"
        ),
    ))
}
