//! The steps of `cargo xtask nightly`: what a change can't wait for. Each of them alone says whether it passed, so that a night that
//! was too short still says what it got to.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::step::{self, Context, Effort, OnMissing, Shard, Step};
use crate::workspace::Workspace;
use crate::{attacks, coverage, faults, fuzz, loom, miri, mutants, pingora, seeds, soak, whole};

/// Quick ones first.
pub(crate) const STEPS: [Step; 14] = [
    Step {
        name: "loom",
        about: "what workers share without a lock holds in every interleaving",
        run: loom::check,
    },
    Step {
        name: "pingora",
        about: "the example made with Pingora carries its requests",
        run: pingora::test,
    },
    Step {
        name: "simulations",
        about: "the seeded simulations, with twenty times the seeds",
        run: seeds::simulate,
    },
    Step {
        name: "whole",
        about: "ten thousand histories of the whole system in virtual time",
        run: whole::check,
    },
    Step {
        name: "planted",
        about: "each of a list of broken rules is found by the simulation of the whole within as many seeds as it may take",
        run: whole::mutants::check,
    },
    Step {
        name: "faults",
        about: "what is promised of every fault, on the released binary under load",
        run: faults::check_all,
    },
    Step {
        name: "attacks",
        about: "every attack on the released binary is held off, and others don't notice",
        run: attacks::check_all,
    },
    Step {
        name: "soak",
        about: "twenty minutes of mixed traffic while backends come, go, fail and return, by chance",
        run: soak::check,
    },
    Step {
        name: "repeated",
        about: "the unit tests over and over, each time with other input where they make it up",
        run: seeds::repeat,
    },
    Step {
        name: "miri",
        about: "the pure crates' tests in Miri: data races, and undefined behaviour in what they use",
        run: miri::check,
    },
    Step {
        name: "coverage",
        about: "tests reach 90 % of the lines where decisions are made",
        run: coverage::check,
    },
    Step {
        name: "differential",
        about: "the codec beside hyper, with a million messages of each kind",
        run: fuzz::differ,
    },
    Step {
        name: "fuzz",
        about: "made-up bytes for each parser of the data plane, for as long as --minutes says",
        run: fuzz::long,
    },
    Step {
        name: "mutants",
        about: "tests notice 85 % of the faults that are put into the registry and the picking",
        run: mutants::check,
    },
];

/// The mutants are so many that a night has one of these parts of them.
const PARTS: u32 = 8;

/// An hour of what has no end.
pub(crate) const USUAL: Effort = Effort {
    minutes: 60,
    shard: Shard { part: 0, of: PARTS },
};

/// Which steps, and how much of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this step alone; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = step::names(&STEPS))]
    only: Vec<String>,
    /// List the steps and do nothing.
    #[arg(long, conflicts_with = "only")]
    list: bool,
    /// How long each step goes on that has no end of its own.
    #[arg(long, value_name = "N", default_value_t = USUAL.minutes)]
    minutes: u32,
    /// Which part of the mutants, such as 3/8 [default: another eighth each day].
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
}

/// Runs them, one after the other and whatever becomes of each.
pub(crate) fn run(workspace: Workspace, args: &Args) -> ExitCode {
    if args.list {
        step::list(&STEPS);
        return ExitCode::SUCCESS;
    }
    let of_today = Shard {
        part: today() % PARTS,
        of: PARTS,
    };
    let context = Context {
        workspace,
        on_missing: OnMissing::from_environment(),
        effort: Effort {
            minutes: args.minutes,
            shard: args.shard.unwrap_or(of_today),
        },
    };
    step::run_all(&step::selected(&STEPS, &args.only), &context)
}

/// Days since 1970: what a night begins with, so that the next one begins elsewhere.
pub(crate) fn today() -> u32 {
    const DAY_SECS: u64 = 86_400;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / DAY_SECS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_steps_share_a_name() {
        let mut names = step::names(&STEPS);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
