//! One process takes another's place: the old one starts the new one on SIGUSR2, hands it its sockets, and leaves once
//! that serves. See [0019](../../../docs/decisions/0019-the-old-process-starts-the-new-one.md).
//!
//! ```text
//! old                                  new
//!  │ starts it, its standard input     │
//!  │ is the channel ──────────────────▶│ reads and checks its configuration
//!  │ Offer, and a Socket for each ────▶│ finds out which listener each is for, binds what is new
//!  │◀───────────────────────── Prepared│ or Refused, with the reason
//!  │ changes nothing any more          │
//!  │ State ───────────────────────────▶│ goes on from there, and accepts
//!  │◀──────────────────────────── Ready│
//!  │ tells the service manager         │
//!  │ Go ──────────────────────────────▶│ is the one
//!  │ accepts no more, drains           │
//!  │◀───────────────────────── Draining│ while a backend drains there, ten times a second at the most
//!  │ Drained ─────────────────────────▶│ counts it as done
//!  │ ends                              │
//! ```
//!
//! Until `Ready` the old one accepts as ever. Whatever goes wrong before ends the new one, and the old one goes on as if
//! nothing had been. If it is the old one that dies, the new one goes on with what it has got, as after any start.
//!
//! A backend that drains or is disabled at the new process is told of once: the old one begins no more requests there from then on, and
//! says once when those that it has have ended. A version that knows nothing of it closes the channel instead.

mod channel;
mod drains;
mod give;
mod take;

pub(crate) use drains::{answer, follow};
pub(crate) use give::{Given, Giving, give};
pub(crate) use take::{Predecessor, Taken};

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_server::Life;
use serde::{Deserialize, Serialize};

/// By what the new process knows that its standard input is the channel: the process id of the old one.
pub(crate) const VARIABLE: &str = "EDGEPROXY_HANDOVER_FROM";

/// Which messages are spoken. Another number is not understood.
const PROTOCOL: u32 = 1;

/// How long the new process may take from its start to `Ready`.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the two say to each other. A later version may add members, which this one ignores.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Message {
    /// What is to come.
    Offer {
        protocol: u32,
        version: String,
        sockets: usize,
    },
    /// A socket, which comes with it.
    Socket {
        /// Which listener it belongs to, a number of the old one's own.
        listener: usize,
        /// What that is called.
        name: String,
        /// The address as it was configured.
        asked: SocketAddr,
    },
    /// The new one could serve.
    Prepared {
        /// The listeners that it doesn't have.
        untaken: Vec<usize>,
    },
    /// The new one can't.
    Refused { reason: String },
    /// Where the new one is to go on from.
    State { state: String },
    /// The new one serves.
    Ready,
    /// The old one leaves.
    Go,
    /// These drain at the new one, or are disabled; and which of all that it has named are done?
    Draining { backends: Vec<Life> },
    /// On these the old one has nothing under way any more, and begins nothing.
    Drained { backends: Vec<Life> },
}

/// Whether the other side has ended.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
