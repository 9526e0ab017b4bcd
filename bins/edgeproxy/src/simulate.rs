//! `edgeproxy simulate`: what a fleet would do, in virtual time.

mod json;
mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use edgeproxy_simulate::{Caption, Fleet, Report, simulate, svg};

use crate::output::{print, tell};

/// What is simulated, and how it is told.
#[derive(Args, Debug, Clone)]
pub(crate) struct SimulateOptions {
    /// The fleet: a configuration file with tables that say how backends and clients behave.
    #[arg(value_name = "FLEET.toml")]
    file: PathBuf,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
    /// Draw what happened over time: requests, latency, errors, ejections, and who got what.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Another seed than the file's: other arrivals and other latencies.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Another duration than the file's, in seconds of its own time.
    #[arg(long, value_name = "SECS")]
    duration: Option<u64>,
    /// The same fleet and the same arrivals with each of these algorithms, side by side; region_affinity/ewma is ewma
    /// inside of tiers.
    #[arg(long, value_name = "ALGORITHM,…", value_delimiter = ',')]
    compare: Vec<String>,
}

/// Ends with 0, or with 2 where there is something wrong with the file.
pub(crate) fn run(options: &SimulateOptions) -> ExitCode {
    let shown = Run::of(options).and_then(|run| {
        if let Some(path) = &options.svg {
            std::fs::write(path, run.drawn()).with_context(|| {
                format!(
                    "{} can't be written; name another file with --svg",
                    path.display()
                )
            })?;
        }
        let told = if options.json {
            json::of(&run.reports)
        } else {
            text::of(&options.file, &run.fleet, &run.reports)
        };
        Ok(told)
    });
    match shown {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

/// What was run.
struct Run {
    fleet: Fleet,
    title: String,
    reports: Vec<Report>,
}

impl Run {
    fn of(options: &SimulateOptions) -> anyhow::Result<Self> {
        let file = edgeproxy_config::load_fleet(&options.file)?;
        let mut fleet = edgeproxy_server::fleet(&file)?;
        fleet.seed = options.seed.unwrap_or(fleet.seed);
        fleet.duration = options.duration.map_or(fleet.duration, Duration::from_secs);
        let asked = edgeproxy_config::compare(&options.compare).map_err(anyhow::Error::msg)?;
        let algorithms = if asked.is_empty() { &file.compare } else { &asked };
        let fleets = edgeproxy_server::compared(&fleet, algorithms);
        let reports = fleets.iter().map(simulate).collect::<Result<_, _>>();
        let stem = options
            .file
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Self {
            title: file.title.unwrap_or(stem),
            reports: reports.with_context(|| options.file.display().to_string())?,
            fleet,
        })
    }

    fn drawn(&self) -> String {
        let algorithms: Vec<&str> = self
            .reports
            .iter()
            .map(|report| report.algorithm.as_str())
            .collect();
        let description = format!(
            "Requests, times to an answer, requests in flight and what each backend got, over {}, with {}.",
            humantime::format_duration(self.fleet.duration),
            algorithms.join(" and with ")
        );
        svg(
            &self.reports,
            Caption {
                title: &self.title,
                description: &description,
            },
        )
    }
}
