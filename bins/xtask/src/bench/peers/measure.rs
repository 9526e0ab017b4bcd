//! Rounds that take turns.

use std::time::Duration;

use crate::bench::peers::case::{Case, Kind};
use crate::bench::peers::load::{Amount, Load};
use crate::bench::peers::memory;
use crate::bench::peers::proxy::{Front, NotStarted, Proxy};
use crate::bench::peers::stage::Stage;
use crate::bench::peers::system_calls;

/// How much is done for a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    pub(crate) amount: Amount,
    /// Turns of a memory case. They repeat within a few percent, and take long.
    pub(crate) memory_rounds: u32,
}

impl Effort {
    pub(crate) fn new(quick: bool, rounds: Option<u32>) -> Self {
        let (secs, megabytes, usual) = if quick { (1, 1_000, 3) } else { (2, 2_000, 5) };
        let rounds = rounds.unwrap_or(usual);
        Self {
            rounds,
            amount: Amount { secs, megabytes },
            memory_rounds: rounds.div_ceil(3),
        }
    }
}

/// Before a round is measured: connections to the origin are there, buffers have grown.
const WARM_UP: Amount = Amount {
    secs: 1,
    megabytes: 100,
};

/// One round of one proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Processor time for each unit, microseconds.
    pub(crate) cost_us: f64,
    /// The part in user mode, 0–1.
    pub(crate) user_share: f64,
    pub(crate) units_per_sec: f64,
    /// Resident memory after the round, bytes.
    pub(crate) resident: u64,
}

/// A line of a table.
pub(crate) struct Row {
    pub(crate) proxy: Proxy,
    pub(crate) workers: u32,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Cost {
        /// In the order of the rounds, so that two rows can be compared in pairs.
        samples: Vec<Sample>,
        /// For each unit.
        system_calls: Option<f64>,
    },
    Memory(Vec<memory::Sample>),
    Skipped(String),
    Failed(String),
}

/// Measures one case. What fails is a line of its table.
pub(crate) fn case(stage: &Stage, case: &Case, proxies: &[Proxy], effort: &Effort) -> Vec<Row> {
    let proxies = proxies.iter().copied().filter(|proxy| case.suits(*proxy));
    match case.kind {
        Kind::Cost(load) | Kind::Watched(load) => {
            let runners = proxies.map(|proxy| Runner::new(proxy, case.front, 1, false));
            costs(stage, load, runners.collect(), effort)
        }
        Kind::Workers(load) => {
            let runners = proxies.flat_map(|proxy| [1, 2].map(|n| Runner::new(proxy, case.front, n, true)));
            costs(stage, load, runners.collect(), effort)
        }
        Kind::Memory(crowd) => proxies
            .map(|proxy| Row {
                proxy,
                workers: 1,
                outcome: memory::measure(stage, proxy, case.front, crowd, effort.memory_rounds),
            })
            .collect(),
    }
}

/// One that takes part in a case.
struct Runner {
    proxy: Proxy,
    front: Front,
    workers: u32,
    /// On all cores, together with client and origin.
    everywhere: bool,
    samples: Vec<Sample>,
    system_calls: Option<f64>,
    /// Why it takes no further part.
    out: Option<Outcome>,
}

fn costs(stage: &Stage, load: Load, mut runners: Vec<Runner>, effort: &Effort) -> Vec<Row> {
    for round in 0..effort.rounds {
        // Another one begins each round, so that none is always the first or always after the same.
        let begin = usize::try_from(round).unwrap_or(0) % runners.len().max(1);
        runners.rotate_left(begin);
        for runner in &mut runners {
            runner.turn(stage, load, effort, round == 0);
        }
        runners.rotate_right(begin);
    }
    runners
        .into_iter()
        .map(|runner| Row {
            proxy: runner.proxy,
            workers: runner.workers,
            outcome: runner.out.unwrap_or(Outcome::Cost {
                samples: runner.samples,
                system_calls: runner.system_calls,
            }),
        })
        .collect()
}

impl Runner {
    fn new(proxy: Proxy, front: Front, workers: u32, everywhere: bool) -> Self {
        Self {
            proxy,
            front,
            workers,
            everywhere,
            samples: Vec::new(),
            system_calls: None,
            out: None,
        }
    }

    fn turn(&mut self, stage: &Stage, load: Load, effort: &Effort, count_calls: bool) {
        if self.out.is_some() {
            return;
        }
        match self.measured(stage, load, effort, count_calls) {
            Ok(()) => {}
            Err(NotStarted::Unable(why)) => self.out = Some(Outcome::Skipped(why)),
            Err(NotStarted::Failed(error)) => self.out = Some(Outcome::Failed(format!("{error:#}"))),
        }
    }

    /// A round: a process of its own, since two processes of one program differ by a few percent.
    fn measured(
        &mut self,
        stage: &Stage,
        load: Load,
        effort: &Effort,
        count_calls: bool,
    ) -> Result<(), NotStarted> {
        let (own, ends) = if self.everywhere {
            (&stage.cores.all, &stage.cores.all)
        } else {
            (&stage.cores.proxy, &stage.cores.ends)
        };
        let started = self.proxy.start(stage, self.front, self.workers, own)?;
        load.run(stage, ends, started.addr, WARM_UP)?;
        let before = started.usage()?;
        let served = load.run(stage, ends, started.addr, effort.amount)?;
        let used = started.usage()?.since(before);
        self.samples.push(Sample {
            cost_us: Duration::from_nanos(used.nanos).as_secs_f64() * 1e6 / served.units,
            user_share: used.user_share().unwrap_or_default(),
            units_per_sec: served.units_per_sec,
            resident: started.resident()?,
        });
        if count_calls && !matches!(load, Load::Bulk { .. }) {
            self.system_calls = system_calls::for_each_unit(stage, load, ends, &started)?;
        }
        Ok(())
    }
}
