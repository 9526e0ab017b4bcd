//! Does what [`Life`] says.

use std::process::ExitCode;

use anyhow::Context;
use edgeproxy_agent::{Agent, Builder, Membership, Registration, StartError};
use tokio::runtime;
use tokio::time::{Instant, sleep_until};

use crate::child::Child;
use crate::cli::Plan;
use crate::life::{FAILED, Life, Order, Server, not_started};
use crate::probe::Probed;
use crate::signals::{Received, Signals};

/// Runs to the end.
pub(crate) fn run(plan: Plan) -> ExitCode {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime");
    let ended = runtime.and_then(|runtime| {
        let code = runtime.block_on(live(plan));
        // A name that is being looked up must not keep the process.
        runtime.shutdown_background();
        code
    });
    ended.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::from(FAILED)
    })
}

async fn live(plan: Plan) -> anyhow::Result<ExitCode> {
    // Before the server is started, so that no signal and no end of it is missed.
    let mut signals = Signals::catch().context("signals can't be caught")?;
    let origin = Instant::now();
    let child = match &*plan.command {
        [] => None,
        command => match Child::start(command) {
            Ok(child) => Some(child),
            Err(error) => {
                let program = command.first().map(|program| program.display().to_string());
                tracing::error!("{} can't be started: {error}", program.unwrap_or_default());
                return Ok(not_started(&error));
            }
        },
    };
    let server = match &child {
        Some(child) => {
            tracing::info!("started the server, process {}; waiting for its port", child.id());
            Server::Child
        }
        None => Server::Running,
    };
    let mut life = Life::new(server, plan.limits, origin.elapsed());
    let mut probes = plan.probe.start();
    let mut found = "no probe has ended".to_owned();
    let mut joining = Some((plan.builder, plan.registration));
    let mut member = Member::default();
    loop {
        while let Some(order) = life.poll_order() {
            match order {
                Order::Join => {
                    if let Err(error) = member.join(joining.take()) {
                        tracing::error!("the server can't be registered: {error}");
                        life.refused(origin.elapsed());
                    }
                }
                Order::Hold => member.with(Agent::hold),
                Order::Resume => member.with(Agent::resume),
                Order::Leave(drain) => match &member.agent {
                    Some(agent) => agent.start_leaving(drain),
                    None => life.left(origin.elapsed()),
                },
                Order::Pass(signal) => child.iter().for_each(|child| child.send(signal)),
                Order::Kill => child.iter().for_each(Child::kill),
                Order::End(code) => return Ok(ExitCode::from(code)),
            }
        }
        let due = life.poll_timeout().map(|due| origin + due);
        tokio::select! {
            signal = signals.next() => match signal {
                Received::Child => {
                    if let Some(exit) = child.as_ref().and_then(Child::reap) {
                        life.ended(origin.elapsed(), exit);
                    }
                }
                signal => life.signalled(origin.elapsed(), signal),
            },
            Some(probed) = probes.recv() => match probed {
                Probed::Answered(addr) => {
                    if let Some((_, registration)) = &mut joining {
                        // What answers is what is registered.
                        registration.ip = Some(addr.ip());
                    }
                    life.answered();
                }
                Probed::Silent(what) => {
                    life.silent(&what);
                    found = what;
                }
            },
            membership = member.changed() => match membership {
                Membership::Refused { .. } => life.refused(origin.elapsed()),
                Membership::Left(_) => life.left(origin.elapsed()),
                Membership::Joining | Membership::Registered { .. } | Membership::Superseded { .. } => {}
            },
            () = sleep_until(due.unwrap_or(origin)), if due.is_some() => {
                life.handle_timeout(origin.elapsed(), &found);
            }
        }
    }
}

/// The agent, once the server answers, and what was heard of it last.
#[derive(Default)]
struct Member {
    agent: Option<Agent>,
    known: Option<Membership>,
}

impl Member {
    fn join(&mut self, joining: Option<(Builder, Registration)>) -> Result<(), StartError> {
        if let Some((builder, registration)) = joining {
            self.agent = Some(builder.start(registration)?);
        }
        Ok(())
    }

    fn with(&self, does: impl FnOnce(&Agent)) {
        self.agent.as_ref().map(does);
    }

    /// The next thing that becomes of it. Cancel safe.
    async fn changed(&mut self) -> Membership {
        // After it has left nothing becomes of it any more.
        let is_over = matches!(self.known, Some(Membership::Left(_)));
        let Some(agent) = self.agent.as_ref().filter(|_| !is_over) else {
            return std::future::pending().await;
        };
        let known = self.known.clone().unwrap_or(Membership::Joining);
        let next = agent.changed(&known).await;
        self.known = Some(next.clone());
        next
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use super::*;

    fn registration() -> Registration {
        Registration::new(
            "b-1".parse().unwrap(),
            "shop".parse().unwrap(),
            "eu".parse().unwrap(),
            NonZeroU16::new(8080).unwrap(),
        )
    }

    #[tokio::test]
    async fn of_one_that_has_left_there_is_no_more_news() {
        let builder = Agent::builder().api("http://127.0.0.1:9".parse().unwrap());
        let mut member = Member::default();
        member.join(Some((builder, registration()))).unwrap();
        member.with(|agent| agent.start_leaving(Duration::ZERO));
        while !matches!(member.changed().await, Membership::Left(_)) {}
        for _ in 0..100 {
            tokio::select! {
                biased;
                news = member.changed() => panic!("{news:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
}
