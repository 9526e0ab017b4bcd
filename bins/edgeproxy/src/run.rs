//! `edgeproxy run`: configuration, build, run, drain or hand over.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use edgeproxy_config::{ConfigError, Finding, Loaded, RawFlags, Severity, StoreKind, expiring, granting};
use edgeproxy_server::{
    App, BuildError, OpenSocket, Running, Serves, Trigger, WatchedFile, certificates, granted,
};
use tokio::runtime;

use crate::handover::{self, Given, Giving, Predecessor, Taken};
use crate::reload::{Layers, Reloader};
use crate::signals::{Request, Signal, Signals};
use crate::{activation, data_dir, limits, logging, service};

/// Serves until a signal comes, or another process takes its place.
pub(crate) fn run(flags: RawFlags) -> ExitCode {
    let activated = match activation::sockets() {
        Ok(sockets) => sockets,
        Err(error) => return fail(&error),
    };
    let layers = Layers::new(flags);
    // Before it is read: what changes meanwhile is read again.
    let file = layers.file();
    let loaded = match layers.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    serve(&loaded, layers, file, activated).unwrap_or_else(|error| fail(&error))
}

/// Why it serves no more.
enum End {
    Signal(Signal),
    HandedOver(Given),
}

fn serve(
    loaded: &Loaded,
    layers: Layers,
    file: WatchedFile,
    activated: Vec<OpenSocket>,
) -> anyhow::Result<ExitCode> {
    let filter = logging::start(loaded.settings.log_format, loaded.settings.log_level.as_str())?;
    let open_files = limits::raise_open_files();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let ended = runtime.block_on(async {
        // Before the listeners, so that no signal comes too early to be noticed.
        let mut signals = Signals::catch().context("signals can't be caught")?;
        let requests = Requests::catch().context("signals can't be caught")?;
        let folder = data_dir::usual(|name| std::env::var_os(name));
        let kept = loaded.settings.api_enabled && loaded.settings.store == StoreKind::File;
        if kept && folder.is_none() && loaded.settings.data_dir.is_none() {
            tracing::warn!(
                "registrations are kept in memory only, and a restart forgets them: there is neither STATE_DIRECTORY nor a \
                 home; name a folder by data_dir, or set store = \"memory\" if that is meant"
            );
        }
        let predecessor = Predecessor::find()?;
        let (running, taken) = begin(loaded.clone(), folder, activated, predecessor).await?;
        announce(loaded, &running);
        open_files
            .shortage(loaded.settings.max_connections)
            .into_iter()
            .for_each(|shortage| tracing::warn!("{shortage}"));
        let reloader = Reloader {
            layers,
            filter,
            findings: loaded.findings(),
        };
        match attend(&running, taken, (reloader, file), &mut signals, requests).await {
            End::Signal(signal) => drain(running, signal, &mut signals).await,
            End::HandedOver(given) => leave(running, given, &mut signals).await,
        }
    });
    // The last lines of a log that nobody reads may still wait to be written, and would be waited for.
    runtime.shutdown_background();
    ended
}

/// Binds, or takes what is there, and serves.
async fn begin(
    loaded: Loaded,
    folder: Option<PathBuf>,
    mut sockets: Vec<OpenSocket>,
    predecessor: Option<Predecessor>,
) -> anyhow::Result<(Running, Option<Taken>)> {
    let Some(mut predecessor) = predecessor else {
        let app = App::build_with(loaded, sockets).map_err(told)?;
        let running = app.usually_kept_in(folder).spawn().map_err(told)?;
        return Ok((running, None));
    };
    sockets.extend(predecessor.sockets().await?);
    let started = async {
        let app = App::build_with(loaded, sockets).map_err(told)?;
        let state = predecessor.prepared(&app).await?;
        let app = app.usually_kept_in(folder);
        let app = match state {
            Some(state) => app.going_on_from(&state).map_err(told)?,
            None => app,
        };
        app.spawn().map_err(told)
    };
    match started.await {
        Ok(running) => Ok((running, Some(predecessor.ready().await))),
        Err(error) => {
            predecessor.refuse(&format!("{error:#}")).await;
            Err(error)
        }
    }
}

/// Binds and serves; registrations are kept in `folder` where the settings name none.
pub(crate) fn start(loaded: Loaded, folder: Option<PathBuf>) -> anyhow::Result<Running> {
    let app = App::build(loaded).map_err(told)?;
    app.usually_kept_in(folder).spawn().map_err(told)
}

/// The server's errors end in their cause already, so the chain is cut here.
#[allow(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn told(error: BuildError) -> anyhow::Error {
    anyhow::Error::msg(error.to_string())
}

/// What it can be asked for besides its end.
struct Requests {
    reload: Request,
    hand_over: Request,
}

impl Requests {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            reload: Request::to_reload()?,
            hand_over: Request::to_hand_over()?,
        })
    }
}

/// Does what is asked for, until that is its end.
async fn attend(
    running: &Running,
    taken: Option<Taken>,
    (mut reloader, mut file): (Reloader, WatchedFile),
    signals: &mut Signals,
    mut requests: Requests,
) -> End {
    let mut watch = pin!(async {
        let Some(taken) = taken else {
            service::ready();
            return service::watchdog(running).await;
        };
        let before = taken.go().await;
        tracing::info!("in the place of the process before, this one serves");
        service::ready();
        let following = handover::follow(before, running.predecessor());
        tokio::join!(service::watchdog(running), following).0
    });
    let mut giving: Option<Giving<'_>> = None;
    loop {
        let trigger = tokio::select! {
            // What has been given is not to be drained as if it hadn't.
            biased;
            given = under_way(&mut giving) => match given {
                Ok(given) => return End::HandedOver(given),
                Err(error) => {
                    giving = None;
                    tracing::error!("not handed over: {error}; this process goes on");
                    continue;
                }
            },
            signal = signals.next() => return End::Signal(signal),
            never = &mut watch => match never {},
            () = requests.hand_over.next() => {
                if giving.is_some() {
                    tracing::warn!("not handed over again: a hand-over is under way");
                } else {
                    giving = Some(Box::pin(handover::give(running)));
                }
                continue;
            }
            () = requests.reload.next() => Trigger::Signal,
            () = file.changed(), if giving.is_none() => Trigger::File,
        };
        if giving.is_some() {
            tracing::warn!(
                "the configuration is not read again: a hand-over is under way, and the new process has read it"
            );
            continue;
        }
        file.known();
        service::reloading("reading the configuration again");
        reloader.reload(running, trigger).await;
        service::ready();
    }
}

/// What becomes of a hand-over; never anything where there is none.
async fn under_way(giving: &mut Option<Giving<'_>>) -> <Giving<'static> as Future>::Output {
    match giving {
        Some(giving) => giving.await,
        None => std::future::pending().await,
    }
}

async fn drain(running: Running, signal: Signal, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    service::stopping();
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
        never = service::last_watch() => match never {},
    }
}

/// Ends in peace while another process serves.
async fn leave(running: Running, given: Given, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let (successor, untaken) = (given.successor, given.untaken.clone());
    // Before it says something itself, and before this one ends: the manager listens to the main process alone.
    service::handed_over(successor);
    let channel = given.go().await;
    tracing::info!(successor, "handed over: draining; two signals exit at once");
    let mut answering = pin!(handover::answer(channel, running.successor()));
    let mut left = pin!(running.leave(&untaken));
    let mut is_asked = false;
    loop {
        let signal = tokio::select! {
            () = &mut left => {
                tracing::info!("drained");
                return Ok(ExitCode::SUCCESS);
            }
            never = &mut answering => match never {},
            signal = signals.next() => signal,
        };
        if is_asked {
            tracing::warn!("second signal, {}: exiting without draining", signal.name());
            return Ok(signal.exit_code());
        }
        is_asked = true;
        tracing::info!(
            "{} received: draining already; a second signal exits at once",
            signal.name()
        );
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
    let data_dir = running.data_dir().map(|folder| folder.display().to_string());
    tracing::info!(
        region = %settings.region,
        algorithm = %settings.algorithm,
        spill = %settings.spill,
        store = running.handle().store_status().name,
        data_dir,
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
