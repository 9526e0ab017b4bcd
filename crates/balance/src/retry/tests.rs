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
fn response_in_unhealthy_responses_same_conditions_yes() {
    for request in [IDEMPOTENT, NOT_IDEMPOTENT, BODY_GONE] {
        assert_eq!(
            next(Failed::Unhealthy, request),
            next(Failed::NoResponse, request)
        );
    }
}

#[test]
fn sent_no_response_not_idempotent_no() {
    for failed in [Failed::NoResponse, Failed::ResponseTimeout, Failed::Malformed] {
        assert_eq!(next(failed, NOT_IDEMPOTENT), Next::GiveUp);
    }
}

#[test]
fn nothing_left_to_connect_with_another_backend_and_this_one_is_not_blamed() {
    for request in [IDEMPOTENT, NOT_IDEMPOTENT] {
        assert_eq!(next(Failed::OwnFault, request), Next::OtherBackend);
    }
    assert_eq!(next(Failed::OwnFault, BODY_GONE), Next::GiveUp);
    assert!(!Failed::OwnFault.is_the_backends());
    assert!(Failed::Connect.is_the_backends());
}
