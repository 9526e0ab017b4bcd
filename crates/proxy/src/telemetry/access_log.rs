//! The access log: one line for each request, formatted by its worker and written by somebody else.
//!
//! A worker gathers lines in memory of its own, and hands them on by the tens of kilobytes, or when they are a quarter of a
//! second old: one hand-over for hundreds of requests, which takes no lock that somebody waits for. Who can't take them
//! loses them, and counts them.

mod escaped;
mod line;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::telemetry::traces::{RequestSpan, SpanSink, Tracing};
pub(crate) use line::{Asked, Asker, Entry, Words, trace_of};

/// Where lines go.
pub trait LineSink: Send + Sync + 'static {
    /// Takes `count` lines, each with its end, or counts them as lost. It is called from a worker in the middle of a request,
    /// so it must neither block nor wait.
    fn take(&self, lines: Vec<u8>, count: u32);
}

/// How requests are written down.
#[derive(Clone)]
pub struct AccessLog {
    /// Where the lines go.
    pub sink: Arc<dyn LineSink>,
    /// How a line looks.
    pub format: LineFormat,
    /// How many of a million requests are written down of those that went well: 0 to 1,000,000. Those that didn't always
    /// are: whose answer is a 5xx or the proxy's own, or broke off, or whose client left before its end.
    pub sample_per_million: u32,
    /// Whether the query is, which may hold what is nobody's business.
    pub with_query: bool,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LineFormat {
    /// An object of JSON.
    #[default]
    Json,
    /// Words, for people.
    Text,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("format", &self.format)
            .field("sample_per_million", &self.sample_per_million)
            .field("with_query", &self.with_query)
            .finish_non_exhaustive()
    }
}

/// The lines that a worker has gathered.
#[derive(Default)]
pub(crate) struct Gathered {
    lines: RefCell<Vec<u8>>,
    count: Cell<u32>,
    /// Where they go: that of the latest line.
    sink: RefCell<Option<Arc<dyn LineSink>>>,
    /// What became of requests that are told of, and who is.
    spans: RefCell<Vec<RequestSpan>>,
    span_sink: RefCell<Option<Arc<dyn SpanSink>>>,
    /// The second that was written last, and how.
    second: Cell<(u64, Calendar)>,
    /// Those of requests that have ended, for requests that come.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: RefCell<Vec<Box<Entry>>>,
    /// An instant, and what time it was then since 1970.
    clock: Cell<Option<(Instant, Duration)>>,
}

/// Such as `2024-02-29T12:34:56.`.
type Calendar = [u8; 20];

/// As many bytes are handed on at once.
const CHUNK: usize = 32 * 1024;
/// As many requests are told of at once.
const SPANS: usize = 64;
/// So much memory is kept for requests: as many as are often under way, and as long as most of them are.
const SPARE: usize = 256;
const SPARE_BYTES: usize = 512;
/// Lines wait no longer than that.
pub(crate) const FLUSH: Duration = Duration::from_millis(250);

impl Gathered {
    /// Adds a line, which `write` writes with its end.
    pub(crate) fn add(&self, log: &AccessLog, write: impl FnOnce(&mut Vec<u8>)) {
        let is_full = {
            let mut lines = self.lines.borrow_mut();
            if lines.capacity() == 0 {
                lines.reserve(CHUNK + CHUNK / 4);
            }
            write(&mut lines);
            lines.len() >= CHUNK
        };
        self.count.set(self.count.get() + 1);
        let mut sink = self.sink.borrow_mut();
        if sink.as_ref().is_none_or(|sink| !Arc::ptr_eq(sink, &log.sink)) {
            *sink = Some(Arc::clone(&log.sink));
        }
        drop(sink);
        if is_full {
            self.flush_lines();
        }
    }

    /// Adds what became of a request.
    pub(crate) fn add_spans(&self, tracing: &Tracing, request: RequestSpan) {
        let is_full = {
            let mut spans = self.spans.borrow_mut();
            spans.push(request);
            spans.len() >= SPANS
        };
        let mut sink = self.span_sink.borrow_mut();
        if sink.as_ref().is_none_or(|sink| !Arc::ptr_eq(sink, &tracing.sink)) {
            *sink = Some(Arc::clone(&tracing.sink));
        }
        drop(sink);
        if is_full {
            self.flush_spans();
        }
    }

    fn flush_spans(&self) {
        let spans = self.spans.take();
        if let Some(sink) = &*self.span_sink.borrow()
            && !spans.is_empty()
        {
            sink.take(spans);
        }
    }

    /// One that is empty.
    fn entry(&self) -> Box<Entry> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back, which has been emptied.
    fn give_back(&self, entry: Box<Entry>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && entry.room() <= SPARE_BYTES {
            spare.push(entry);
        }
    }

    /// What time it was at that instant, since 1970. The system's clock is read at each flush, not for each request.
    fn time_of(&self, instant: Instant) -> Duration {
        let (then, time) = self.clock.get().unwrap_or_else(|| self.set_clock());
        match instant.checked_duration_since(then) {
            Some(after) => time + after,
            None => time.saturating_sub(then.saturating_duration_since(instant)),
        }
    }

    fn set_clock(&self) -> (Instant, Duration) {
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let clock = (Instant::now(), time);
        self.clock.set(Some(clock));
        clock
    }

    /// That time up to its second, as RFC 3339 has it; calculated once a second.
    fn calendar(&self, second: u64) -> Calendar {
        let (written, calendar) = self.second.get();
        // Of second 0 is what has not been written yet.
        if written == second && second != 0 {
            return calendar;
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut calendar = *b"0000-00-00T00:00:00.";
        // The digits of the second's parts have no room, and years of five digits are not written at all.
        let _ = std::io::Write::write_fmt(
            &mut calendar.as_mut_slice(),
            format_args!("{}", humantime::format_rfc3339_micros(time)),
        );
        self.second.set((second, calendar));
        calendar
    }

    /// Hands on what there is.
    pub(crate) fn flush(&self) {
        self.flush_lines();
        self.flush_spans();
    }

    fn flush_lines(&self) {
        let lines = self.lines.take();
        if lines.is_empty() {
            return;
        }
        if let Some(sink) = &*self.sink.borrow() {
            sink.take(lines, self.count.take());
        }
    }

    /// Hands on every so often what has gathered. Never ends.
    pub(crate) async fn keep_flushing(self: Rc<Self>) {
        loop {
            tokio::time::sleep(FLUSH).await;
            self.flush();
            self.set_clock();
        }
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.flush();
    }
}
