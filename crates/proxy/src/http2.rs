//! What both sides of the proxy share of HTTP/2: a body as it comes, a body as it leaves, the pings that find out
//! whether the peer is there, the count of what a client's frames cost, the requests that are served on its connection,
//! and the gathering of what is written to it.
//!
//! The framing is the `h2` crate's. It is used without hyper in between, which would hide what a proxy must know:
//! why a stream ended, how many the peer takes, and when a request's place is free again.

pub(crate) mod flood;
pub(crate) mod frames;
pub(crate) mod gather;
pub(crate) mod interim;
pub(crate) mod keep_alive;
pub(crate) mod pump;
pub(crate) mod receive;
pub(crate) mod sections;
pub(crate) mod served;
pub(crate) mod websocket;

use std::net::IpAddr;

use h2::Reason;

/// Why a client's connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Breach {
    /// It has sent too much of something.
    Flooded(flood::Flooded),
    /// It has sent a frame that is none.
    Malformed(Reason),
}

impl Breach {
    /// What the client is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Flooded(_) => Reason::ENHANCE_YOUR_CALM,
            Self::Malformed(reason) => reason,
        }
    }

    /// Where it is in [`BREACHES`](crate::BREACHES).
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::Flooded(flood::Flooded::Resets) => 0,
            Self::Flooded(flood::Flooded::Control) => 1,
            Self::Malformed(_) => 2,
        }
    }

    pub(crate) fn log(self, client: IpAddr) {
        match self {
            Self::Flooded(flooded) => {
                tracing::info!(%client, ?flooded, "a client floods its connection, which is closed");
            }
            Self::Malformed(reason) => tracing::debug!(%client, %reason, "a client's frame is malformed"),
        }
    }
}
