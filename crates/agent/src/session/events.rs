use std::net::IpAddr;
use std::time::Duration;

use edgeproxy_backend::Incarnation;

/// What happened to a session. APIs are known by their place in the caller's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A registration was accepted: requests come from now on. Again after every [`Forgotten`](Self::Forgotten).
    Registered {
        /// Which API accepted it.
        api: usize,
        /// The number of this life of the backend.
        incarnation: Incarnation,
        /// The address that it is registered with, if the driver has said which.
        ip: Option<IpAddr>,
        /// How often heartbeats are sent, until the API says otherwise.
        interval: Duration,
        /// What the API did not understand.
        warnings: Vec<String>,
    },
    /// The API does not know the backend any more. It is registered again at once.
    Forgotten {
        /// Which one.
        api: usize,
    },
    /// Something goes wrong, and is tried again: told when it begins, and ever more seldom while it lasts.
    Trouble {
        /// Which API was asked.
        api: usize,
        /// What came of it, in words.
        what: String,
    },
    /// It is well again.
    Recovered {
        /// Which API is used from now on.
        api: usize,
        /// How long after the trouble began.
        after: Duration,
    },
    /// Another backend has registered under this one's id, and its heartbeats are over: this one gets no new requests.
    Superseded {
        /// Which API says so.
        api: usize,
        /// Where the other one is.
        ip: IpAddr,
        /// On which port.
        port: u16,
    },
    /// The first registration was refused, and would be again: it is over before it has begun.
    Refused {
        /// Which API refused it.
        api: usize,
        /// Why, in words.
        what: String,
    },
    /// No new requests come after a [`drain`](super::Session::drain).
    Drained,
    /// It is over.
    Left(Departure),
}

/// How a backend has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Departure {
    /// It was not registered in the first place.
    NotRegistered,
    /// It is gone, and so is everything that it had in flight.
    Gone,
    /// It is out of rotation, and its time to drain is over.
    Overdue {
        /// Requests that it still had in flight.
        in_flight: u32,
    },
    /// No API could be told. It gets requests until its lease runs out.
    Unsaid {
        /// Why, in words.
        what: String,
    },
}
