//! Plays a request: whole, in two parts, and between two good ones.

use tokio::io::AsyncWriteExt;

use crate::arrival::Arrivals;
use crate::case::{RequestCase, Verdict};
use crate::check::{self, Checked, ensure, short};
use crate::origin::Record;
use crate::report::Failures;
use crate::stage::Stage;
use crate::wire::{Fault, Message, Wire};

const BEFORE: &[u8] = b"GET /before HTTP/1.1\r\nHost: app\r\n\r\n";
const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: app\r\n\r\n";

/// Plays it in every way; says what went wrong.
pub(crate) async fn play(case: RequestCase, arrivals: Arrivals) -> Failures {
    let mut failures = Failures::new(&case.name, &case.section);
    let stage = if case.stalls {
        Stage::impatient(&arrivals).await
    } else {
        Stage::keeping(&arrivals).await
    };
    let bytes = case.bytes.all.as_slice();
    let run = Run {
        case: &case,
        stage: &stage,
        arrivals: &arrivals,
    };
    failures.add("whole", run.alone(&[bytes]).await);
    failures.add("behind a good request", run.pipelined().await);
    // The first part of what stalls, stalls.
    let splits = if case.stalls {
        Vec::new()
    } else {
        case.bytes.splits()
    };
    for at in splits {
        if failures.are_enough() {
            break;
        }
        let (first, second) = bytes.split_at(at);
        failures.add(&format!("split at {at}"), run.alone(&[first, second]).await);
    }
    let left = stage.end().await;
    failures.add("in the end", judge_parts(&case, &left));
    failures
}

struct Run<'a> {
    case: &'a RequestCase,
    stage: &'a Stage,
    arrivals: &'a Arrivals,
}

impl Run<'_> {
    /// The request on a connection of its own.
    async fn alone(&self, parts: &[&[u8]]) -> Checked {
        let mut client = self.stage.connect().await;
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                self.arrivals.read_by_peer_of(&client.stream).await;
            }
            client.write(part).await;
        }
        if self.case.fin {
            let _ = client.stream.shutdown().await;
        }
        let answered = self.answer(&mut client).await;
        let seen = self.judge_seen(&[]);
        answered.and(seen)
    }

    /// Behind a good request and before another one, all in one piece.
    async fn pipelined(&self) -> Checked {
        let mut client = self.stage.connect().await;
        let followed = !self.case.fin && !self.case.stalls;
        let after = if followed { AFTER } else { b"" };
        client
            .write(&[BEFORE, &self.case.bytes.all, after].concat())
            .await;
        if self.case.fin {
            let _ = client.stream.shutdown().await;
        }
        let mut answered = good(&mut client, "before").await;
        if answered.is_ok() {
            answered = self.answer(&mut client).await;
        }
        let last = followed && !self.case.closes;
        if last && answered.is_ok() {
            answered = good(&mut client, "behind").await;
        }
        let seen = if last {
            self.judge_seen(&["before", "after"])
        } else {
            self.judge_seen(&["before"])
        };
        answered.and(seen)
    }

    /// Reads the answer, and the connection's end where there must be one.
    async fn answer(&self, client: &mut Wire) -> Checked {
        let old = self
            .case
            .bytes
            .all
            .windows(9)
            .any(|window| window == b"HTTP/1.0\r");
        let mut answer = Message::default();
        loop {
            match client.head(&mut answer).await {
                Err(Fault::Nothing | Fault::Reset) if matches!(self.case.verdict, Verdict::Dropped) => {
                    return Ok(());
                }
                other => other.map_err(|fault| format!("no answer: {fault:?}"))?,
            }
            if !matches!(answer.status(), Ok(100..=199)) {
                break;
            }
            ensure(!old, || {
                "an interim answer to a client that speaks HTTP/1.0".to_owned()
            })?;
            answer = Message::default();
        }
        let status = answer.status().map_err(|fault| format!("{fault:?}"))?;
        let expected = match &self.case.verdict {
            Verdict::Forwarded { .. } => &[200],
            Verdict::Answered { status, .. } => std::slice::from_ref(status),
            Verdict::Refused(any) | Verdict::BrokenOff { status: any, .. } => any.as_slice(),
            Verdict::Dropped => &[400, 408],
        };
        ensure(expected.contains(&status), || {
            format!("{expected:?} expected, found {}", answer.start)
        })?;
        match &self.case.verdict {
            Verdict::Forwarded { line, .. } => {
                self.body(client, &mut answer, line.starts_with("HEAD ")).await?;
                check::response(&answer)?;
            }
            Verdict::Answered { expected, .. } => {
                self.body(client, &mut answer, false).await?;
                check::expected(expected, &self.stage.origin.addr.to_string(), &answer)?;
            }
            Verdict::Refused(_) | Verdict::BrokenOff { .. } | Verdict::Dropped => {
                check::own(&answer, self.case.closes)?;
                if !self.case.closes {
                    self.body(client, &mut answer, false).await?;
                }
            }
        }
        if self.case.closes {
            self.close(client, &answer).await
        } else {
            Ok(())
        }
    }

    async fn body(&self, client: &mut Wire, answer: &mut Message, to_head: bool) -> Checked {
        let read = async {
            let framing = answer.response_framing(to_head)?;
            client.body(framing, answer).await
        };
        read.await
            .map_err(|fault| format!("the answer is incomplete: {fault:?}"))
    }

    /// Nothing may follow, but the body of an answer that was not read.
    async fn close(&self, client: &mut Wire, answer: &Message) -> Checked {
        let rest = client.rest().await;
        let (rest, _) = rest.map_err(|fault| format!("the connection was not closed: {fault:?}"))?;
        let unread = !matches!(
            self.case.verdict,
            Verdict::Forwarded { .. } | Verdict::Answered { .. }
        );
        let length = answer
            .all("content-length")
            .first()
            .and_then(|length| length.parse().ok());
        let whole = unread && length == Some(rest.len());
        // An answer to HEAD has no body, and the proxy may have read as much of a request that it refuses.
        ensure(rest.is_empty() || whole, || {
            format!("behind the answer: {}", short(&rest))
        })
    }

    /// What the backend must have seen by now: the good requests, and among them this one if it is to be
    /// forwarded.
    fn judge_seen(&self, good: &[&str]) -> Checked {
        let records = self.stage.origin.records();
        let mut seen = Vec::new();
        for record in &records {
            match record {
                Record::Whole(request, _) => seen.push(request),
                other => judge_parts(self.case, std::slice::from_ref(other))?,
            }
        }
        let mut lines: Vec<String> = good.iter().map(|path| format!("GET /{path} HTTP/1.1")).collect();
        if let Verdict::Forwarded { line, .. } = &self.case.verdict {
            lines.insert(usize::from(!good.is_empty()), line.clone());
        }
        let found: Vec<_> = seen.iter().map(|request| request.start.clone()).collect();
        ensure(lines == found, || {
            format!("the backend must see {lines:?}, and saw {seen:?}")
        })?;
        for request in &seen {
            check::request(request)?;
        }
        let Verdict::Forwarded { expected, .. } = &self.case.verdict else {
            return Ok(());
        };
        let request = seen[usize::from(!good.is_empty())];
        check::expected(expected, &self.stage.origin.addr.to_string(), request)
    }
}

/// What was begun and never completed at the backend.
fn judge_parts(case: &RequestCase, records: &[Record]) -> Checked {
    for record in records {
        let (part, unread) = match record {
            Record::Part(part, unread) => (part, unread),
            Record::Malformed(read, what) => {
                return Err(format!("what the backend gets is malformed: {what} in {read:?}"));
            }
            Record::Whole(..) => return Err(format!("the backend saw {record:?}")),
        };
        let Verdict::BrokenOff { line, body, .. } = &case.verdict else {
            return Err(format!(
                "the backend saw a beginning: {part:?}, {}",
                short(unread)
            ));
        };
        // What is unread is a part of the head, or of a chunk's size line: nothing of the body.
        let begun = if part.start.is_empty() {
            unread.as_str()
        } else {
            part.start.as_str()
        };
        let good = line.starts_with(begun) || unread.starts_with(line.as_str());
        ensure(good && body.starts_with(&part.body), || {
            format!(
                "the backend may see the beginning of {line:?}, {}; it saw {part:?}",
                short(body)
            )
        })?;
    }
    Ok(())
}

async fn good(client: &mut Wire, which: &str) -> Checked {
    let mut answer = Message::default();
    let read = async {
        client.head(&mut answer).await?;
        let framing = answer.response_framing(false)?;
        client.body(framing, &mut answer).await
    };
    read.await
        .map_err(|fault| format!("the good request {which} it got no answer: {fault:?}"))?;
    ensure(answer.start == "HTTP/1.1 200 OK" && answer.body == "ok", || {
        format!("the good request {which} it got {answer:?}")
    })
}
