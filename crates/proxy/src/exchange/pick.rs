//! Picking a backend for an attempt: the balancer proposes, the endpoint's meter decides.

use std::sync::Arc;

use edgeproxy_backend::{Admission, Endpoint, InFlight, Incarnation, MonoTime, Protocol, Refusal};
use edgeproxy_balance::{Claim, Client, Explanation, LastResort, PickError};

use crate::exchange::decision::Told;
use crate::exchange::queue::Returned;
use crate::worker::clock;
use crate::{AppRoute, Queue};

/// A place, and behind it whoever waits for it to be given back.
pub(crate) struct Taken {
    pub(crate) place: InFlight,
    /// On what grounds it was given, if the client is to be told.
    pub(crate) told: Option<Told>,
    /// Below the place, so that it is dropped after it.
    _returned: Returned,
}

impl Taken {
    /// `queue` is the one of the place's app.
    pub(crate) fn new(place: InFlight, queue: Arc<Queue>) -> Self {
        Self {
            place,
            told: None,
            _returned: Returned(queue),
        }
    }
}

/// What a client's side speaks, which decides who can take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// Requests, which are sent as whatever the backend speaks.
    Http,
    /// Requests for another protocol on the same connection, which is HTTP/1.1's to ask for.
    Upgrade,
    /// Bytes that nobody looks at. Everybody takes those.
    Tcp,
}

impl Front {
    fn is_spoken_by(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Http1 | Protocol::Https => true,
            Protocol::H2c => self != Self::Upgrade,
            Protocol::Tcp => self == Self::Tcp,
        }
    }
}

/// Takes a place on a backend of `app` for a request (or a connection) that has been `tried` on some already, the latest last.
///
/// One that was tried is not tried again while another is there; the one that has just failed is not tried
/// again at all, since with one backend only there is nothing to retry on.
pub(crate) fn pick(
    app: &AppRoute,
    front: Front,
    client: Client,
    now: MonoTime,
    mut entropy: impl FnMut() -> u64,
    tried: &[Incarnation],
) -> Result<InFlight, PickError> {
    let attempt = |admission, skipped: &[Incarnation]| {
        app.balancer.pick(&client, now, entropy(), |endpoint| {
            claim(endpoint, front, skipped, || endpoint.admit(admission))
        })
    };
    decide(app, tried, attempt, |decided| decided.as_ref().err().copied())
}

/// [`pick`] for a request whose client may be told of it.
pub(crate) fn take(
    app: &AppRoute,
    front: Front,
    client: Client,
    now: MonoTime,
    mut entropy: impl FnMut() -> u64,
    tried: &[Incarnation],
) -> Result<Taken, PickError> {
    // Without the header this is all there is to it.
    if app.decision_percent == 0 || entropy() % 100 >= u64::from(app.decision_percent) {
        let place = pick(app, front, client, now, entropy, tried)?;
        return Ok(Taken::new(place, Arc::clone(&app.queue)));
    }
    let attempt = |admission, skipped: &[Incarnation]| {
        let claim = |endpoint: &Arc<Endpoint>| claim(endpoint, front, skipped, || endpoint.admit(admission));
        let picked = app.balancer.pick_told(&client, now, entropy(), claim);
        picked.map(|(place, grounds)| (place, Told { grounds, admission }))
    };
    let (place, told) = decide(app, tried, attempt, |decided| decided.as_ref().err().copied())?;
    Ok(Taken {
        told: Some(told),
        ..Taken::new(place, Arc::clone(&app.queue))
    })
}

impl AppRoute {
    /// What the next HTTP request of such a client would be told, and why: the decision of a request, but nobody
    /// is admitted and nobody's turn is taken.
    #[must_use]
    pub fn explain(&self, client: Client, entropy: u64) -> Explanation {
        let attempt = |admission, skipped: &[Incarnation]| {
            self.balancer
                .explain_with(&client, clock::now(), entropy, |endpoint| {
                    claim(endpoint, Front::Http, skipped, || endpoint.would_admit(admission))
                })
        };
        decide(self, &[], attempt, |explanation| explanation.error)
    }
}

fn decide<R>(
    app: &AppRoute,
    tried: &[Incarnation],
    attempt: impl FnMut(Admission, &[Incarnation]) -> R,
    error: impl Fn(&R) -> Option<PickError>,
) -> R {
    let last_resort = if app.settings.last_resort {
        LastResort::Used
    } else {
        LastResort::Unused
    };
    app.balancer.by_admission(last_resort, tried, attempt, error)
}

fn claim<L>(
    endpoint: &Endpoint,
    front: Front,
    skipped: &[Incarnation],
    admit: impl FnOnce() -> Result<L, Refusal>,
) -> Claim<L> {
    // To send a backend what it doesn't speak would count as its failure.
    if front.is_spoken_by(endpoint.protocol) {
        Claim::of(endpoint, skipped, admit)
    } else if skipped.contains(&endpoint.incarnation) {
        Claim::Skip
    } else {
        Claim::Shut
    }
}

#[cfg(test)]
mod tests;
