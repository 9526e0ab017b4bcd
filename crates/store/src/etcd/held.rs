//! Leases that change hands or end, and what is told of them.
//!
//! Both are fenced by the revision at which the registration was read, after it was found to be of the life and the owner
//! that the caller means. One that is not is left alone, and what it is is told.

use std::sync::atomic::Ordering;

use edgeproxy_backend::BackendId;

use super::client::path;
use super::commit::{OPS_MAX, fitting};
use super::encoding::{self, Stored};
use super::grpc::{Fault, code};
use super::message::{Compare, KeyValue, Op, RequestOp, ResponseOp, TxnRequest, TxnResponse};
use super::sequence::{Outcome, ROUNDS_MAX, Step, What, revision_of};
use super::session::Session;
use crate::{CommitError, Held};

/// How many keys hold what this proxy has heard. A watch is told every one of their values, however soon the next is
/// written over it; that there are several is so that one transaction can hold as many.
const SLOTS: usize = 8;

/// What is done to those that are held as the caller thinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deed {
    /// This proxy becomes their owner.
    Adopt,
    /// They are deleted.
    End,
}

/// One that is still to be done.
struct Due<'a> {
    held: &'a Held,
    step: Step,
    fence: Compare,
}

impl Session {
    pub(super) async fn change_held(&self, held: &[Held], deed: Deed) -> Result<(), CommitError> {
        self.check_name()?;
        for held in held.chunks(OPS_MAX) {
            self.change_some(distinct(held), deed)
                .await
                .map_err(|fault| self.commit_error(&fault))?;
        }
        Ok(())
    }

    async fn change_some<'a>(&self, mut rest: Vec<&'a Held>, deed: Deed) -> Result<(), Fault> {
        let mut sequence = self.sequence.lock().await;
        let mut rounds = 0;
        while !rest.is_empty() {
            if rounds == ROUNDS_MAX {
                return Err(Fault::Unreachable(format!(
                    "others changed the same backends {ROUNDS_MAX} times meanwhile"
                )));
            }
            self.settle(&mut sequence).await?;
            let mut due = self.read(&rest, deed).await?;
            rest = due.iter().map(|due| due.held).collect();
            if rest.is_empty() {
                break;
            }
            let fitting = fitting(due.iter().map(|due| &due.step));
            due.truncate(fitting);
            let (steps, fences) = due.into_iter().map(|due| (due.step, due.fence)).unzip();
            match self.attempt(&mut sequence, steps, fences, Vec::new()).await? {
                Outcome::Done => {
                    rest.drain(..fitting.min(rest.len()));
                    rounds = 0;
                }
                Outcome::Fenced(..) | Outcome::Again => rounds += 1,
            }
        }
        Ok(())
    }

    /// Those that are held as is thought; of the others it is told how they are.
    async fn read<'a>(&self, held: &[&'a Held], deed: Deed) -> Result<Vec<Due<'a>>, Fault> {
        let reads: Vec<RequestOp> = held
            .iter()
            .map(|held| Op::read(self.keys.backend(&held.id)))
            .collect();
        let question = TxnRequest {
            success: reads,
            ..TxnRequest::default()
        };
        let answer: TxnResponse = self.ask(path::TXN, &question).await?;
        let revision = revision_of(&answer);
        let found = answer.responses.iter().map(first);
        let due = |(held, found): (&&'a Held, _)| self.due(held, found, deed, revision);
        Ok(held.iter().zip(found).filter_map(due).collect())
    }

    fn due<'a>(
        &self,
        held: &'a Held,
        found: Option<&KeyValue>,
        deed: Deed,
        revision: i64,
    ) -> Option<Due<'a>> {
        let mut mirror = self.mirror();
        let Some(kv) = found else {
            mirror.answer_gone(&held.id, held.incarnation, revision);
            return None;
        };
        // What can't be read is left alone, as everywhere.
        let stored = encoding::read_backend(&held.id, &kv.value).ok()?;
        if stored.record.incarnation != held.incarnation {
            mirror.answer(stored, kv.mod_revision);
            return None;
        }
        if stored.author.name != held.owner {
            mirror.answer_owned(stored.owned(), kv.mod_revision);
            return None;
        }
        let (what, value) = match deed {
            Deed::Adopt => {
                let author = self.author.clone();
                let stored = Stored { author, ..stored };
                let value = encoding::backend(&stored.record, &stored.author);
                (What::Adopted(stored), Some(value.into()))
            }
            Deed::End => (What::Ended(held.id.clone(), held.incarnation), None),
        };
        let key = kv.key.clone();
        let fence = Compare::unchanged(key.clone(), kv.mod_revision);
        let step = Step { what, key, value };
        Some(Due { held, step, fence })
    }

    /// Nothing but a lease's time hangs on it: told twice, or late because the first sending was, it renews for as long as
    /// the telling took.
    pub(super) async fn tell(&self, ids: &[BackendId]) -> Result<(), CommitError> {
        self.check_name()?;
        let lease = self.lease.load(Ordering::Relaxed);
        if lease == 0 {
            return Err(CommitError {
                message: "etcd: this proxy is no member yet".to_owned(),
                source: None,
            });
        }
        for values in encoding::heard(ids).chunks(SLOTS) {
            let put = |value: &bytes::Bytes| {
                let slot = self.slot.fetch_add(1, Ordering::Relaxed) % SLOTS;
                Op::put(self.keys.heard(&self.author.name, slot), value.clone(), lease)
            };
            let question = TxnRequest {
                success: values.iter().map(put).collect(),
                ..TxnRequest::default()
            };
            let told: Result<TxnResponse, Fault> = self.ask(path::TXN, &question).await;
            if let Err(fault) = told {
                if matches!(
                    fault,
                    Fault::Refused {
                        code: code::NOT_FOUND,
                        ..
                    }
                ) {
                    // The lease has run out, which this proxy has yet to find.
                    self.rejoin.notify_one();
                }
                return Err(self.commit_error(&fault));
            }
        }
        Ok(())
    }
}

fn first(response: &ResponseOp) -> Option<&KeyValue> {
    response.range.as_ref()?.kvs.first()
}

/// The first of each id: a transaction writes a key once.
fn distinct(held: &[Held]) -> Vec<&Held> {
    let mut seen = std::collections::HashSet::with_capacity(held.len());
    held.iter().filter(|held| seen.insert(&held.id)).collect()
}
