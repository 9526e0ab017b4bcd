//! A `tower::Service` over the services of many backends, for the examples that need one: it picks, counts until the
//! body's end, and tells the ledgers.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use arc_swap::ArcSwap;
use edgeproxy_backend::{
    Admission, AppName, Country, Endpoint, InFlight, Incarnation, Limits, Meter, Refusal, Region, Signal,
};
use edgeproxy_balance::{Balancer, Barred, Candidate, Claim, Client, PickError, Policy, Target};
use edgeproxy_control::{Handle, ReportSender};
use edgeproxy_registry::{Member, Snapshot};
use http::{Request, Response, response};
use http_body::{Body, Frame, SizeHint};
use tower::{BoxError, Service};

/// How an app's requests are spread, and what fails one.
pub(crate) struct Terms {
    /// The app.
    pub(crate) app: AppName,
    /// How its members are picked.
    pub(crate) policy: Policy,
    /// Requests in a row that fail until one is out.
    pub(crate) max_failures: u32,
    /// Whether an answer is a failure, by its head.
    pub(crate) is_failure: fn(&response::Parts) -> bool,
}

/// Sends each request to one of its members. Cheap to clone, and a clone is the same.
pub(crate) struct Balanced<S>(Arc<Shared<S>>);

struct Shared<S> {
    terms: Terms,
    balancer: ArcSwap<Balancer<Reached<S>>>,
    handle: Handle,
    reports: ReportSender,
}

/// A backend and the service that reaches it: what is picked is of one's own type, so the two can't come apart.
struct Reached<S> {
    endpoint: Arc<Endpoint>,
    service: S,
}

impl<S> Target for Reached<S> {
    fn key(&self) -> u64 {
        self.endpoint.key()
    }

    fn identity(&self) -> u64 {
        self.endpoint.identity()
    }

    fn weight(&self) -> u16 {
        Target::weight(&*self.endpoint)
    }

    fn limits(&self) -> Limits {
        Target::limits(&*self.endpoint)
    }

    fn in_flight(&self) -> u32 {
        self.endpoint.in_flight()
    }

    // What the endpoint has in flight, and how soon it is expected to answer, the balancer reads here.
    fn meter(&self) -> Option<&Arc<Meter>> {
        Some(&self.endpoint.meter)
    }

    fn region(&self) -> Region {
        Target::region(&*self.endpoint)
    }

    fn country(&self) -> Country {
        Target::country(&*self.endpoint)
    }
}

/// Makes the services of new members, and puts in force who there is. What `tower::discover` would stream comes as a whole
/// here: a snapshot can't be half applied.
pub(crate) struct Membership<S, M> {
    balanced: Balanced<S>,
    connect: M,
    /// Kept by incarnation: a backend that was changed keeps its connections, one that came back has none.
    services: Mutex<HashMap<Incarnation, S>>,
}

/// A service without members, and what brings them.
pub(crate) fn balanced<S, M>(
    terms: Terms,
    handle: Handle,
    reports: ReportSender,
    connect: M,
) -> (Balanced<S>, Membership<S, M>)
where
    M: Fn(&Endpoint) -> S,
{
    let nobody = Balancer::prepare(&terms.policy, Vec::new(), handle.now(), None);
    let balanced = Balanced(Arc::new(Shared {
        terms,
        balancer: ArcSwap::from_pointee(nobody),
        handle,
        reports,
    }));
    let membership = Membership {
        balanced: balanced.clone(),
        connect,
        services: Mutex::default(),
    };
    (balanced, membership)
}

impl<S: Clone, M: Fn(&Endpoint) -> S> Membership<S, M> {
    /// Goes over to what the registry says.
    pub(crate) fn publish(&self, snapshot: &Snapshot) {
        let shared = &self.balanced.0;
        let members = snapshot
            .apps
            .get(&shared.terms.app)
            .map_or(&[][..], |app| &app.members);
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|known, _| members.iter().any(|member| member.endpoint.incarnation == *known));
        let candidates = members.iter().map(|member| {
            let endpoint = Arc::clone(&member.endpoint);
            let service = services.entry(endpoint.incarnation);
            let service = service.or_insert_with(|| (self.connect)(&endpoint)).clone();
            candidate(member, Reached { endpoint, service })
        });
        let before = shared.balancer.load();
        let (policy, now) = (&shared.terms.policy, shared.handle.now());
        let balancer = Balancer::prepare(policy, candidates.collect(), now, Some(&before));
        shared.balancer.store(Arc::new(balancer));
    }
}

fn candidate<T>(member: &Member, target: T) -> Candidate<T> {
    let reason = || format!("{}: {}", member.state, member.reason).into_boxed_str();
    Candidate {
        fallback: member.endpoint.fallback,
        excluded: (!member.state.takes_traffic()).then(|| Barred::Firm(reason())),
        since: member.since,
        load: member.load,
        ..Candidate::new(target)
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BalanceError {
    /// Nobody could have it. `AllFull` is for whoever is above to wait out, or to shed.
    #[error(transparent)]
    Unpicked(#[from] PickError),
    /// The member's service failed.
    #[error("the backend gave no answer")]
    Failed(#[source] BoxError),
}

impl<S, B, R> Service<Request<B>> for Balanced<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: Send + 'static,
{
    type Response = Response<Counted<R>>;
    type Error = BalanceError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always. tower's own balancer picks here, before it has seen the request; whoever hashes a key, or knows where the
    /// client is, can't.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let (place, mut service) = shared.take()?;
            let begun = Instant::now();
            let answered = async {
                std::future::poll_fn(|context| service.poll_ready(context)).await?;
                service.call(request).await
            };
            match answered.await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let now = shared.handle.now();
                    let signal = if (shared.terms.is_failure)(&head) {
                        place.failed(shared.terms.max_failures, now)
                    } else {
                        place.succeeded(begun.elapsed(), now)
                    };
                    shared.tell(&place, signal);
                    let place = Some(place);
                    Ok(Response::from_parts(head, Counted { body, place }))
                }
                Err(error) => {
                    let signal = place.failed(shared.terms.max_failures, shared.handle.now());
                    shared.tell(&place, signal);
                    Err(BalanceError::Failed(error.into()))
                }
            }
            // A caller that goes away before drops the future, and with it the place: neither a success nor a failure.
        })
    }
}

impl<S: Clone> Shared<S> {
    /// A place on a member, which nobody else can have taken in between, and its service.
    fn take(&self) -> Result<(InFlight, S), PickError> {
        let claim = |member: &Reached<S>| match member.endpoint.admit(Admission::Regular) {
            Ok(place) => Claim::Granted((place, member.service.clone())),
            Err(Refusal::Full) => Claim::Full,
            Err(Refusal::Shut | Refusal::OnTrial) => Claim::Shut,
        };
        let (client, now) = (Client::default(), self.handle.now());
        self.balancer.load().pick(&client, now, fastrand::u64(..), claim)
    }

    /// Most outcomes are no news for the registry.
    fn tell(&self, place: &InFlight, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.reports.send(place.report(signal));
        }
    }
}

impl<S> Clone for Balanced<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A body that holds its request's place until it has come to its end, or nobody wants the rest.
pub(crate) struct Counted<B> {
    body: B,
    place: Option<InFlight>,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
