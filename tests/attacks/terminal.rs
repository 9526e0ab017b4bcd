//! Text of strangers on somebody's terminal, where bytes are obeyed. All that is written there is looked at, byte by byte.

use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use edgeproxy_tests::{Edgeproxy, PATIENCE, Tmux, eventually};
use serde_json::Value;
use tokio::process::Command;

use crate::injection::{PAYLOADS, evil, registered};
use crate::liar::{HARMLESS, HONEST, Liar};
use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "injection-top",
        "escapes in what an API that lies tells `edgeproxy top`, `backends`, `explain` and `events` on a terminal",
        |stage| Box::pin(top(stage)),
    ),
    Row::new(
        "injection-json",
        "the same, and metadata of escapes, in what they print with `--json`",
        |stage| Box::pin(json(stage)),
    ),
];

/// What turns the order of writing round.
pub(crate) const fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a terminal obeys by itself, line ends and tabulators left out.
pub(crate) fn is_obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || is_bidirectional(c)
}

/// The first thing that a terminal would obey and that a program for terminals has no reason to write: no title, no string,
/// nothing but cursor, colours and modes.
fn obeyed(raw: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(raw).context("what is written is no UTF-8")?;
    let near = |at: usize| {
        let from = text[..at].char_indices().rev().nth(40).map_or(0, |(at, _)| at);
        text[from..].chars().take(80).collect::<String>()
    };
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '\u{1b}' => match rest.next() {
                Some((_, '[')) => {
                    let end = rest.find(|(_, c)| matches!(c, '@'..='~'));
                    // To tell about oneself, to move windows, and to replay are not among them.
                    ensure!(
                        end.is_some_and(|(_, c)| "ABCDEFGHJKLMPSTXdfhlmqru".contains(c)),
                        "it writes a sequence that is not its own: {:?}",
                        near(at)
                    );
                }
                // Which letters there are.
                Some((_, '(' | ')')) => {
                    let _ = rest.next();
                }
                Some((_, '7' | '8' | '=' | '>' | 'M')) => {}
                _ => bail!("it writes a sequence that is not its own: {:?}", near(at)),
            },
            '\u{8}' => {}
            c => ensure!(!is_obeyed(c), "it writes {c:?}: {:?}", near(at)),
        }
    }
    Ok(())
}

async fn top(stage: &Stage) -> Result<Did> {
    if let Some(missing) = Tmux::missing() {
        return Ok(Did::skipped(missing));
    }
    let honest = stage.operator().register(&evil().with("id", HONEST)).await?;
    ensure!(honest.status == 201, "{honest:?}");
    let liar = Liar::before(stage.edgeproxy.api_addr()).await?;
    let terminal = Tmux::start(200, 40);
    let api = format!("http://{}", liar.addr);
    let commands = [
        format!("edgeproxy backends --api {api}"),
        format!("edgeproxy apps --api {api}"),
        format!("edgeproxy explain evil --api {api}"),
        format!("edgeproxy events --api {api}"),
    ];
    let mut seen = 0;
    for command in &commands {
        let before = terminal.raw().len();
        terminal.line(&format!("{command}; echo all' 'told"));
        let (raw, _) = eventually(PATIENCE, command, async || {
            let raw = terminal.raw();
            let new = &raw[before.min(raw.len())..];
            if String::from_utf8_lossy(new).contains("all told") {
                Ok(new.to_vec())
            } else {
                Err(terminal.screen())
            }
        })
        .await;
        obeyed(&raw).with_context(|| command.clone())?;
        let text = String::from_utf8(raw)?;
        seen += u64::from(HARMLESS.iter().all(|part| text.contains(part)));
    }
    // `apps` names no backend.
    ensure!(
        seen == commands.len() as u64 - 1,
        "the lie is in what {seen} of the commands wrote"
    );
    let before = terminal.raw().len();
    terminal.line(&format!("edgeproxy top --api {api}"));
    terminal
        .shows(PATIENCE, "it is on the screen", |screen| {
            HARMLESS.iter().all(|part| screen.contains(part))
        })
        .await;
    terminal.key("q");
    let (raw, _) = eventually(PATIENCE, "it goes back to the screen before", async || {
        let raw = terminal.raw();
        let new = &raw[before.min(raw.len())..];
        if String::from_utf8_lossy(new).contains("\u{1b}[?1049l") {
            Ok(new.to_vec())
        } else {
            Err(terminal.screen())
        }
    })
    .await;
    obeyed(&raw).context("edgeproxy top")?;
    let title = terminal.fact("pane_title");
    ensure!(!title.contains("owned"), "the title was set: {title}");
    Ok(Did::new(
        seen + 1,
        "its text without what is obeyed; every byte written is text, or the program's own colour, cursor or mode",
    ))
}

/// What a command prints where nobody is at a terminal.
async fn printed(args: &[&str], api: &str) -> Result<String> {
    let output = Command::new(Edgeproxy::binary())
        .args(args)
        .args(["--json", "--api", api])
        .stdin(Stdio::null())
        .env_clear()
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("{args:?} print something other than UTF-8"))
}

/// All values of texts in it.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(pairs) => {
            let names = pairs.keys().map(String::as_str);
            names.chain(pairs.values().flat_map(texts)).collect()
        }
        _ => Vec::new(),
    }
}

async fn json(stage: &Stage) -> Result<Did> {
    let mut sent = registered(stage).await?;
    let honest = stage.operator().register(&evil().with("id", HONEST)).await?;
    ensure!(honest.status == 201, "{honest:?}");
    let liar = Liar::before(stage.edgeproxy.api_addr()).await?;
    let api = format!("http://{}", liar.addr);
    let mut lies = 0;
    for args in [&["backends"][..], &["apps"], &["explain", "evil"], &["events"]] {
        let text = printed(args, &api).await?;
        if let Some(c) = text.chars().find(|c| is_obeyed(*c)) {
            bail!("edgeproxy {} --json prints {c:?} as it is", args.join(" "));
        }
        // It is one document, or one a line, and says what it was told: escaped, and not left out.
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        let values = values.with_context(|| format!("edgeproxy {} --json: {text:.300}", args.join(" ")))?;
        let told: Vec<_> = values.iter().flat_map(texts).collect();
        lies += u64::from(told.contains(&"evi\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}lia"));
        if args == ["backends"] {
            let taken: Vec<_> = PAYLOADS
                .iter()
                .filter(|payload| payload.chars().any(is_obeyed) && told.contains(payload))
                .collect();
            ensure!(
                taken.iter().any(|payload| payload.contains('\u{202e}')),
                "metadata of escapes comes to {taken:?}"
            );
        }
        sent += 1;
    }
    // `apps` names no backend.
    ensure!(lies == 3, "the lie is in what {lies} of the commands printed");
    Ok(Did::new(
        sent,
        "JSON that means what the API said, and escapes all that a terminal would obey",
    ))
}
