//! What happens to backends.

use edgeproxy_registry::{Change, Patch};

use super::World;
use crate::fleet::{Action, FleetError, Step, micros};
use crate::machine::{Power, Worker};
use crate::proxy::switch;
use crate::timeline::Due;

/// How often it is looked whether a backend has drained: as often as the registry does.
const DRAINED_EVERY: u64 = 100_000;

/// When what happens to whom, one machine at a time; what has an end is over then.
pub(super) fn planned(script: &[Step]) -> impl Iterator<Item = (u64, usize, Planned)> {
    script.iter().flat_map(|step| {
        step.machines.iter().zip(0_u64..).map(|(machine, number)| {
            let at = micros(step.at).saturating_add(number.saturating_mul(micros(step.stagger)));
            (
                at,
                *machine,
                Planned {
                    action: step.action,
                    lasts: step.lasts.map(micros),
                },
            )
        })
    })
}

/// An action, and how long it lasts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Planned {
    action: Action,
    lasts: Option<u64>,
}

/// Whether it is in a state in which that can happen to it: what doesn't run neither hangs nor leaves.
fn can_happen(action: Action, worker: &Worker) -> bool {
    match action {
        Action::Crash => worker.power != Power::Off,
        Action::Hang | Action::Unreachable => worker.power == Power::Up,
        Action::Restart(_) => worker.power == Power::Up && worker.is_member,
        Action::Join => worker.power == Power::Off || !worker.is_member,
        Action::Leave => worker.power != Power::Off && worker.is_member,
        Action::Slow(_)
        | Action::Errors(_)
        | Action::Resets(_)
        | Action::Silent
        | Action::Disable
        | Action::Weigh(_) => true,
    }
}

impl World<'_> {
    pub(super) fn apply(&mut self, machine: usize, planned: Planned) -> Result<(), FleetError> {
        let worker = &mut self.machines[machine];
        if !can_happen(planned.action, worker) {
            return Ok(());
        }
        match planned.action {
            Action::Crash => {
                worker.lose(Power::Off);
                self.cut_off(machine);
            }
            Action::Hang => worker.lose(Power::Hung),
            Action::Unreachable => worker.lose(Power::Unreachable),
            Action::Slow(_)
            | Action::Errors(_)
            | Action::Resets(_)
            | Action::Silent
            | Action::Disable
            | Action::Weigh(_) => {
                let number = worker.laid_over.begin(planned.action);
                self.bring_in_line(machine, planned.action);
                if let Some(lasts) = planned.lasts {
                    let over = Due::Lifted(machine, planned.action, number);
                    self.timeline.push(self.now.saturating_add(lasts), over);
                }
                return Ok(());
            }
            Action::Restart(down) => {
                self.part(machine)?;
                let until = self.now + micros(self.fleet.app.registry.drain_timeout);
                self.timeline.push(
                    self.now + DRAINED_EVERY,
                    Due::Drained(machine, until, micros(down)),
                );
            }
            Action::Join => self.start(machine)?,
            Action::Leave => self.part(machine)?,
        }
        if let Some(lasts) = planned.lasts {
            let over = Due::Over(machine, planned.action, self.machines[machine].life);
            self.timeline.push(self.now.saturating_add(lasts), over);
        }
        Ok(())
    }

    /// What began in that life of it is over, and all is as before, but for what has happened to it since.
    pub(super) fn undo(&mut self, machine: usize, action: Action, life: u32) -> Result<(), FleetError> {
        let worker = &mut self.machines[machine];
        match action {
            // Something else has stopped or started it, and it is for that to end it.
            Action::Crash | Action::Hang | Action::Unreachable if worker.life != life => {}
            Action::Crash => return self.start(machine),
            Action::Hang | Action::Unreachable => {
                worker.lose(Power::Up);
                self.cut_off(machine);
            }
            Action::Join => return self.part(machine),
            // What doesn't run can't register: its start does.
            Action::Leave if worker.is_member || worker.power == Power::Off => {}
            Action::Leave => return self.join(machine),
            // It has an end of its own, or is lifted.
            Action::Restart(_)
            | Action::Slow(_)
            | Action::Errors(_)
            | Action::Resets(_)
            | Action::Silent
            | Action::Disable
            | Action::Weigh(_) => {}
        }
        Ok(())
    }

    /// What was laid over it is over, and what was laid over it before counts again.
    pub(super) fn lift(&mut self, machine: usize, action: Action, number: u64) {
        self.machines[machine].laid_over.end(number);
        self.bring_in_line(machine, action);
    }

    /// Has it be as the latest of that kind says that hasn't ended, or as it is of itself.
    fn bring_in_line(&mut self, machine: usize, kind: Action) {
        let worker = &mut self.machines[machine];
        let latest = worker.laid_over.latest(kind);
        match kind {
            Action::Disable => {
                let enabled = latest.map_or(Change::Clear, |_| Change::Set(false));
                self.patch(machine, &switch(enabled));
            }
            Action::Weigh(_) => {
                let weight = match latest {
                    Some(Action::Weigh(weight)) => Change::Set(weight),
                    _ => Change::Clear,
                };
                let patch = Patch {
                    weight,
                    ..Patch::default()
                };
                self.patch(machine, &patch);
            }
            _ => worker.behave(kind),
        }
    }

    fn patch(&mut self, machine: usize, patch: &Patch) {
        let id = &self.machines[machine].spec.backend.id;
        for proxy in &mut self.proxies {
            proxy.patch(id, patch, self.now);
        }
    }

    /// It ends once nothing is in flight there any more.
    pub(super) fn drained(&mut self, machine: usize, until: u64, down: u64) {
        let is_busy = self
            .requests
            .iter()
            .any(|(_, request)| request.place.is_some() && request.machine == machine);
        if is_busy && self.now < until {
            self.timeline
                .push(self.now + DRAINED_EVERY, Due::Drained(machine, until, down));
            return;
        }
        let worker = &mut self.machines[machine];
        worker.lose(Power::Off);
        let life = worker.life;
        self.cut_off(machine);
        self.timeline.push(self.now + down, Due::Start(machine, life));
    }

    /// The end of a restart, unless it has been started by something else.
    pub(super) fn start_again(&mut self, machine: usize, life: u32) -> Result<(), FleetError> {
        if self.machines[machine].life == life {
            self.start(machine)
        } else {
            Ok(())
        }
    }

    /// Its process starts, and it becomes a member.
    pub(super) fn start(&mut self, machine: usize) -> Result<(), FleetError> {
        let worker = &mut self.machines[machine];
        if worker.power != Power::Up {
            worker.lose(Power::Up);
        }
        worker.started = Some(self.now);
        self.join(machine)
    }
}
