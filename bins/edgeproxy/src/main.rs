//! The load balancer that backends register themselves with.
//!
//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration, 128 + n ended by a second
//! signal n without draining (130 for SIGINT, 143 for SIGTERM).

mod cli;
mod demo;
mod limits;
mod logging;
mod reload;
mod run;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::parse() {
        cli::Task::Run(flags) => run::run(flags),
        cli::Task::Demo(options) => demo::run(&options),
    }
}
