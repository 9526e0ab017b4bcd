//! Plays a backend's response, whole and in two parts, and sees what the client gets.

use crate::arrival::Arrivals;
use crate::case::{Outcome, ResponseCase};
use crate::check::{self, Checked, ensure, short};
use crate::origin::{Record, Script};
use crate::report::Failures;
use crate::stage::Stage;
use crate::wire::{Fault, Message, Wire};

const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: app\r\n\r\n";

/// Plays it in every way; says what went wrong.
pub(crate) async fn play(case: ResponseCase, arrivals: Arrivals) -> Failures {
    let mut failures = Failures::new(&case.name, &case.section);
    let stage = Stage::closing(&arrivals).await;
    let run = Run {
        case: &case,
        stage: &stage,
        old: case.request.all.windows(9).any(|window| window == b"HTTP/1.0\r"),
        to_head: case.request.all.starts_with(b"HEAD "),
    };
    failures.add("whole", run.answer(vec![case.bytes.all.clone()]).await);
    for at in case.bytes.splits() {
        if failures.are_enough() {
            break;
        }
        let (first, second) = case.bytes.all.split_at(at);
        let played = run.answer(vec![first.to_vec(), second.to_vec()]).await;
        failures.add(&format!("split at {at}"), played);
    }
    let left = stage.end().await;
    failures.add(
        "in the end",
        ensure(left.is_empty(), || format!("the backend saw {left:?}")),
    );
    failures
}

struct Run<'a> {
    case: &'a ResponseCase,
    stage: &'a Stage,
    old: bool,
    to_head: bool,
}

impl Run<'_> {
    async fn answer(&self, parts: Vec<Vec<u8>>) -> Checked {
        let (_, before) = self.stage.endpoint.meter.totals();
        let fin = self.case.fin;
        // What a run that failed has left behind was told of there.
        drop(self.stage.origin.records());
        self.stage.origin.play(Script { parts, fin });
        let mut client = self.stage.connect().await;
        client.write(&self.case.request.all).await;
        let judged = self.judge(&mut client).await;
        let (_, failed) = self.stage.endpoint.meter.totals();
        // What comes behind an answer has come before the next request: only then can the proxy know of it.
        self.stage.origin.has_played().await;
        // Always, so that the next run begins without a kept connection.
        let open = matches!(self.case.outcome, Outcome::Forwarded { closes: false, .. }) && !self.old;
        let after = self.after(&mut client, open && judged.is_ok()).await;
        let refused = judged?;
        let reused = after?;
        let counted = failed - before;
        let due = u64::from(refused);
        // One that breaks off was an answer when its head came; the ledger counts heads.
        let truncated = matches!(self.case.outcome, Outcome::Truncated { .. });
        ensure(counted == due || truncated && counted <= 1, || {
            format!("the ledger counts {counted} failures, not {due}")
        })?;
        let must = match self.case.outcome {
            Outcome::Forwarded { reused, .. } => reused,
            _ => Some(false),
        };
        ensure(must.is_none_or(|must| must == reused), || {
            format!("the backend's connection was used again: {reused}")
        })
    }

    /// Whether it was refused with 502.
    async fn judge(&self, client: &mut Wire) -> Result<bool, String> {
        let mut interim = Vec::new();
        let mut answer;
        let status = loop {
            answer = Message::default();
            match client.head(&mut answer).await {
                // As visible as a break within it.
                Err(Fault::Nothing | Fault::Reset)
                    if matches!(self.case.outcome, Outcome::Truncated { .. }) && interim.is_empty() =>
                {
                    return Ok(false);
                }
                head => head.map_err(|fault| format!("no answer: {fault:?}"))?,
            }
            match answer.status().map_err(|fault| format!("{fault:?}"))? {
                status @ (100 | 102..=199) => interim.push(status),
                status => break status,
            }
        };
        match &self.case.outcome {
            Outcome::Forwarded {
                interim: due,
                status: expected,
                expected: message,
                closes,
                ..
            } => {
                ensure(status == *expected, || {
                    format!("{expected} expected, found {}", answer.start)
                })?;
                ensure(interim == *due, || {
                    format!("{due:?} expected before it, found {interim:?}")
                })?;
                let read = self.body(client, &mut answer).await;
                read.map_err(|fault| format!("incomplete: {fault:?} in {answer:?}"))?;
                if status != 101 {
                    check::response(&answer)?;
                }
                check::expected(message, &self.stage.origin.addr.to_string(), &answer)?;
                if *closes {
                    let (rest, _) = client
                        .rest()
                        .await
                        .map_err(|fault| format!("not closed: {fault:?}"))?;
                    ensure(rest.is_empty(), || format!("behind it: {}", short(&rest)))?;
                }
                Ok(false)
            }
            Outcome::BadGateway => {
                self.refused(client, &mut answer).await?;
                Ok(true)
            }
            Outcome::Truncated {
                status: expected,
                body,
            } => {
                if status == 502 {
                    self.refused(client, &mut answer).await?;
                    return Ok(true);
                }
                ensure(status == *expected, || {
                    format!("{expected} expected, found {}", answer.start)
                })?;
                match self.body(client, &mut answer).await {
                    Err(Fault::Ended | Fault::Reset) => {}
                    other => return Err(format!("it must break off visibly, and is {other:?}: {answer:?}")),
                }
                ensure(body.starts_with(&answer.body), || {
                    format!(
                        "a beginning of {} expected, found {}",
                        short(body),
                        short(&answer.body)
                    )
                })?;
                Ok(false)
            }
        }
    }

    async fn refused(&self, client: &mut Wire, answer: &mut Message) -> Checked {
        ensure(answer.status() == Ok(502), || {
            format!("502 expected, found {}", answer.start)
        })?;
        let read = self.body(client, answer).await;
        read.map_err(|fault| format!("the 502 is incomplete: {fault:?}"))?;
        let closes = answer.all("connection").contains(&"close");
        check::own(answer, closes)
    }

    async fn body(&self, client: &mut Wire, answer: &mut Message) -> Result<(), Fault> {
        let framing = answer.response_framing(self.to_head)?;
        client.body(framing, answer).await
    }

    /// A good request, behind it on the same connection if that is `open`. Whether it came to the backend by
    /// the connection of the one before.
    async fn after(&self, client: &mut Wire, open: bool) -> Result<bool, String> {
        let mut fresh;
        let client = if open {
            client
        } else {
            fresh = self.stage.connect().await;
            &mut fresh
        };
        client.write(AFTER).await;
        let mut answer = Message::default();
        let read = async {
            client.head(&mut answer).await?;
            let framing = answer.response_framing(false)?;
            client.body(framing, &mut answer).await
        };
        read.await
            .map_err(|fault| format!("the request behind it got no answer: {fault:?}"))?;
        ensure(answer.body == "ok", || {
            format!("the request behind it got {answer:?}")
        })?;
        match self.stage.origin.records().as_slice() {
            [Record::Whole(_, one), Record::Whole(after, other)] if after.start == "GET /after HTTP/1.1" => {
                Ok(one == other)
            }
            records => Err(format!(
                "the backend must see this request and the next, and saw {records:?}"
            )),
        }
    }
}
