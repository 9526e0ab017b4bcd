//! Writes become transactions.
//!
//! Each is fenced by the revision at which its key was last known to have changed. One whose fence has fallen reads
//! what is there, and is either void, because a later life is there or has been, or tried again with what was read.

use std::collections::HashMap;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Record, Write};

use super::encoding;
use super::grpc::{Fault, code};
use super::message::{Compare, KeyValue, Op, RequestOp, ResponseOp};
use super::sequence::{Outcome, ROUNDS_MAX, Step, What};
use super::session::Session;
use crate::CommitError;

/// etcd takes 128 operations in each branch of a transaction, unless it is told otherwise (`--max-txn-ops`).
pub(super) const OPS_MAX: usize = 120;
/// etcd takes requests of 1.5 MiB (`--max-request-bytes`).
const BYTES_MAX: usize = 1 << 20;

/// A write, and how it is done.
struct Planned {
    write: Write,
    step: Step,
}

impl Session {
    pub(super) async fn commit(&self, writes: &[Write]) -> Result<(), CommitError> {
        self.check_name()?;
        let failed = |fault: Fault| self.commit_error(&fault);
        let planned = self.plan(latest(writes));
        let highest = planned.iter().filter_map(registered).max();
        if let Some(highest) = highest {
            self.reserve(highest).await.map_err(failed)?;
        }
        // From its end, so that nothing is moved twice.
        let mut rest = planned;
        rest.reverse();
        while !rest.is_empty() {
            let fitting = fitting(rest.iter().rev().map(|planned| &planned.step));
            let mut batch = rest.split_off(rest.len().saturating_sub(fitting));
            batch.reverse();
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
                step: Step {
                    what: What::Committed(write.clone()),
                    key,
                    value: value.map(Bytes::from),
                },
            }
        };
        writes.into_iter().map(plan).collect()
    }

    async fn transact(&self, mut batch: Vec<Planned>) -> Result<(), Fault> {
        let _under_way = UnderWay::begin(self, &batch);
        let mut sequence = self.sequence.lock().await;
        for _ in 0..ROUNDS_MAX {
            self.settle(&mut sequence).await?;
            batch.retain(|planned| !self.is_void(planned));
            if batch.is_empty() {
                return Ok(());
            }
            let (fences, reads) = self.fences(&batch);
            let steps = batch.iter().map(|planned| planned.step.clone()).collect();
            match self.attempt(&mut sequence, steps, fences, reads).await? {
                Outcome::Done => return Ok(()),
                Outcome::Again => {}
                Outcome::Fenced(found, revision) => self.look_again(&mut batch, &found, revision),
            }
        }
        Err(Fault::Unreachable(format!(
            "others changed the same backends {ROUNDS_MAX} times meanwhile"
        )))
    }

    /// Whether it is known that its life has ended; then the caller is told by an update.
    fn is_void(&self, planned: &Planned) -> bool {
        let mut mirror = self.mirror();
        let id = planned.write.id();
        match &planned.write {
            Write::Registered(record)
                if mirror.last_life(id) >= Some(record.incarnation) && mirror.backend(id).is_none() =>
            {
                mirror.answer_buried(id);
                true
            }
            Write::Registered(_) | Write::Gone { .. } | Write::Overridden { .. } => false,
        }
    }

    /// What must be so, and what is read if it is not.
    fn fences(&self, batch: &[Planned]) -> (Vec<Compare>, Vec<RequestOp>) {
        let mirror = self.mirror();
        let is_fenced = |planned: &&Planned| !matches!(planned.write, Write::Overridden { .. });
        let fence = |planned: &Planned| {
            let key = planned.step.key.clone();
            let known = mirror.backend(planned.write.id());
            let there = known.and_then(|known| known.life.as_ref()).map(|(life, _)| *life);
            // A later life is known: the comparison has to fail, so that it is read and told.
            let revision = if there > life(&planned.write) {
                i64::MAX
            } else {
                known.map_or(0, |known| known.revision)
            };
            (Compare::unchanged(key.clone(), revision), Op::read(key))
        };
        batch.iter().filter(is_fenced).map(fence).unzip()
    }

    /// Takes what was found, and leaves of the batch what is still to be written.
    fn look_again(&self, batch: &mut Vec<Planned>, found: &[ResponseOp], revision: i64) {
        let mut found = found.iter().map(|response| {
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
            let before = mirror.backend(id).and_then(|known| known.life.as_ref());
            let before = before.map(|(incarnation, _)| *incarnation);
            let stored = mirror.found(id, there, revision);
            let Some(ours) = life(&planned.write) else {
                return true;
            };
            match (stored, before) {
                (Some(stored), _) if stored.record.incarnation > ours => {
                    let revision = there.map_or(revision, |kv| kv.mod_revision);
                    mirror.answer(stored, revision);
                    false
                }
                (Some(_), _) => true,
                // That life was there, and somebody has ended it.
                (None, Some(last)) if there.is_none() && last >= ours => {
                    if matches!(planned.write, Write::Registered(_)) {
                        mirror.answer_gone(id, last, revision);
                    } else {
                        mirror.erased(id, last, revision);
                    }
                    false
                }
                // Nobody is there, so that nobody has to go.
                (None, _) => there.is_some() || matches!(planned.write, Write::Registered(_)),
            }
        });
    }

    /// # Errors
    /// When another proxy has this one's name.
    pub(super) fn check_name(&self) -> Result<(), CommitError> {
        if !self.is_displaced() {
            return Ok(());
        }
        Err(CommitError {
            message: displaced(self.author.name.as_str()),
            source: None,
        })
    }

    pub(super) fn commit_error(&self, fault: &Fault) -> CommitError {
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

/// The keys of a commit, until it is over, however it ends.
struct UnderWay<'a> {
    session: &'a Session,
    keys: Vec<Bytes>,
}

impl<'a> UnderWay<'a> {
    fn begin(session: &'a Session, batch: &[Planned]) -> Self {
        let keys: Vec<_> = batch.iter().map(|planned| planned.step.key.clone()).collect();
        session.mirror().begin(&keys);
        Self { session, keys }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.session.mirror().end(&self.keys);
    }
}

/// How many of these fit into one transaction; one at least.
pub(super) fn fitting<'a>(steps: impl Iterator<Item = &'a Step>) -> usize {
    let mut bytes = 0;
    let fits = |step: &&Step| {
        bytes += step.size();
        bytes <= BYTES_MAX
    };
    steps.take(OPS_MAX).take_while(fits).count().max(1)
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

pub(super) fn displaced(name: &str) -> String {
    format!(
        "another proxy that is called {name:?} too has started; this one shares nothing any more: give each a name of its own"
    )
}
