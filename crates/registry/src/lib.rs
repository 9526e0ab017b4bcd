//! Which backends exist and which of them may be routed to.

mod apps;
mod clock;
mod entry;
mod event;
mod events;
mod index;
mod jitter;
mod ledger;
mod message;
mod policy;
mod registry;
mod remembered;
mod slots;
mod snapshot;
mod state;
mod timers;

pub use event::{Event, EventKind};
pub use message::{
    Change, Deregistered, FencedError, LoadReport, Overrides, Pace, Patch, PatchError, Probe, RegisterError,
    Registered, RegisteredKind, Registration, Renewed,
};
pub use policy::{AppPolicy, Config, Initial, LastBackend};
pub use registry::Registry;
pub use snapshot::{AppSnapshot, Member, Page, Snapshot, Stats, Status};
pub use state::{Reason, State};
