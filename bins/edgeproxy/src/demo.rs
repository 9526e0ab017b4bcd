//! `edgeproxy demo`: the product at work on one machine, with nothing to install.
//!
//! Nothing in it is simulated but the work of the sample backends: they are HTTP servers on loopback that
//! register through the real API, and the clients reach them through the real proxy. All that the demo
//! adds lives in this process and ends with it.

mod backends;
mod script;
mod table;
mod traffic;
mod verdict;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use edgeproxy_config::{HealthMonitor, LogFormat, Settings, Spill};
use edgeproxy_server::Running;
use tokio::runtime;

use crate::cli::DemoOptions;
use crate::signals::Signals;
use crate::{limits, logging, run};
use backends::Fleet;
use script::{Ended, Stage};
use table::Screen;
use traffic::Traffic;

/// The variable that the log's level is taken from, as in `run`. The table has the screen, so only errors
/// are logged by default.
const LOG_ENV: &str = "EDGEPROXY_LOG";

/// Shows the product until it is interrupted, or for ten seconds.
pub(crate) fn run(options: &DemoOptions) -> ExitCode {
    match show_in_runtime(options) {
        Ok(code) => code,
        // Whoever closes the pipe has seen enough, and needs no message about it.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => run::fail(&error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn show_in_runtime(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    let filter = std::env::var(LOG_ENV).ok().filter(|filter| !filter.is_empty());
    logging::start(LogFormat::Text, filter.as_deref().unwrap_or("error"))?;
    limits::raise_open_files();
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?
        .block_on(show(options))
}

async fn show(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch().context("signals can't be caught")?;
    let settings = settings(options)?;
    let running = run::start(settings.clone().into(), None)?;
    let api = running.api_addr().context("the API did not start")?;
    let fleet = Fleet::start(api).await?;
    let mut screen = Screen::on_stdout();
    screen.print(&introduction(&settings, &running, api))?;

    let mut stage = Stage::new(fleet, Traffic::start(running.proxy_addr()), api);
    let ended = stage.play(options.once, &mut signals, &mut screen).await?;
    // A second signal means now, whatever is still to be said or closed.
    tokio::select! {
        outcome = close(stage, running) => finish(options, ended, &outcome?, &mut screen),
        signal = signals.next() => Ok(signal.exit_code()),
    }
}

/// Traffic first, then the backends, then the proxy: each while what it needs is still there.
async fn close(stage: Stage, running: Running) -> anyhow::Result<verdict::Evidence> {
    let evidence = stage.close().await;
    running.drain().await;
    evidence
}

fn finish(
    options: &DemoOptions,
    ended: Ended,
    evidence: &verdict::Evidence,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    screen.print(&table::summary(evidence))?;
    match ended {
        Ended::Interrupted(signal) if options.once => {
            screen.print(&format!(
                "{} came before the end, so nothing is proven.\n",
                signal.name()
            ))?;
            Ok(signal.exit_code())
        }
        Ended::Interrupted(_) => Ok(ExitCode::SUCCESS),
        Ended::Played => {
            let verdict = evidence.verdict();
            screen.print(&format!("{verdict}\n"))?;
            Ok(if verdict.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn settings(options: &DemoOptions) -> anyhow::Result<Settings> {
    Ok(Settings {
        listen_addr: Some(options.listen.unwrap_or_else(|| usual_or_free(8080))),
        api_enabled: true,
        api_listen_addr: options.api_listen.unwrap_or_else(|| usual_or_free(8081)),
        region: backends::HOME.parse()?,
        spill: Spill::Soft,
        max_failures: 3,
        max_ejection_percent: 50,
        health_monitor: HealthMonitor::Tcp,
        health_interval: Duration::from_secs(1),
        heartbeat_ttl: backends::LEASE,
        drain_timeout: Duration::from_secs(5),
        ..Settings::default()
    })
}

/// The usual port of this machine, or one that the system chooses if something listens there.
fn usual_or_free(port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let free = TcpListener::bind(usual).is_ok();
    if free {
        usual
    } else {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }
}

fn introduction(settings: &Settings, running: &Running, api: SocketAddr) -> String {
    let proxy = running.proxy_addr();
    let chosen = |wanted: Option<SocketAddr>| {
        if wanted.is_some_and(|wanted| wanted.port() == 0) {
            " (the usual port is taken)"
        } else {
            ""
        }
    };
    format!(
        "edgeproxy {version} demo\n\
         \n\
         proxy     http://{proxy}/{proxy_chosen}\n\
         dashboard http://{api}/{api_chosen}\n\
         API       http://{api}/api/v1/backends\n\
         settings  region {region}, algorithm {algorithm}, spill {spill}, max_failures {max_failures}, health_monitor {monitor},\n\
         \x20         lease {lease} s\n\
         backends  {fleet}\n\
         \x20         each with soft_limit {soft} and hard_limit {hard}; a request takes one of them {work} ms\n\
         clients   {quiet} at first, then {rush}; at most {rate} requests/s\n\
         \n\
         Try, in another terminal:\n\
         \x20 curl -i http://{proxy}/\n\
         \x20 curl 'http://{api}/api/v1/explain?app={app}'\n\
         \x20 curl -X PATCH -H 'Content-Type: application/json' -d '{{\"enabled\":false}}' http://{api}/api/v1/backends/eu-1\n\
         \n",
        version = env!("CARGO_PKG_VERSION"),
        proxy_chosen = chosen(settings.listen_addr),
        api_chosen = chosen(Some(settings.api_listen_addr)),
        region = settings.region,
        algorithm = settings.algorithm,
        spill = settings.spill,
        max_failures = settings.max_failures,
        monitor = settings.health_monitor,
        lease = settings.heartbeat_ttl.as_secs(),
        fleet = backends::described(),
        soft = backends::SOFT_LIMIT,
        hard = backends::HARD_LIMIT,
        work = backends::WORK_RANGE_TEXT,
        quiet = script::QUIET_CLIENTS,
        rush = script::RUSH_CLIENTS,
        rate = traffic::MAX_RATE,
        app = backends::APP,
    )
}
