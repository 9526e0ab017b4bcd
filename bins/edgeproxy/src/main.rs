//! The load balancer that backends register themselves with.
//!
//! Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration, 128 + n ended by a second
//! signal n without draining (130 for SIGINT, 143 for SIGTERM). Of `check` and `import`: 0 nothing to tell, 1 findings, 2
//! what can't be used.

mod activation;
mod check;
mod cli;
mod client;
mod data_dir;
mod demo;
mod drain;
mod events;
mod explain;
mod follow;
mod handover;
mod health;
mod import;
mod limits;
mod listing;
mod logging;
mod manual;
mod openapi;
mod output;
mod reload;
mod remote;
mod run;
mod service;
mod signals;
mod simulate;
mod table;
mod token;
mod top;

use std::process::ExitCode;

// glibc's keeps what a burst of requests took until the process ends.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::parse() {
        cli::Task::Run(flags) => run::run(flags),
        cli::Task::Check(options) => check::check(options),
        cli::Task::Import(import) => import::import(import),
        cli::Task::Explain(options) => explain::explain(&options),
        cli::Task::Backends(options) => listing::backends(&options),
        cli::Task::Apps(options) => listing::apps(&options),
        cli::Task::Drain(options) => drain::drain(&options),
        cli::Task::Events(options) => events::events(&options),
        cli::Task::Top(options) => top::top(&options),
        cli::Task::Health(options) => health::health(&options),
        cli::Task::Token(task) => token::token(&task),
        cli::Task::Demo(options) => demo::run(&options),
        cli::Task::Simulate(options) => simulate::run(&options),
        cli::Task::Completions(options) => manual::completions(&options, cli::definition()),
        cli::Task::Openapi(options) => openapi::openapi(&options),
        cli::Task::Man(options) => manual::man(&options, cli::definition()),
    }
}
