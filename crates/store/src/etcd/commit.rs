//! Writes become transactions.
//!
//! Each is fenced by the revision at which its key was last known to have changed. One whose fence has fallen reads
//! what is there, and is either void, because a later life is there or has been, or tried again with what was read.

use std::collections::HashMap;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Record, Write};

use super::client::path;
use super::encoding;
use super::grpc::{Fault, code};
use super::message::{
    Compare, DeleteRangeRequest, KeyValue, Op, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
};
use super::session::Session;
use crate::CommitError;

/// etcd takes 128 operations in each branch of a transaction, unless it is told otherwise (`--max-txn-ops`).
const OPS_MAX: usize = 120;
/// etcd takes requests of 1.5 MiB (`--max-request-bytes`).
const BYTES_MAX: usize = 1 << 20;
/// How often one transaction is tried while others change the same keys.
const ROUNDS_MAX: usize = 16;

/// A write with all that it puts on the wire.
struct Planned {
    write: Write,
    key: Bytes,
    /// What is put; `None`: the key is deleted.
    value: Option<Bytes>,
}

impl Session {
    pub(super) async fn commit(&self, writes: &[Write]) -> Result<(), CommitError> {
        if self.is_displaced() {
            return Err(CommitError {
                message: displaced(self.author.name.as_str()),
                source: None,
            });
        }
        let failed = |fault: Fault| self.commit_error(&fault);
        let planned = self.plan(latest(writes));
        let highest = planned.iter().filter_map(registered).max();
        if let Some(highest) = highest {
            self.reserve(highest).await.map_err(failed)?;
        }
        let mut rest = planned.into_iter().peekable();
        while rest.peek().is_some() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(next) =
                rest.next_if(|next| batch.len() < OPS_MAX && (bytes == 0 || bytes + next.size() <= BYTES_MAX))
            {
                bytes += next.size();
                batch.push(next);
            }
            self.transact(batch).await.map_err(failed)?;
        }
        Ok(())
    }

    fn plan(&self, writes: Vec<&Write>) -> Vec<Planned> {
        let plan = |write: &Write| {
            let (key, value) = match write {
                Write::Registered(record) => (
                    self.keys.backend(&record.backend.id),
                    Some(encoding::backend(record, &self.author)),
                ),
                Write::Gone { id, .. } => (self.keys.backend(id), None),
                Write::Overridden(overridden) => (
                    self.keys.overrides(&overridden.id),
                    overridden
                        .is_some()
                        .then(|| encoding::overrides(overridden, self.author.start)),
                ),
            };
            Planned {
                write: write.clone(),
                key,
                value: value.map(Bytes::from),
            }
        };
        writes.into_iter().map(plan).collect()
    }

    async fn transact(&self, mut batch: Vec<Planned>) -> Result<(), Fault> {
        for _ in 0..ROUNDS_MAX {
            batch.retain(|planned| !self.is_void(planned));
            if batch.is_empty() {
                return Ok(());
            }
            let question = self.transaction(&batch);
            let deletions = Deletions::begin(self, &batch);
            let answer: TxnResponse = self.ask(path::TXN, &question).await?;
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            if answer.succeeded {
                self.note(&batch, revision);
                return Ok(());
            }
            drop(deletions);
            self.look_again(&mut batch, &answer);
        }
        Err(Fault::Unreachable(format!(
            "others changed the same backends {ROUNDS_MAX} times meanwhile"
        )))
    }

    /// Whether a later life is known, or that its own has ended; then the caller is told by an update.
    fn is_void(&self, planned: &Planned) -> bool {
        let mut mirror = self.mirror();
        let id = planned.write.id();
        match &planned.write {
            Write::Registered(record) => match mirror.last_life(id) {
                Some(incarnation) if incarnation >= record.incarnation && mirror.backend(id).is_none() => {
                    let id = id.clone();
                    mirror.answer(Write::Gone { id, incarnation });
                    true
                }
                _ => false,
            },
            Write::Gone { .. } | Write::Overridden(_) => false,
        }
    }

    fn transaction(&self, batch: &[Planned]) -> TxnRequest {
        let mirror = self.mirror();
        let mut question = TxnRequest::default();
        for planned in batch {
            let key = planned.key.clone();
            let is_fenced = !matches!(planned.write, Write::Overridden(_));
            if is_fenced {
                let known = mirror.backend(planned.write.id());
                let outlived = known.and_then(|known| known.incarnation) > life(&planned.write);
                // A later life is known: the comparison has to fail, so that it is read and told.
                let revision = if outlived {
                    i64::MAX
                } else {
                    known.map_or(0, |known| known.revision)
                };
                question.compare.push(Compare::unchanged(key.clone(), revision));
                question.failure.push(op(Op::Range(RangeRequest {
                    key: key.clone(),
                    ..RangeRequest::default()
                })));
            }
            question.success.push(op(match &planned.value {
                Some(value) => Op::Put(PutRequest {
                    key,
                    value: value.clone(),
                    lease: 0,
                }),
                None => Op::Delete(DeleteRangeRequest { key }),
            }));
        }
        question
    }

    fn note(&self, batch: &[Planned], revision: i64) {
        let mut mirror = self.mirror();
        for planned in batch {
            match &planned.write {
                Write::Registered(record) => mirror.wrote(record, revision),
                Write::Gone { id, incarnation } => mirror.erased(id, *incarnation, revision),
                Write::Overridden(overridden) => mirror.set(overridden, revision),
            }
        }
    }

    /// Takes what was found, and leaves of the batch what is still to be written.
    fn look_again(&self, batch: &mut Vec<Planned>, answer: &TxnResponse) {
        let mut found = answer.responses.iter().map(|response| {
            let range = response.range.as_ref();
            range.and_then(|range| range.kvs.first())
        });
        let mut mirror = self.mirror();
        batch.retain(|planned| {
            if matches!(planned.write, Write::Overridden(_)) {
                return true;
            }
            let there: Option<&KeyValue> = found.next().flatten();
            let id = planned.write.id();
            let before = mirror.backend(id);
            let stored = mirror.found(id, there);
            let Some(ours) = life(&planned.write) else {
                return true;
            };
            match (stored, before.and_then(|known| known.incarnation)) {
                (Some(stored), _) if stored.record.incarnation > ours => {
                    mirror.answer(Write::Registered(stored.record));
                    false
                }
                // It is there as it was to be: an answer to this very transaction was lost.
                (Some(stored), _) => {
                    let is_done =
                        stored.author == self.author && planned.write == Write::Registered(stored.record);
                    !is_done
                }
                // That life was there, and somebody has ended it.
                (None, Some(last)) if there.is_none() && last >= ours => {
                    mirror.erased(id, last, i64::MAX);
                    if matches!(planned.write, Write::Registered(_)) {
                        let id = id.clone();
                        mirror.answer(Write::Gone {
                            id,
                            incarnation: last,
                        });
                    }
                    false
                }
                // Nobody is there, so that nobody has to go.
                (None, _) => there.is_some() || matches!(planned.write, Write::Registered(_)),
            }
        });
    }

    fn commit_error(&self, fault: &Fault) -> CommitError {
        let members = self.client.settings().address.members();
        let message = match fault {
            Fault::Unreachable(what) => format!("etcd at {members} can't be reached: {what}"),
            Fault::Refused { code, message } if *code == code::RESOURCE_EXHAUSTED => format!(
                "etcd at {members} is full: {message}; compact and defragment it, or raise --quota-backend-bytes, and disarm its alarm"
            ),
            Fault::Refused { message, .. } => format!("etcd at {members} refuses a transaction: {message}"),
        };
        CommitError {
            message,
            source: None,
        }
    }
}

/// Keys that are being deleted, until that is over, however it ends.
struct Deletions<'a> {
    session: &'a Session,
    keys: Vec<Bytes>,
}

impl<'a> Deletions<'a> {
    fn begin(session: &'a Session, batch: &[Planned]) -> Self {
        let deleted = batch.iter().filter(|planned| planned.value.is_none());
        let keys: Vec<_> = deleted.map(|planned| planned.key.clone()).collect();
        session.mirror().begin_deletions(&keys);
        Self { session, keys }
    }
}

impl Drop for Deletions<'_> {
    fn drop(&mut self) {
        self.session.mirror().end_deletions(&self.keys);
    }
}

impl Planned {
    /// About the bytes that it adds to a request: the key comes three times.
    fn size(&self) -> usize {
        64 + 3 * self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// The last write of each id and kind, in the order of those.
fn latest(writes: &[Write]) -> Vec<&Write> {
    let kind = |write: &Write| matches!(write, Write::Overridden(_));
    let mut last: HashMap<(&BackendId, bool), usize> = HashMap::with_capacity(writes.len());
    for (at, write) in writes.iter().enumerate() {
        let best = last.entry((write.id(), kind(write))).or_insert(at);
        // An older life after a later one is void.
        if life(write) >= writes.get(*best).and_then(life) {
            *best = at;
        }
    }
    let mut order: Vec<_> = last.into_values().collect();
    order.sort_unstable();
    order.into_iter().filter_map(|at| writes.get(at)).collect()
}

const fn life(write: &Write) -> Option<Incarnation> {
    match write {
        Write::Registered(Record { incarnation, .. }) | Write::Gone { incarnation, .. } => Some(*incarnation),
        Write::Overridden(_) => None,
    }
}

const fn registered(planned: &Planned) -> Option<Incarnation> {
    match &planned.write {
        Write::Registered(record) => Some(record.incarnation),
        Write::Gone { .. } | Write::Overridden(_) => None,
    }
}

const fn op(op: Op) -> RequestOp {
    RequestOp { request: Some(op) }
}

pub(super) fn displaced(name: &str) -> String {
    format!(
        "another proxy that is called {name:?} too has started; this one shares nothing any more: give each a name of its own"
    )
}
