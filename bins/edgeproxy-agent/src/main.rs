//! Starts a server, registers it with edgeproxy once its port answers, keeps its lease alive, and takes it out of
//! rotation before it stops.
//!
//! The decisions are [`life::Life`], a state machine without clock, socket or process; what is said to the API is the
//! library's, `edgeproxy_agent`. The rest of this program does what the two say.

mod child;
mod cli;
mod life;
mod logging;
mod probe;
mod run;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    let plan = match cli::plan() {
        Ok(plan) => plan,
        Err(wrong) => return wrong,
    };
    logging::start();
    run::run(plan)
}
