use super::*;
use crate::demo::traffic::Failure;

fn good() -> Evidence {
    let ids = REGIONS.iter().flat_map(|(_, ids)| *ids);
    let served = ids
        .map(|id| {
            (
                (*id).to_owned(),
                if *id == VICTIM { [9, 9, 0] } else { [9, 9, 9] },
            )
        })
        .collect();
    let mut kill = Kill::default();
    kill.observe(Duration::from_millis(2), Some(("routable", 18)));
    kill.observe(Duration::from_millis(30), Some(("ejected", 21)));
    kill.observe(Duration::from_millis(900), Some(("unhealthy", 21)));
    kill.observe(Duration::from_millis(4_500), None);
    Evidence {
        tally: Tally {
            served,
            ..Tally::default()
        },
        kills: 1,
        kill: Some(kill),
        cut: HashSet::from([7]),
    }
}

fn faults(evidence: &Evidence) -> String {
    evidence.verdict().to_string()
}

#[test]
fn a_show_that_held_says_by_what() {
    let verdict = good().verdict();
    assert!(verdict.holds());
    assert_eq!(
        verdict.to_string(),
        "It held: 180 requests answered by eu, us and sa; eu-2 killed with 1 in flight, out of rotation within 30 ms as ejected, \
         no longer listed within 4500 ms; 0 of all requests failed."
    );
}

#[test]
fn only_a_request_in_flight_on_the_killed_one_may_fail() {
    let mut evidence = good();
    evidence.tally.failed = 1;
    evidence.tally.failures = vec![Failure {
        number: 7,
        what: "502".to_owned(),
    }];
    assert!(evidence.verdict().holds());
    evidence.tally.failures[0].number = 8;
    assert!(faults(&evidence).starts_with("It did not hold: 1 requests failed that were not in flight"));
    evidence.tally.failures.clear();
    assert!(
        !evidence.verdict().holds(),
        "a failure that was not kept is not excused"
    );
}

#[test]
fn every_claim_can_fail() {
    let mut unserved = good();
    unserved.tally.served.remove("sa-1");
    unserved.tally.served.remove("sa-2");
    assert!(faults(&unserved).contains("region sa served no request"));

    let mut stayed = good();
    stayed.kill = Some(Kill::default());
    assert!(faults(&stayed).contains("eu-2 stayed in rotation; the lease of eu-2 did not run out"));

    let mut fed = good();
    let mut kill = Kill::default();
    kill.observe(Duration::ZERO, Some(("ejected", 10)));
    kill.observe(Duration::from_millis(1), Some(("routable", 12)));
    kill.observe(Duration::from_millis(2), None);
    fed.kill = Some(kill);
    assert!(faults(&fed).contains("eu-2 was given 2 requests after it was out"));

    let mut stuck = good();
    stuck.tally.served.insert("us-1".to_owned(), [9, 9, 0]);
    assert!(faults(&stuck).contains("did not move to all of the others"));

    let none = Evidence { kill: None, ..good() };
    assert!(faults(&none).contains("no backend was killed"));
}
