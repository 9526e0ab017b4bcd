//! Starts a server, registers it with edgeproxy once its port answers, keeps its lease alive, and takes it out of
//! rotation before it stops.
//!
//! The decisions are [`life::Life`], a state machine without clock, socket or process; what is said to the API is the
//! library's, `edgeproxy_agent`. The rest of this program does what the two say.

mod child;
mod cli;
mod life;
mod logging;
mod manual;
mod probe;
mod run;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::task() {
        Ok(cli::Task::Run(plan)) => {
            logging::start();
            run::run(*plan)
        }
        Ok(cli::Task::Manual(task)) => manual::manual(&task, cli::definition()),
        Err(wrong) => wrong,
    }
}
