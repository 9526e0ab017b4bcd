//! What every store promises.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Overridden, Record, Write};

use crate::ProxyName;
use crate::cluster::Owned;

/// What a store does, on whatever runtime it is awaited. Dropped halfway, it may have been done or not.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where registrations live.
pub trait Store: fmt::Debug + Send + Sync {
    /// What it is called in logs and metrics: `memory`, `file`, `etcd`.
    fn name(&self) -> &'static str;

    /// All that is kept. Damage doesn't end it: what can be read is returned, with
    /// [findings](Loaded::findings) about the rest, which is set aside.
    ///
    /// # Errors
    /// When nothing can be kept there: no permission, a folder that can't be made, another process that has it, or a
    /// server that can't be reached.
    fn load(&self) -> Task<'_, Result<Loaded, LoadError>>;

    /// Keeps all of these, in their order. Once it has resolved they survive a crash of the process and of the
    /// machine, as far as its medium does. A write for a life that is not the latest that the store knows of its id
    /// changes nothing, and is answered by an [update](Self::update).
    ///
    /// # Errors
    /// When some may not have been kept. The caller commits them again.
    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>>;

    /// Gives back what keeps other processes out, once everything that was committed is written. Until it is
    /// [loaded](Self::load) again every commit fails. Nothing where others may write as well.
    fn release(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// The next thing that somebody else has changed. Never resolves where nobody else can. May be dropped and called
    /// again: nothing is lost by it.
    fn update(&self) -> Task<'_, Update>;

    /// The distance between the incarnations that this process may give: [`Loaded::next_incarnation`], and whole strides
    /// beyond it. Where several processes share the store they differ in what is left of a number when it is divided by
    /// the stride, so that no two ever give the same, also while they can't reach each other.
    fn stride(&self) -> NonZeroU64 {
        NonZeroU64::MIN
    }

    /// What proxies that share it do by it besides; `None` where nobody else can write.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}

/// A store that several proxies write to. Each registration in it has an owner, the proxy that renews and ends its lease
/// (see [`cluster`](crate::cluster)): whoever [commits](Store::commit) it, until another one [adopts](Self::adopt) it.
///
/// Whatever is changed by these comes back as an [update](Store::update), as it does when another proxy did it; what is
/// committed doesn't.
pub trait Shared: Send + Sync {
    /// This proxy.
    fn me(&self) -> &ProxyName;

    /// Makes this proxy the owner of each of these. One that has another life or another owner by now is left alone.
    ///
    /// # Errors
    /// When some may not have been adopted.
    fn adopt<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>>;

    /// Deletes each of these registrations. One that has another life or another owner by now is left alone.
    ///
    /// # Errors
    /// When some may not have been deleted.
    fn end<'a>(&'a self, held: &'a [Held]) -> Task<'a, Result<(), CommitError>>;

    /// Tells the other proxies that these have been heard here: they get [`Update::Heard`].
    ///
    /// # Errors
    /// When they may not have been told.
    fn tell<'a>(&'a self, ids: &'a [BackendId]) -> Task<'a, Result<(), CommitError>>;

    /// Tells the others that this proxy ends, so that they needn't wait until it is missed. Nothing is shared any more.
    fn leave(&self) -> Task<'_, ()>;
}

/// One life of a backend, and who holds its lease as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The backend.
    pub id: BackendId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Who holds its lease.
    pub owner: ProxyName,
}

/// What a store has kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loaded {
    /// The backends, oldest incarnation first.
    pub records: Vec<Record>,
    /// What operators have set. Of each id once.
    pub overrides: Vec<Overridden>,
    /// Later than every incarnation that was ever committed, of backends that are gone as well.
    pub next_incarnation: Option<Incarnation>,
    /// Who holds the lease of each backend, where [several proxies](Shared) can; else empty.
    pub owned: Vec<Owned>,
    /// The proxies that are there, this one among them or not; empty where there is only this one.
    pub members: Vec<ProxyName>,
    /// What was wrong, in sentences for the log.
    pub findings: Vec<Finding>,
}

/// Something that was wrong with what was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was found, where, what became of it, and what to do.
    pub message: String,
    /// Whether something that had been acknowledged may be missing.
    pub is_loss: bool,
}

/// What somebody else has changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// One id is otherwise than this process wrote it, or than it knew it. If it is registered, [`Owned`](Self::Owned)
    /// follows.
    Changed(Write),
    /// Who holds the lease of a registration now. Alone, if nothing but that has changed.
    Owned(Owned),
    /// Another proxy has heard heartbeats of these.
    Heard(Vec<BackendId>),
    /// Another proxy is there.
    Joined(ProxyName),
    /// Another proxy is gone, or has been silent for too long.
    Parted(ProxyName),
    /// Changes were missed: this is all that is kept now.
    Resync(Loaded),
    /// The store can't be reached; what this process does is for itself until it is [back](Self::Restored).
    Lost {
        /// Why, in a sentence.
        reason: String,
    },
    /// The store can be reached again.
    Restored,
}

/// Why a store can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// What was found, where, and what to do.
    pub message: String,
    /// What the system said.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a batch may not have been kept.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CommitError {
    /// What was found, where, and what to do.
    pub message: String,
    /// What the system said.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
