//! Clients that keep a proxy busy, and what they say of it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::bench::peers::stage::Stage;
use crate::bench::peers::tools::Tool;
use crate::process::{Process, value};

/// Connections of wrk: enough that a proxy finds several ready at each turn, as it does under load.
const CONNECTIONS: u32 = 64;

/// Exchanges at a time.
const PARALLEL: u32 = 16;

/// How long a client may take beyond what it was told.
const GRACE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// Requests over HTTP/1.1, each on a connection of its own if `close`.
    Wrk { path: &'static str, close: bool },
    /// Requests over HTTP/2 in cleartext.
    H2load,
    /// Bytes from the origin's TCP side.
    Bulk { streams: u32 },
    /// A TCP connection for each few bytes.
    Exchange,
}

/// How much a round carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Of requests and exchanges; at least one, since wrk counts in seconds.
    pub(crate) secs: u32,
    /// Of bulk.
    pub(crate) megabytes: u32,
}

/// What was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Served {
    /// Requests, exchanges, or gigabytes.
    pub(crate) units: f64,
    pub(crate) units_per_sec: f64,
}

impl Load {
    /// What one unit is called.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Wrk { .. } | Self::H2load => "request",
            Self::Bulk { .. } => "GB",
            Self::Exchange => "exchange",
        }
    }

    /// The program that is called.
    pub(crate) fn tool(self) -> Option<Tool> {
        match self {
            Self::Wrk { .. } => Some(Tool::WRK),
            Self::H2load => Some(Tool::H2LOAD),
            Self::Bulk { .. } | Self::Exchange => None,
        }
    }

    /// The client's command.
    pub(crate) fn command(self, stage: &Stage, cores: &str, to: SocketAddr, amount: Amount) -> Command {
        let secs = amount.secs.max(1);
        match self {
            Self::Wrk { path, close } => {
                let mut command = stage.command(cores, Tool::WRK.command());
                command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{secs}s")]);
                if close {
                    command.args(["-H", "Connection: close"]);
                }
                command.arg(format!("http://{to}{path}"));
                command
            }
            Self::H2load => {
                let mut command = stage.command(cores, Tool::H2LOAD.command());
                command.args(["-t1", "-c8", "-m32", &format!("-D{secs}")]);
                command.arg(format!("http://{to}/1k"));
                command
            }
            Self::Bulk { streams } => {
                let bytes = u64::from(amount.megabytes) * 1_000_000;
                let mut command = stage.part(cores);
                command.args(["bulk", &to.to_string(), &streams.to_string(), &bytes.to_string()]);
                command
            }
            Self::Exchange => {
                let mut command = stage.part(cores);
                command.args([
                    "exchange",
                    &to.to_string(),
                    &PARALLEL.to_string(),
                    &secs.to_string(),
                ]);
                command
            }
        }
    }

    /// Runs the client to its end.
    ///
    /// # Errors
    /// It failed, took too long, or was served something wrong.
    pub(crate) fn run(
        self,
        stage: &Stage,
        cores: &str,
        to: SocketAddr,
        amount: Amount,
    ) -> anyhow::Result<Served> {
        let command = self.command(stage, cores, to, amount);
        let mut client = Process::start("client", command, &stage.folder.join("client.log"))?;
        let limit = Duration::from_secs(amount.secs.into()) + GRACE;
        self.served(&client.finish(limit)?)
    }

    /// Reads what the client printed.
    ///
    /// # Errors
    /// Something was not served, or the output has another form.
    pub(crate) fn served(self, output: &str) -> anyhow::Result<Served> {
        let served = match self {
            Self::Wrk { .. } => wrk(output),
            Self::H2load => h2load(output),
            Self::Bulk { .. } => own(output).map(|served| Served {
                units: served.units / 1e9,
                units_per_sec: served.units_per_sec / 1e9,
            }),
            Self::Exchange => own(output),
        }?;
        ensure!(served.units > 0.0, "nothing was served");
        Ok(served)
    }
}

fn wrk(output: &str) -> anyhow::Result<Served> {
    if let Some(line) = output
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        anyhow::bail!("wrk was not served well: {}", line.trim());
    }
    let units = number_before(output, " requests in ")?;
    let rate = output
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .context("wrk printed no `Requests/sec:`")?;
    Ok(Served {
        units,
        units_per_sec: rate
            .trim()
            .parse()
            .context("wrk's `Requests/sec:` is no number")?,
    })
}

fn h2load(output: &str) -> anyhow::Result<Served> {
    let succeeded = number_before(output, " succeeded")?;
    let failed = number_before(output, " failed")? + number_before(output, " errored")?;
    ensure!(
        failed == 0.0,
        "h2load was not served well: {failed} of {} requests failed",
        succeeded + failed
    );
    Ok(Served {
        units: succeeded,
        units_per_sec: number_before(output, " req/s")?,
    })
}

/// The last number before these words.
fn number_before(output: &str, words: &str) -> anyhow::Result<f64> {
    output
        .lines()
        .find_map(|line| line.split_once(words))
        .and_then(|(before, _)| before.rsplit([' ', ',']).next()?.parse().ok())
        .with_context(|| format!("the client printed no number of `{}`", words.trim()))
}

fn own(output: &str) -> anyhow::Result<Served> {
    let done: f64 = value(output, "done").context("the client printed no `done`")?;
    let seconds: f64 = value(output, "seconds").context("the client printed no `seconds`")?;
    Ok(Served {
        units: done,
        units_per_sec: done / seconds.max(1e-9),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 2s test @ http://127.0.0.1:20000/1k\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.17ms  192.18us   4.37ms   88.13%\n  113398 requests in 2.10s, 126.42MB read\nRequests/sec:  54011.13\nTransfer/sec:     60.21MB\n";

    #[test]
    fn wrk_counts_requests() {
        let served = wrk(WRK).unwrap();
        assert_eq!((served.units, served.units_per_sec), (113_398.0, 54_011.13));
    }

    #[test]
    fn an_answer_other_than_200_is_no_figure() {
        let output = WRK.replace("Requests/sec", "  Non-2xx or 3xx responses: 7\nRequests/sec");
        let error = wrk(&output).unwrap_err().to_string();
        assert!(error.contains("Non-2xx or 3xx responses: 7"), "{error}");
    }

    #[test]
    fn h2load_counts_what_succeeded() {
        let output = "finished in 2.00s, 60114.50 req/s, 62.1MB/s\nrequests: 120229 total, 120485 started, 120229 done, 120229 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let served = h2load(output).unwrap();
        assert_eq!((served.units, served.units_per_sec), (120_229.0, 60_114.5));
        assert!(h2load(&output.replace("0 errored", "3 errored")).is_err());
    }

    #[test]
    fn bulk_is_counted_in_gigabytes() {
        let served = Load::Bulk { streams: 1 }
            .served("done 2000000000\nseconds 4\n")
            .unwrap();
        assert_eq!((served.units, served.units_per_sec), (2.0, 0.5));
    }
}
