//! Who gets a request that has been tried before.

use std::sync::Arc;

use edgeproxy_backend::{Admission, Endpoint, InFlight, Incarnation};

use super::fleet::{ANYONE, NOW, plain};
use super::reported::endpoint;
use crate::{Algorithm, Balancer, Candidate, Claim, LastResort, PickError, Target as _};

fn balancer(endpoints: &[Arc<Endpoint>]) -> Balancer<Arc<Endpoint>> {
    let candidates = endpoints.iter().cloned().map(Candidate::new).collect();
    Balancer::prepare(&plain(Algorithm::RoundRobin), candidates, NOW, None)
}

fn placed(
    balancer: &Balancer<Arc<Endpoint>>,
    last_resort: LastResort,
    tried: &[Incarnation],
    entropy: u64,
) -> Result<InFlight, PickError> {
    balancer.by_admission(
        last_resort,
        tried,
        |admission, without| {
            balancer.pick(&ANYONE, NOW, entropy, |endpoint: &Arc<Endpoint>| {
                Claim::of(endpoint, without, || endpoint.admit(admission))
            })
        },
        |outcome| outcome.as_ref().err().copied(),
    )
}

#[test]
fn where_all_have_been_tried_any_but_the_latest_is_tried_again() {
    let endpoints = [endpoint(1), endpoint(2), endpoint(3)];
    let lives = [0, 1, 2].map(|at| endpoints[at].incarnation);
    let balancer = balancer(&endpoints);
    for last_resort in [LastResort::Used, LastResort::Unused] {
        for entropy in 0..20 {
            let untried = placed(&balancer, last_resort, &lives[..2], entropy).unwrap();
            assert_eq!(untried.endpoint().incarnation, lives[2], "one has not been tried");
            let again = placed(&balancer, last_resort, &lives, entropy).unwrap();
            assert_ne!(again.endpoint().incarnation, lives[2], "it has just failed there");
        }
    }
}

#[test]
fn the_only_one_is_not_tried_again_at_once() {
    let endpoints = [endpoint(1)];
    let error = placed(
        &balancer(&endpoints),
        LastResort::Used,
        &[endpoints[0].incarnation],
        0,
    );
    assert_eq!(error.unwrap_err(), PickError::Exhausted);
}

#[test]
fn an_endpoint_says_what_others_have_in_flight_on_it() {
    let endpoint = endpoint(1);
    endpoint.meter.set_elsewhere(7);
    let _here = endpoint.admit(Admission::Regular).unwrap();
    let target: &Endpoint = &endpoint;
    assert_eq!((target.in_flight(), target.elsewhere()), (1, 7));
}
