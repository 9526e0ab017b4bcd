use super::*;

const SEC: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    start: Duration::from_secs(60),
    drain: Duration::from_secs(30),
    kill_after: Duration::from_secs(10),
};
const TERM: Received = Received::Stop(Signal::TERM);

fn orders(life: &mut Life) -> Vec<Order> {
    std::iter::from_fn(|| life.poll_order()).collect()
}

fn starting(server: Server) -> Life {
    Life::new(server, LIMITS, Duration::ZERO)
}

fn serving(server: Server) -> Life {
    let mut life = starting(server);
    life.answered();
    assert_eq!(orders(&mut life), [Order::Join]);
    life
}

/// Lets it come to what it waits for, and says when that was.
fn overdue(life: &mut Life) -> Duration {
    let due = life.poll_timeout().unwrap();
    life.handle_timeout(due, "connection refused");
    due
}

#[test]
fn a_signal_deregisters_first_and_reaches_the_server_when_nothing_is_in_flight() {
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    assert_eq!(orders(&mut life), [Order::Leave(LIMITS.drain)]);
    life.left(2 * SEC);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
    life.ended(3 * SEC, Exit::Code(0));
    assert_eq!(orders(&mut life), [Order::End(0)]);
}

#[test]
fn the_signal_that_came_is_the_one_that_is_passed_on() {
    for signal in [Signal::INT, Signal::QUIT] {
        let mut life = serving(Server::Child);
        life.signalled(SEC, Received::Stop(signal));
        life.left(SEC);
        let _ = life.poll_order();
        assert_eq!(orders(&mut life), [Order::Pass(signal)]);
    }
}

#[test]
fn a_drain_that_does_not_end_is_not_waited_for_for_ever() {
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    let _ = orders(&mut life);
    assert_eq!(overdue(&mut life), SEC + LIMITS.drain + GOODBYE);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
}

#[test]
fn a_second_signal_does_not_wait_for_what_is_in_flight() {
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    let _ = orders(&mut life);
    life.signalled(2 * SEC, Received::Stop(Signal::INT));
    let told = [Order::Leave(Duration::ZERO), Order::Pass(Signal::INT)];
    assert_eq!(orders(&mut life), told);
    // A third one is the server's own matter.
    life.signalled(2 * SEC, TERM);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
}

#[test]
fn a_server_that_does_not_stop_is_killed_with_all_that_it_has_started() {
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    life.left(SEC);
    let _ = orders(&mut life);
    assert_eq!(overdue(&mut life), SEC + LIMITS.kill_after);
    assert_eq!(orders(&mut life), [Order::Kill]);
    life.ended(20 * SEC, Exit::Signal(9));
    assert_eq!(orders(&mut life), [Order::End(137)]);
}

#[test]
fn one_that_can_not_even_be_killed_does_not_keep_the_agent() {
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    life.left(SEC);
    overdue(&mut life);
    let _ = orders(&mut life);
    overdue(&mut life);
    assert_eq!(orders(&mut life), [Order::End(137)]);
}

#[test]
fn a_server_that_crashes_is_deregistered_at_once_and_its_code_is_the_agents() {
    for (exit, code) in [(Exit::Code(0), 0), (Exit::Code(3), 3), (Exit::Signal(11), 139)] {
        let mut life = serving(Server::Child);
        life.ended(SEC, exit);
        assert_eq!(orders(&mut life), [Order::Leave(Duration::ZERO)]);
        life.left(SEC);
        assert_eq!(orders(&mut life), [Order::End(code)]);
    }
    // Also while it drains, and if nobody can be told.
    let mut life = serving(Server::Child);
    life.signalled(SEC, TERM);
    let _ = orders(&mut life);
    life.ended(2 * SEC, Exit::Code(4));
    assert_eq!(orders(&mut life), [Order::Leave(Duration::ZERO)]);
    assert_eq!(overdue(&mut life), 2 * SEC + GOODBYE);
    assert_eq!(orders(&mut life), [Order::End(4)]);
}

#[test]
fn one_that_never_opens_its_port_is_stopped_and_never_registered() {
    let mut life = starting(Server::Child);
    life.silent("connection refused");
    assert_eq!(overdue(&mut life), LIMITS.start);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
    // Too late.
    life.answered();
    life.ended(61 * SEC, Exit::Signal(15));
    assert_eq!(orders(&mut life), [Order::End(NEVER_ANSWERED)]);
    let mut life = starting(Server::Running);
    overdue(&mut life);
    assert_eq!(orders(&mut life), [Order::End(NEVER_ANSWERED)]);
}

#[test]
fn one_that_ends_before_its_port_answers_was_never_registered() {
    let mut life = starting(Server::Child);
    life.ended(SEC, Exit::Code(1));
    assert_eq!(orders(&mut life), [Order::End(1)]);
}

#[test]
fn a_signal_before_the_port_answers_is_passed_on_at_once() {
    let mut life = starting(Server::Child);
    life.signalled(SEC, TERM);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
    life.ended(SEC, Exit::Signal(15));
    assert_eq!(orders(&mut life), [Order::End(143)]);
}

#[test]
fn a_refused_registration_stops_the_server() {
    let mut life = serving(Server::Child);
    life.refused(SEC);
    assert_eq!(orders(&mut life), [Order::Pass(Signal::TERM)]);
    life.ended(SEC, Exit::Code(0));
    assert_eq!(orders(&mut life), [Order::End(FAILED)]);
    let mut life = serving(Server::Running);
    life.refused(SEC);
    assert_eq!(orders(&mut life), [Order::End(FAILED)]);
}

#[test]
fn other_signals_are_the_servers() {
    let mut life = serving(Server::Child);
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        life.signalled(SEC, Received::Other(signal));
        assert_eq!(orders(&mut life), [Order::Pass(signal)]);
    }
}

#[test]
fn no_signal_is_sent_to_a_server_that_has_ended() {
    let mut life = serving(Server::Child);
    life.ended(SEC, Exit::Code(3));
    assert_eq!(orders(&mut life), [Order::Leave(Duration::ZERO)]);
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        life.signalled(SEC, Received::Other(signal));
        assert_eq!(orders(&mut life), []);
    }
    life.signalled(SEC, TERM);
    life.signalled(SEC, Received::Other(Signal::HUP));
    assert_eq!(orders(&mut life), [Order::End(3)]);
}

#[test]
fn a_server_that_runs_already_goes_on_when_the_agent_stops() {
    for signal in [TERM, Received::Other(Signal::HUP)] {
        let mut life = serving(Server::Running);
        life.signalled(SEC, Received::Other(Signal::USR1));
        life.signalled(SEC, signal);
        assert_eq!(orders(&mut life), [Order::Leave(LIMITS.drain)]);
        life.left(2 * SEC);
        assert_eq!(orders(&mut life), [Order::End(0)]);
    }
}

#[test]
fn heartbeats_stop_after_three_probes_without_an_answer_and_go_on_with_the_first() {
    let mut life = serving(Server::Running);
    life.silent("refused");
    life.silent("refused");
    life.answered();
    life.silent("refused");
    life.silent("refused");
    assert_eq!(orders(&mut life), []);
    life.silent("refused");
    life.silent("refused");
    assert_eq!(orders(&mut life), [Order::Hold]);
    life.answered();
    life.answered();
    assert_eq!(orders(&mut life), [Order::Resume]);
}
