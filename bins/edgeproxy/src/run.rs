//! `edgeproxy run`: configuration, build, run, drain.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use edgeproxy_config::{ConfigError, Finding, Loaded, RawFlags, Severity, expiring, granting};
use edgeproxy_server::{App, BuildError, Running, Serves, Trigger, WatchedFile, certificates, granted};
use tokio::runtime;

use crate::reload::{Layers, Reloader};
use crate::signals::{Hangup, Signal, Signals};
use crate::{limits, logging};

/// Serves until a signal comes.
pub(crate) fn run(flags: RawFlags) -> ExitCode {
    let layers = Layers::new(flags);
    // Before it is read: what changes meanwhile is read again.
    let file = layers.file();
    let loaded = match layers.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    serve(&loaded, layers, file).unwrap_or_else(|error| fail(&error))
}

fn serve(loaded: &Loaded, layers: Layers, mut file: WatchedFile) -> anyhow::Result<ExitCode> {
    let filter = logging::start(loaded.settings.log_format, loaded.settings.log_level.as_str())?;
    let open_files = limits::raise_open_files();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        // Before the listeners, so that no signal comes too early to be noticed.
        let mut signals = Signals::catch().context("signals can't be caught")?;
        let mut hangup = Hangup::catch().context("signals can't be caught")?;
        let running = start(loaded.clone())?;
        announce(loaded, &running);
        open_files
            .shortage()
            .into_iter()
            .for_each(|shortage| tracing::warn!("{shortage}"));
        let mut reloader = Reloader {
            layers,
            filter,
            findings: loaded.findings(),
        };
        let signal = loop {
            let trigger = tokio::select! {
                signal = signals.next() => break signal,
                () = hangup.next() => Trigger::Signal,
                () = file.changed() => Trigger::File,
            };
            file.known();
            reloader.reload(&running, trigger).await;
        };
        drain(running, signal, &mut signals).await
    })
}

/// Binds and serves. The server's errors end in their cause already, so the chain is cut here.
pub(crate) fn start(loaded: Loaded) -> anyhow::Result<Running> {
    let told = |error: BuildError| anyhow::Error::msg(error.to_string());
    App::build(loaded).map_err(told)?.spawn().map_err(told)
}

async fn drain(running: Running, signal: Signal, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    tracing::info!(
        "{} received: draining; a second signal exits at once",
        signal.name()
    );
    tokio::select! {
        () = running.drain() => {
            tracing::info!("drained");
            Ok(ExitCode::SUCCESS)
        }
        signal = signals.next() => {
            tracing::warn!("second signal, {}: exiting without draining", signal.name());
            Ok(signal.exit_code())
        }
    }
}

fn announce(loaded: &Loaded, running: &Running) {
    let settings = &loaded.settings;
    let file = loaded
        .file
        .as_ref()
        .map_or("no file".to_owned(), |file| file.display().to_string());
    for listener in running.listening() {
        let (workers, name) = (settings.workers.count(), listener.name.as_str());
        let (version, addr) = (env!("CARGO_PKG_VERSION"), listener.addr);
        let served = match &listener.serves {
            Serves::Http => format!("serves HTTP/1.1 and HTTP/2 on {addr}"),
            Serves::Https => format!("serves HTTPS, HTTP/1.1 and HTTP/2, on {addr}"),
            Serves::Tcp(app) => format!("serves TCP on {addr}, for app {app}"),
            Serves::TcpInTls(app) => format!("serves TCP inside TLS on {addr}, for app {app}"),
            Serves::Sni => format!("passes TLS on by its server name on {addr}"),
        };
        tracing::info!(workers, listener = name, "edgeproxy {version} {served}");
    }
    match running.api_addr() {
        Some(addr) => {
            let scheme = if settings.api_tls_cert.is_some() {
                "https"
            } else {
                "http"
            };
            tracing::info!("backends register at {scheme}://{addr}/api/v1/register");
        }
        None => tracing::info!("the API is off"),
    }
    tracing::info!(
        region = %settings.region,
        algorithm = %settings.algorithm,
        spill = %settings.spill,
        store = "memory",
        configuration = file,
        "settings",
    );
    loaded.findings().iter().for_each(warn);
    // They have been read a moment ago, and what is wrong with them would have been told then.
    let certificates = certificates(settings).unwrap_or_default();
    expiring(&certificates).iter().for_each(warn);
    let known = granted(settings).ok().flatten();
    known.iter().flat_map(granting).for_each(|finding| warn(&finding));
}

/// Logs a finding as loudly as it is bad.
pub(crate) fn warn(finding: &Finding) {
    let place = finding.place.as_ref().map(tracing::field::display);
    let (rule, message, advice) = (finding.rule, &finding.message, &finding.advice);
    match finding.severity {
        Severity::Error => tracing::error!(rule, place, "{message}: {advice}"),
        Severity::Warning => tracing::warn!(rule, place, "{message}: {advice}"),
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    tell(&format!(
        "{error}\nNothing was started. `edgeproxy run --help` lists every setting."
    ));
    ExitCode::from(2)
}

/// Ends with exit code 1 and the error's whole chain, on one line.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    tell(&format!("{error:#}"));
    ExitCode::FAILURE
}

fn tell(message: &str) {
    // If nobody can be told, the exit code still can.
    let _ = writeln!(io::stderr(), "edgeproxy: {message}");
}
