//! A fleet in virtual time: how three algorithms spread load over backends one of which is slow, as a table and, where a file
//! is named, as a picture.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example simulated_fleet -- spread.svg
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_balance::Algorithm;
use edgeproxy_simulate::{
    App, Caption, Fleet, Latency, Machine, Report, Site, Traffic, short, simulate, svg,
};

const REGION: &str = "eu";

fn machine(number: u16) -> anyhow::Result<Machine> {
    let backend = Backend::new(
        BackendId::parse(&format!("shop-{number}"))?,
        AppName::parse("shop")?,
        Region::parse(REGION)?,
        Country::parse("DE")?,
        BackendAddr::parse("10.0.0.1", 8_000 + number)?,
    );
    // The first is ten times slower than the others.
    let mean = Duration::from_millis(if number == 1 { 200 } else { 20 });
    Ok(Machine {
        parallel: 8,
        ..Machine::new(
            backend,
            Latency::Lognormal {
                mean,
                sigma_permille: 500,
            },
        )
    })
}

fn fleet(algorithm: Algorithm) -> anyhow::Result<Fleet> {
    let mut app = App::new(AppName::parse("shop")?);
    app.policy.algorithm = algorithm;
    Ok(Fleet {
        seed: 7,
        duration: Duration::from_secs(30),
        app,
        machines: (1..=5).map(machine).collect::<Result<_, _>>()?,
        traffic: vec![Traffic::steady(150.0)],
        sites: vec![Site {
            region: Region::parse(REGION)?,
        }],
        round_trips: Vec::new(),
        script: Vec::new(),
    })
}

fn main() -> anyhow::Result<()> {
    let algorithms = [
        Algorithm::RoundRobin,
        Algorithm::LeastConnections,
        Algorithm::Ewma,
    ];
    let mut reports: Vec<Report> = Vec::new();
    for algorithm in algorithms {
        reports.push(simulate(&fleet(algorithm)?)?);
    }
    for report in &reports {
        let attempts: Vec<u64> = report.backends.iter().map(|backend| backend.attempts).collect();
        let p99 = short(report.latency.at_permille(990));
        println!("{:<17}  p99 {p99:>7}  {attempts:?}", report.algorithm);
    }
    let caption = Caption {
        title: "Five backends, the first of which is slow",
        description: "Who gets how much by turns, by load and by latency.",
    };
    let picture = svg(&reports, caption);
    if let Some(file) = std::env::args_os()
        .nth(1)
        .filter(|name| name.to_string_lossy().ends_with(".svg"))
    {
        std::fs::write(file, &picture)?;
    }

    // Turns don't see it, load does, and latency does better.
    let p99 = |number: usize| {
        reports
            .get(number)
            .map(|report: &Report| report.latency.at_permille(990))
    };
    anyhow::ensure!(
        p99(0) > p99(1) && p99(1) > p99(2),
        "{:?} {:?} {:?}",
        p99(0),
        p99(1),
        p99(2)
    );
    anyhow::ensure!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        super::main().unwrap();
    }
}
