//! The half that knows nothing of Pingora: who may be picked, and what has become of it. It would be the same in any
//! other proxy.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use edgeproxy_backend::{Admission, AppName, Endpoint, InFlight, Incarnation, Refusal};
use edgeproxy_balance::{Algorithm, Balancer, Barred, Candidate, Claim, Client, PickError, Policy};
use edgeproxy_control::{Handle, ReportSender};
use edgeproxy_registry::{Member, Snapshot};

/// The backends of one app: published by the registry, picked from by every request, on any thread.
pub(crate) struct Fleet {
    app: AppName,
    policy: Policy,
    /// Requests in a row that fail until a backend is out.
    max_failures: u32,
    balancer: ArcSwap<Balancer<Arc<Endpoint>>>,
    handle: Handle,
    reports: ReportSender,
}

/// One attempt of a request on a backend. It counts as in flight until it is dropped, so it lives as long as the request
/// does, to the end of the answer's body.
pub(crate) struct Attempt {
    place: InFlight,
    begun: Instant,
    /// It is told once: an answer that breaks off after its head was a success all the same.
    is_told: bool,
}

impl Fleet {
    /// One without backends, until [`publish`](Self::publish) brings them.
    pub(crate) fn new(app: AppName, max_failures: u32, handle: Handle, reports: ReportSender) -> Self {
        let policy = Policy {
            algorithm: Algorithm::LeastConnections,
            ..Policy::default()
        };
        let nobody = Balancer::prepare(&policy, Vec::new(), handle.now(), None);
        Self {
            app,
            policy,
            max_failures,
            balancer: ArcSwap::from_pointee(nobody),
            handle,
            reports,
        }
    }

    /// Puts in force what the registry says. All that can be decided before a request is decided here.
    pub(crate) fn publish(&self, snapshot: &Snapshot) {
        let members = snapshot.apps.get(&self.app).map_or(&[][..], |app| &app.members);
        let candidates = members.iter().map(candidate).collect();
        let before = self.balancer.load();
        let balancer = Balancer::prepare(&self.policy, candidates, self.handle.now(), Some(&before));
        self.balancer.store(Arc::new(balancer));
    }

    /// Takes a place on a backend that was not tried yet.
    ///
    /// # Errors
    /// Everybody is out, full, or was tried.
    pub(crate) fn take(&self, tried: &[Incarnation]) -> Result<Attempt, PickError> {
        let claim = |endpoint: &Arc<Endpoint>| {
            if tried.contains(&endpoint.incarnation) {
                return Claim::Skip;
            }
            match endpoint.admit(Admission::Regular) {
                Ok(place) => Claim::Granted(place),
                Err(Refusal::Full) => Claim::Full,
                Err(Refusal::Shut | Refusal::OnTrial) => Claim::Shut,
            }
        };
        let (client, now) = (Client::default(), self.handle.now());
        let place = self
            .balancer
            .load()
            .pick(&client, now, fastrand::u64(..), claim)?;
        Ok(Attempt {
            place,
            begun: Instant::now(),
            is_told: false,
        })
    }

    /// The head of an answer has come, whatever its status.
    pub(crate) fn answered(&self, attempt: &mut Attempt) {
        if !std::mem::replace(&mut attempt.is_told, true) {
            let signal = attempt
                .place
                .succeeded(attempt.begun.elapsed(), self.handle.now());
            // Only the success of a trial is news.
            signal
                .into_iter()
                .for_each(|signal| self.reports.send(attempt.place.report(signal)));
        }
    }

    /// No answer will come. With the last of so many failures in a row the backend is out for the very next pick, on
    /// every thread; the registry hears of it and decides for how long.
    pub(crate) fn failed(&self, attempt: &mut Attempt) {
        if !std::mem::replace(&mut attempt.is_told, true) {
            let signal = attempt.place.failed(self.max_failures, self.handle.now());
            signal
                .into_iter()
                .for_each(|signal| self.reports.send(attempt.place.report(signal)));
        }
    }
}

impl Attempt {
    /// Where it goes.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        self.place.endpoint()
    }

    /// Whether what has become of it is known.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }
}

/// What the registry says of a backend, in the balancer's words.
fn candidate(member: &Member) -> Candidate<Arc<Endpoint>> {
    let reason = || format!("{}: {}", member.state, member.reason).into_boxed_str();
    let excluded = (!member.state.takes_traffic()).then(|| Barred::Firm(reason()));
    Candidate {
        fallback: member.endpoint.fallback,
        excluded,
        since: member.since,
        load: member.load,
        ..Candidate::new(Arc::clone(&member.endpoint))
    }
}
