use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::Notify;

/// How many lines from the start are kept: what it listens on, and its findings.
const FIRST: usize = 200;
/// How many of the latest lines are kept.
const LAST: usize = 800;
/// How much of a line is kept together, in bytes; what is longer is kept as several.
const LINE: u64 = 8 * 1024;

/// What a process printed, read while it runs so that it never waits for a full pipe. Bounded: the first 200
/// and the last 800 lines.
#[derive(Clone, Default)]
pub struct Logs {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    grown: Notify,
}

#[derive(Default)]
struct Book {
    first: Vec<String>,
    last: VecDeque<String>,
    dropped: u64,
    /// Kept apart, since a panic is never to be dropped.
    panic: Option<String>,
    ended: bool,
}

impl Book {
    fn push(&mut self, line: String) {
        if self.panic.is_none() && line.contains("panicked at") {
            self.panic = Some(line.clone());
        }
        if self.first.len() < FIRST {
            return self.first.push(line);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.dropped += 1;
        }
        self.last.push_back(line);
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.last).map(String::as_str)
    }
}

impl Logs {
    /// Reads to the end in a thread of its own, which ends when no process holds the other end any more.
    pub(crate) fn read(pipe: PipeReader) -> (Self, JoinHandle<()>) {
        let logs = Self::default();
        let writer = logs.clone();
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(read) if read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                writer.book().push(text);
                writer.shared.grown.notify_waiters();
            }
            writer.book().ended = true;
            writer.shared.grown.notify_waiters();
        });
        (logs, thread)
    }

    /// The first thing that `find` makes of a line, now or later; `None` if the process ended before.
    pub async fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        loop {
            let grown = self.shared.grown.notified();
            tokio::pin!(grown);
            // Enabled before looking, so that a line that comes in between is not missed.
            grown.as_mut().enable();
            {
                let book = self.book();
                if let Some(found) = book.lines().find_map(&find) {
                    return Some(found);
                }
                if book.ended {
                    return None;
                }
            }
            grown.await;
        }
    }

    /// The address that the line about a listener names, now or later; `None` if the process ended before.
    pub async fn listening(&self, listener: Listener) -> Option<SocketAddr> {
        self.find(|line| named_addr(line, listener)).await
    }

    /// Everything that was kept, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let book = self.book();
        let mut text = String::new();
        for line in &book.first {
            text.push_str(line);
            text.push('\n');
        }
        if book.dropped > 0 {
            text.push_str(&format!("… {} lines dropped …\n", book.dropped));
        }
        for line in &book.last {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The line in which the process said that it panicked.
    #[must_use]
    pub fn panic(&self) -> Option<String> {
        self.book().panic.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the start-up log speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// Where clients connect.
    Proxy,
    /// Where backends register.
    Api,
}

impl Listener {
    /// For machines: an event with the field `addr`.
    const fn event(self) -> &'static str {
        match self {
            Self::Proxy => "proxy listening",
            Self::Api => "api listening",
        }
    }

    /// For people: a sentence that goes on with the address.
    const fn sentences(self) -> &'static [&'static str] {
        match self {
            Self::Proxy => &["serves HTTP/1.1 and HTTP/2 on "],
            Self::Api => &["backends register at http://", "backends register at https://"],
        }
    }
}

/// The address of a listener in a log line, in JSON (nested or flat) or text (coloured or not).
fn named_addr(line: &str, listener: Listener) -> Option<SocketAddr> {
    let event: Option<Value> = serde_json::from_str(line).ok();
    let fields = event.as_ref().map(|event| event.get("fields").unwrap_or(event));
    let plain = match fields {
        Some(fields) => fields.get("message")?.as_str()?.to_owned(),
        None => without_colours(line),
    };
    let mut sentences = listener.sentences().iter();
    if let Some((_, rest)) = sentences.find_map(|sentence| plain.split_once(sentence)) {
        return leading_addr(rest);
    }
    if !plain.contains(listener.event()) {
        return None;
    }
    match fields {
        Some(fields) => leading_addr(fields.get("addr")?.as_str()?),
        None => leading_addr(plain.split_once("addr=")?.1.trim_start_matches('"')),
    }
}

fn leading_addr(text: &str) -> Option<SocketAddr> {
    let end = text
        .find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']')))
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The line without its terminal's escape sequences, which tracing puts between a field's name and its `=`.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_address_is_found_in_json_and_in_text() {
        for line in [
            r#"{"timestamp":"…","level":"INFO","fields":{"message":"proxy listening","addr":"127.0.0.1:4711"}}"#,
            r#"{"level":"INFO","message":"proxy listening","addr":"127.0.0.1:4711","workers":2}"#,
            "2026-11-23T06:00:00Z  INFO edgeproxy: proxy listening addr=127.0.0.1:4711 workers=2",
            "INFO proxy listening addr=\"127.0.0.1:4711\"",
            "\u{1b}[32m INFO\u{1b}[0m proxy listening \u{1b}[3maddr\u{1b}[0m\u{1b}[2m=\u{1b}[0m127.0.0.1:4711",
            r#"{"level":"INFO","message":"edgeproxy 0.1.0 serves HTTP/1.1 and HTTP/2 on 127.0.0.1:4711","workers":2}"#,
            "INFO edgeproxy 0.1.0 serves HTTP/1.1 and HTTP/2 on 127.0.0.1:4711 workers=2",
        ] {
            assert_eq!(
                named_addr(line, Listener::Proxy),
                "127.0.0.1:4711".parse().ok(),
                "{line}"
            );
            assert_eq!(named_addr(line, Listener::Api), None, "{line}");
        }
        for line in [
            r#"{"fields":{"message":"api listening","addr":"[::1]:4712"}}"#,
            "INFO api listening addr=[::1]:4712",
            "INFO backends register at http://[::1]:4712/api/v1/register",
            "INFO backends register at https://[::1]:4712/api/v1/register",
        ] {
            assert_eq!(
                named_addr(line, Listener::Api),
                "[::1]:4712".parse().ok(),
                "{line}"
            );
            assert_eq!(named_addr(line, Listener::Proxy), None, "{line}");
        }
        assert_eq!(named_addr("INFO proxy listening", Listener::Proxy), None);
    }

    #[tokio::test]
    async fn a_line_is_found_when_it_comes_and_the_end_ends_the_wait() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (logs, thread) = Logs::read(reader);
        let waiting = tokio::spawn({
            let logs = logs.clone();
            async move {
                logs.find(|line| line.strip_prefix("second ").map(str::to_owned))
                    .await
            }
        });
        writeln!(writer, "first\nsecond line").unwrap();
        assert_eq!(waiting.await.unwrap().as_deref(), Some("line"));
        drop(writer);
        assert_eq!(logs.find(|line| (line == "third").then_some(())).await, None);
        thread.join().unwrap();
    }

    #[test]
    fn a_flood_is_bounded_and_a_panic_is_never_dropped() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (logs, thread) = Logs::read(reader);
        for line in 0..5_000 {
            if line == 2_500 {
                writeln!(writer, "thread 'main' panicked at src/main.rs:1:1").unwrap();
            }
            writeln!(writer, "line {line}").unwrap();
        }
        drop(writer);
        thread.join().unwrap();
        let text = logs.text();
        assert!(text.starts_with("line 0\n") && text.ends_with("line 4999\n"));
        assert_eq!(text.lines().count(), FIRST + LAST + 1);
        assert!(text.contains("… 4001 lines dropped …"));
        assert_eq!(
            logs.panic().as_deref(),
            Some("thread 'main' panicked at src/main.rs:1:1")
        );
    }
}
