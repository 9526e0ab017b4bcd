//! One transaction after the other, each of them done once or not at all, however often it is sent.
//!
//! An answer may be lost, and the transaction is sent again, to another member; or the first sending arrives late,
//! when its caller has long given up. Done twice it could undo what another proxy did in between. So each of them
//! compares a key of this proxy's, the guard, with the revision at which the transaction before left it, and writes its own
//! number there: a second one finds that the guard has moved, and that it holds its number.
//!
//! After an outcome that is not known nothing is written before it is: the guard is moved once more, which
//! either finds the number, or keeps that transaction from ever being done.
//!
//! The guard is not bound to the lease, so that it outlives a partition. A proxy that leaves deletes its own, and one that
//! starts deletes those of proxies that are gone. Who comes back after all and finds none has to hear by the watch what
//! became of its last transaction.

use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::Write;
use tokio::time::timeout;

use super::client::path;
use super::encoding::{Guard, Stored};
use super::grpc::Fault;
use super::message::{Compare, KeyValue, Op, RequestOp, ResponseOp, TxnRequest, TxnResponse};
use super::session::Session;

/// How often one thing is tried while others change the same keys.
pub(super) const ROUNDS_MAX: usize = 16;

/// Where this proxy's transactions are.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The last number that was used.
    number: u64,
    /// At which revision the guard was last written, as far as is known; 0: there is none.
    pub(super) revision: i64,
    /// A transaction whose outcome is not known.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    steps: Vec<Step>,
    /// Whether the guard was not as this proxy had left it, so that it doesn't show the outcome.
    is_blind: bool,
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) what: What,
    pub(super) key: Bytes,
    /// What is put; `None`: the key is deleted.
    pub(super) value: Option<Bytes>,
}

/// What it does.
#[derive(Clone, Debug)]
pub(super) enum What {
    Committed(Write),
    /// As it is afterwards.
    Adopted(Stored),
    Ended(BackendId, Incarnation),
}

/// What became of a transaction.
pub(super) enum Outcome {
    Done,
    /// A fence has fallen: this is what was read, at that revision.
    Fenced(Vec<ResponseOp>, i64),
    /// It was not done, and something was learnt: it has to be made anew.
    Again,
}

/// What the guard says of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It was done, at that revision.
    Done(i64),
    /// It was not, and can't be any more.
    Void,
    /// It has not been done by now; it still may be.
    Pending,
    /// The guard is gone.
    Blind,
    /// A later start of a proxy with this one's name has written it.
    Displaced,
}

impl Sequence {
    /// What was found under the guard's key says of the transaction of that number, which was to follow what this
    /// sequence knows. From now on what was found is known.
    fn judge(&mut self, start: u64, number: u64, found: Option<&KeyValue>) -> Verdict {
        let revision = found.map_or(0, |kv| kv.mod_revision);
        let was = std::mem::replace(&mut self.revision, revision);
        let Some(found) = found else {
            return if was == 0 {
                Verdict::Pending
            } else {
                Verdict::Blind
            };
        };
        let guard = Guard::read(&found.value);
        if guard.start > start {
            Verdict::Displaced
        } else if guard == (Guard { start, number }) {
            Verdict::Done(revision)
        } else if guard.start == start && guard.number > number {
            Verdict::Void
        } else {
            Verdict::Pending
        }
    }
}

impl Session {
    /// Does these steps if all the fences hold; else reads. Call [`settle`](Self::settle) first.
    pub(super) async fn attempt(
        &self,
        sequence: &mut Sequence,
        steps: Vec<Step>,
        fences: Vec<Compare>,
        reads: Vec<RequestOp>,
    ) -> Result<Outcome, Fault> {
        let number = sequence.number + 1;
        sequence.number = number;
        let mut question = self.guarded(sequence, number);
        question.compare.extend(fences);
        question.success.extend(steps.iter().map(Step::op));
        question.failure.extend(reads);
        let open = sequence.open.insert(Open {
            number,
            steps,
            is_blind: false,
        });
        let (answer, sendings): (TxnResponse, _) = self.ask_counted(path::TXN, &question).await?;
        let revision = revision_of(&answer);
        if answer.succeeded {
            self.note(&open.steps, revision);
            sequence.revision = revision;
            sequence.open = None;
            return Ok(Outcome::Done);
        }
        let mut read = answer.responses.into_iter();
        let guard = read.next().and_then(|response| response.range);
        let was = sequence.revision;
        match sequence.judge(
            self.author.start,
            number,
            guard.as_ref().and_then(|range| range.kvs.first()),
        ) {
            Verdict::Done(revision) => {
                self.close(sequence, Some(revision));
                Ok(Outcome::Done)
            }
            Verdict::Displaced => Err(self.displaced_fault()),
            Verdict::Blind => {
                self.blind(sequence);
                self.settle(sequence).await?;
                Ok(Outcome::Again)
            }
            Verdict::Void | Verdict::Pending => {
                // One that was sent before may still be on its way, and its fences hold again by then.
                if sendings == 1 {
                    self.close(sequence, None);
                }
                if was == sequence.revision {
                    Ok(Outcome::Fenced(read.collect(), revision))
                } else {
                    Ok(Outcome::Again)
                }
            }
        }
    }

    /// Finds out what became of the last transaction, if that is not known.
    pub(super) async fn settle(&self, sequence: &mut Sequence) -> Result<(), Fault> {
        for _ in 0..ROUNDS_MAX {
            let Some(open) = &sequence.open else { return Ok(()) };
            let (of, is_blind) = (open.number, open.is_blind);
            let number = sequence.number + 1;
            sequence.number = number;
            let question = self.guarded(sequence, number);
            let answer: TxnResponse = self.ask(path::TXN, &question).await?;
            let verdict = if answer.succeeded {
                sequence.revision = revision_of(&answer);
                Verdict::Void
            } else {
                let guard = answer
                    .responses
                    .first()
                    .and_then(|response| response.range.as_ref());
                sequence.judge(self.author.start, of, guard.and_then(|range| range.kvs.first()))
            };
            match verdict {
                Verdict::Done(revision) => self.close(sequence, Some(revision)),
                Verdict::Void if is_blind => {
                    self.hear_up_to(sequence.revision).await?;
                    self.close(sequence, None);
                }
                Verdict::Void => self.close(sequence, None),
                Verdict::Pending => {}
                Verdict::Blind => self.blind(sequence),
                Verdict::Displaced => return Err(self.displaced_fault()),
            }
        }
        Err(Fault::Unreachable(format!(
            "the outcome of a transaction is not known after it was asked for {ROUNDS_MAX} times"
        )))
    }

    /// A transaction that moves the guard, or reads it.
    fn guarded(&self, sequence: &Sequence, number: u64) -> TxnRequest {
        let key = self.keys.commits(&self.author.name);
        let start = self.author.start;
        TxnRequest {
            compare: vec![Compare::unchanged(key.clone(), sequence.revision)],
            success: vec![Op::put(key.clone(), Guard { start, number }.write(), 0)],
            failure: vec![Op::read(key)],
        }
    }

    fn close(&self, sequence: &mut Sequence, done_at: Option<i64>) {
        if let Some(open) = sequence.open.take()
            && let Some(revision) = done_at
        {
            self.note(&open.steps, revision);
        }
    }

    fn blind(&self, sequence: &mut Sequence) {
        if let Some(open) = &mut sequence.open {
            open.is_blind = true;
        }
    }

    /// Waits until the watch has told everything up to that revision.
    async fn hear_up_to(&self, revision: i64) -> Result<(), Fault> {
        let limit: Duration = self.client.settings().total_timeout;
        let mut seen = self.seen.subscribe();
        match timeout(limit, seen.wait_for(|seen| *seen >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Fault::Unreachable(format!(
                "the watch has not told within {} ms what became of the last transaction",
                limit.as_millis()
            ))),
        }
    }

    fn displaced_fault(&self) -> Fault {
        self.displace();
        Fault::Unreachable(super::commit::displaced(self.author.name.as_str()))
    }

    /// These steps were done at that revision.
    fn note(&self, steps: &[Step], revision: i64) {
        let mut mirror = self.mirror();
        for step in steps {
            match &step.what {
                What::Committed(Write::Registered(record)) => {
                    let stored = Stored {
                        record: record.clone(),
                        author: self.author.clone(),
                    };
                    mirror.wrote(stored, revision);
                }
                What::Committed(Write::Gone { id, incarnation }) => mirror.erased(id, *incarnation, revision),
                What::Committed(Write::Overridden(overridden)) => mirror.set(overridden, revision),
                What::Adopted(stored) => mirror.adopted(stored.clone(), revision),
                What::Ended(id, incarnation) => mirror.ended(id, *incarnation, revision),
            }
        }
    }

    /// Deletes this proxy's guard, since it leaves.
    pub(super) async fn drop_guard(&self) -> Result<(), Fault> {
        let sequence = self.sequence.lock().await;
        let key = self.keys.commits(&self.author.name);
        let question = TxnRequest {
            compare: vec![Compare::unchanged(key.clone(), sequence.revision)],
            success: vec![Op::delete(key)],
            failure: Vec::new(),
        };
        self.ask::<_, TxnResponse>(path::TXN, &question).await.map(|_| ())
    }
}

impl Step {
    /// About the bytes that it adds to a request: the key comes three times.
    pub(super) fn size(&self) -> usize {
        64 + 3 * self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    fn op(&self) -> RequestOp {
        match &self.value {
            Some(value) => Op::put(self.key.clone(), value.clone(), 0),
            None => Op::delete(self.key.clone()),
        }
    }
}

pub(super) fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}
