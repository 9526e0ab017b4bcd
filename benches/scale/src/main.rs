//! What is in memory at `cargo xtask bench scale`: a million leases in the registry, as many backends in the state machine
//! that shares leases among proxies, and a model of many proxies over one etcd.
//!
//! Each part prints lines `row WHAT<tab>FIGURE`, and ends by itself.

mod fleet;
mod leases;
mod machine;
mod model;
mod publishing;
mod shared;

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};

const USAGE: &str = "edgeproxy-scale PART: one of
  leases COUNT                        the registry with so many leases
  publishing COUNT                    one app with so many backends, one change after the other
  shared BACKENDS PROXIES             one proxy's view of so many backends of so many proxies
  model LEAST MOST [SVG]              proxies over a modelled etcd, in fleets of so many backends; SVG is the picture's file";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["leases", count] => leases::run(number(count)?),
        ["publishing", count] => publishing::run(number(count)?),
        ["shared", backends, proxies] => shared::run(number(backends)?, number(proxies)?),
        ["model", least, most, svg @ ..] => model::run(number(least)?, number(most)?, svg.first().copied()),
        _ => bail!("{USAGE}"),
    }
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> anyhow::Result<T> {
    text.parse()
        .with_context(|| format!("found `{text}`, expected a number"))
}
