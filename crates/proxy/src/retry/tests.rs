use std::time::Duration;

use proptest::prelude::*;

use super::*;

const IDEMPOTENT: Request = Request {
    idempotent: true,
    replayable: true,
};
const NOT_IDEMPOTENT: Request = Request {
    idempotent: false,
    replayable: true,
};
const BODY_GONE: Request = Request {
    idempotent: true,
    replayable: false,
};

#[test]
fn connect_refused_or_timed_out_before_any_byte_was_sent_yes_any_method() {
    for failed in [Failed::Connect, Failed::ConnectTimeout, Failed::Tls] {
        assert_eq!(next(failed, IDEMPOTENT), Next::OtherBackend);
        assert_eq!(next(failed, NOT_IDEMPOTENT), Next::OtherBackend);
    }
    assert_eq!(next(Failed::NotSent, NOT_IDEMPOTENT), Next::FreshConnection);
}

#[test]
fn a_kept_alive_connection_closed_before_the_responses_first_byte_on_a_fresh_connection_if_repeatable() {
    assert_eq!(next(Failed::Stale, IDEMPOTENT), Next::FreshConnection);
    assert_eq!(next(Failed::Stale, NOT_IDEMPOTENT), Next::GiveUp);
    assert_eq!(next(Failed::Stale, BODY_GONE), Next::GiveUp);
}

#[test]
fn sent_no_response_idempotent_and_replayable_yes() {
    for failed in [Failed::NoResponse, Failed::ResponseTimeout, Failed::Malformed] {
        assert_eq!(next(failed, IDEMPOTENT), Next::OtherBackend);
        assert_eq!(next(failed, BODY_GONE), Next::GiveUp);
    }
}

#[test]
fn sent_no_response_not_idempotent_no() {
    for failed in [Failed::NoResponse, Failed::ResponseTimeout, Failed::Malformed] {
        assert_eq!(next(failed, NOT_IDEMPOTENT), Next::GiveUp);
    }
}

#[test]
fn idempotent_methods_are_those_of_rfc_9110() {
    for method in [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ] {
        assert!(is_idempotent(&method), "{method}");
    }
    for method in [
        Method::POST,
        Method::PATCH,
        Method::CONNECT,
        Method::from_bytes(b"PURGE").unwrap(),
    ] {
        assert!(!is_idempotent(&method), "{method}");
    }
}

#[test]
fn a_budget_of_20_percent_and_10_each_second_begins_with_a_hundred_and_then_pays_a_fifth() {
    let mut budget = Budget::new(20, 10, MonoTime::ZERO);
    let granted = (0..1_000).filter(|_| budget.withdraw(MonoTime::ZERO)).count();
    assert_eq!(granted, 100);
    for _ in 0..50 {
        budget.deposit();
    }
    assert_eq!((0..100).filter(|_| budget.withdraw(MonoTime::ZERO)).count(), 10);
    assert_eq!(
        (0..100)
            .filter(|_| budget.withdraw(MonoTime::from_secs(1)))
            .count(),
        10
    );
}

#[test]
fn time_too_short_to_earn_anything_is_not_lost() {
    let mut budget = Budget::new(0, 1, MonoTime::ZERO);
    while budget.withdraw(MonoTime::ZERO) {}
    let granted = (1..=1_000_000_u64)
        .step_by(10)
        .filter(|us| budget.withdraw(MonoTime::from_micros(*us)))
        .count();
    assert!((0..=1).contains(&granted), "{granted}");
    assert!(granted == 1 || budget.withdraw(MonoTime::from_micros(1_001_000)));
}

#[test]
fn a_budget_of_nothing_allows_one_retry_and_no_more() {
    let mut budget = Budget::new(0, 0, MonoTime::ZERO);
    assert!(budget.withdraw(MonoTime::ZERO));
    assert!(!budget.withdraw(MonoTime::NEVER));
}

proptest! {
    #[test]
    fn retries_never_exceed_the_share_plus_the_rate_plus_what_was_held(
        percent in 0_u32..=100,
        per_sec in 0_u32..50,
        steps in proptest::collection::vec((0_u64..200_000, any::<bool>()), 0..300),
    ) {
        let mut budget = Budget::new(percent, per_sec, MonoTime::ZERO);
        let (mut now, mut requests, mut granted) = (MonoTime::ZERO, 0_u64, 0_u64);
        for (pause, retry) in steps {
            now = now + Duration::from_micros(pause);
            budget.deposit();
            requests += 1;
            granted += u64::from(retry && budget.withdraw(now));
        }
        let held = (u64::from(per_sec) * 10).max(1);
        let bound = held * 1_000 + requests * u64::from(percent) * 10 + now.as_micros() * u64::from(per_sec) / 1_000;
        prop_assert!(granted * 1_000 <= bound, "{granted} retries, {bound} thousandths allowed");
    }
}
