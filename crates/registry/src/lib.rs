//! Which backends exist and which of them may be routed to.

mod event;
mod message;
mod policy;
mod registry;
mod snapshot;
mod state;

pub use event::{Event, EventKind};
pub use message::{
    Change, Deregistered, FencedError, LoadReport, Overrides, Pace, Patch, PatchError, Probe, RegisterError,
    Registered, RegisteredKind, Registration, Renewed,
};
pub use policy::{AppPolicy, Config, Initial, LastBackend};
pub use registry::Registry;
pub use snapshot::{AppSnapshot, Member, Snapshot, Stats, Status};
pub use state::{Reason, State};
