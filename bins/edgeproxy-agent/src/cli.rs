//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand as _};
use edgeproxy_agent::{Agent, ApiUrl, Builder, Registration, Trust};
use edgeproxy_backend::{AppName, BackendId, Country, Limits, Metadata, Protocol, Region, Weight};

use crate::life;
use crate::manual::ManualTask;
use crate::probe::Probe;

/// What the command line asks for.
pub(crate) enum Task {
    /// Keep a server registered.
    Run(Box<Plan>),
    /// Tell of the command line.
    Manual(ManualTask),
}

/// How a server is kept registered.
pub(crate) struct Plan {
    /// Empty: the server runs already.
    pub(crate) command: Vec<OsString>,
    pub(crate) limits: life::Limits,
    pub(crate) probe: Probe,
    pub(crate) builder: Builder,
    pub(crate) registration: Registration,
}

#[derive(Parser)]
#[command(
    name = "edgeproxy-agent",
    version,
    about = "Starts a server, registers it with edgeproxy once its port answers, and takes it out of rotation before it stops",
    long_about = None,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "edgeproxy-agent --api URL[,URL…] --app APP --region REGION --port PORT [OPTIONS] [-- COMMAND [ARG…]]",
    after_help = "Without a command it registers a server that runs already.\n\
                  SIGTERM, SIGINT and SIGQUIT deregister first, wait until nothing is in flight (--drain), and are then \
                  passed on; a second one doesn't wait. SIGHUP, SIGUSR1 and SIGUSR2 are passed on at once.\n\
                  Exit codes: the server's own, 128 + n if signal n ended it; 0 without a command; 2 wrong usage, 124 the \
                  port never answered, 125 the registration was refused, 126 the command can't be run, 127 there is no \
                  such command."
)]
struct Keep {
    /// Where the API is, such as http://10.0.0.1:8081. Several that share a registry are tried in turn.
    #[arg(
        long,
        value_name = "URL",
        env = "EDGEPROXY_AGENT_API",
        value_delimiter = ',',
        required = true
    )]
    api: Vec<ApiUrl>,
    /// The app that the server serves.
    #[arg(long, env = "EDGEPROXY_AGENT_APP")]
    app: AppName,
    /// The region that it runs in; the API knows which there are, such as eu.
    #[arg(long, env = "EDGEPROXY_AGENT_REGION")]
    region: Region,
    /// The port that it serves on.
    #[arg(long, env = "EDGEPROXY_AGENT_PORT")]
    port: NonZeroU16,
    /// Who it is; must stay the same when it is started again [default: HOST-APP-PORT].
    #[arg(long, env = "EDGEPROXY_AGENT_ID")]
    id: Option<BackendId>,
    /// Where proxies reach it [default: the address from which this machine reaches the API].
    #[arg(long, env = "EDGEPROXY_AGENT_IP")]
    ip: Option<IpAddr>,
    /// The country that it runs in, as ISO 3166-1 alpha-2 [default: the region's].
    #[arg(long, env = "EDGEPROXY_AGENT_COUNTRY")]
    country: Option<Country>,
    /// Its share of traffic, 0 to 1000 [default: the API's, 2].
    #[arg(long, env = "EDGEPROXY_AGENT_WEIGHT", value_parser = weight)]
    weight: Option<Weight>,
    /// Requests at a time that it is comfortable with, 0 for no limit; together with --hard-limit [default: the API's, 100].
    #[arg(long, env = "EDGEPROXY_AGENT_SOFT_LIMIT", requires = "hard_limit")]
    soft_limit: Option<u32>,
    /// Requests at a time that it never gets more of, 0 for no limit; together with --soft-limit [default: the API's, 150].
    #[arg(long, env = "EDGEPROXY_AGENT_HARD_LIMIT", requires = "soft_limit")]
    hard_limit: Option<u32>,
    /// Use it only when every other backend of the app is out.
    #[arg(long, env = "EDGEPROXY_AGENT_FALLBACK")]
    fallback: bool,
    /// What it speaks: http1, h2c, https or tcp.
    #[arg(long, env = "EDGEPROXY_AGENT_PROTOCOL", default_value = "http1", value_parser = protocol)]
    protocol: Protocol,
    /// How long it counts as alive after a heartbeat, such as 30s [default: the API's].
    #[arg(long, value_name = "DURATION", env = "EDGEPROXY_AGENT_TTL", value_parser = duration)]
    ttl: Option<Duration>,
    /// Something else to be known about it; several by commas or by several flags.
    #[arg(long, value_name = "KEY=VALUE", env = "EDGEPROXY_AGENT_METADATA", value_delimiter = ',', value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// The file of the API's bearer token; read for every request, so it can be replaced. EDGEPROXY_API_TOKEN_FILE is
    /// heeded as well.
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The certificates of the authorities that are trusted about an https API, as PEM [default: the system's].
    #[arg(long, value_name = "FILE", env = "EDGEPROXY_AGENT_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to show to an https API, as PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "EDGEPROXY_AGENT_CERT_FILE",
        requires = "key_file"
    )]
    cert_file: Option<PathBuf>,
    /// Its key, as PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "EDGEPROXY_AGENT_KEY_FILE",
        requires = "cert_file"
    )]
    key_file: Option<PathBuf>,
    /// A path that answers with 2xx or 3xx once the server is ready [default: an open port is enough].
    #[arg(long, value_name = "PATH", env = "EDGEPROXY_AGENT_READY_PATH", value_parser = path)]
    ready_path: Option<String>,
    /// How long the port may take to answer.
    #[arg(long, value_name = "DURATION", env = "EDGEPROXY_AGENT_START_TIMEOUT", default_value = "60s", value_parser = duration)]
    start_timeout: Duration,
    /// Ask the port as often as that while it serves, and send no heartbeats while it doesn't answer three times in a row.
    #[arg(long, value_name = "DURATION", env = "EDGEPROXY_AGENT_WATCH", num_args = 0..=1, default_missing_value = "5s", value_parser = duration)]
    watch: Option<Duration>,
    /// How long what is in flight may last once the server is out of rotation.
    #[arg(long, value_name = "DURATION", env = "EDGEPROXY_AGENT_DRAIN", default_value = "30s", value_parser = duration)]
    drain: Duration,
    /// How long the server may take to stop after the signal, before it is killed.
    #[arg(long, value_name = "DURATION", env = "EDGEPROXY_AGENT_KILL_AFTER", default_value = "30s", value_parser = duration)]
    kill_after: Duration,
    /// The server to be started.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Reads the command line; ends the process on `--help`, `--version` and what is no flag.
pub(crate) fn task() -> Result<Task, ExitCode> {
    let matches = definition().get_matches();
    task_of(&matches).map_err(|error| {
        let error = error.context("edgeproxy-agent");
        // Standard error may be closed; whoever closed it doesn't read it.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{error:#}\n").as_bytes());
        ExitCode::from(2)
    })
}

/// The whole command line.
pub(crate) fn definition() -> Command {
    ManualTask::augment_subcommands(Keep::command())
        .subcommand_required(false)
        .arg_required_else_help(false)
}

fn task_of(matches: &ArgMatches) -> anyhow::Result<Task> {
    // With one of these commands nothing else is needed, also where variables say some of it.
    if matches.subcommand().is_some() {
        return Ok(Task::Manual(ManualTask::from_arg_matches(matches)?));
    }
    let plan = Keep::from_arg_matches(matches)?.plan()?;
    Ok(Task::Run(Box::new(plan)))
}

impl Keep {
    fn plan(self) -> anyhow::Result<Plan> {
        ensure!(!self.api.is_empty(), "--api names no address");
        ensure!(
            self.api.len() <= Builder::MAX_APIS,
            "--api names {} addresses; at most {} are tried",
            self.api.len(),
            Builder::MAX_APIS
        );
        let by_http = self.protocol == Protocol::Http1;
        ensure!(
            by_http || self.ready_path.is_none(),
            "--ready-path asks by HTTP/1.1 in the clear, and the protocol is {}; leave it out",
            self.protocol
        );
        let id = match &self.id {
            Some(id) => id.clone(),
            None => default_id(&host(), &self.app, self.port)?,
        };
        let limits = match (self.soft_limit, self.hard_limit) {
            (Some(soft), Some(hard)) => {
                Some(Limits::new(soft, hard).context("--soft-limit and --hard-limit")?)
            }
            _ => None,
        };
        let registration = Registration {
            country: self.country,
            ip: self.ip,
            weight: self.weight,
            limits,
            fallback: self.fallback,
            protocol: self.protocol,
            ttl: self.ttl,
            metadata: Metadata::new(self.metadata.clone()).context("--metadata")?,
            ..Registration::new(id, self.app.clone(), self.region, self.port)
        };
        let probe = Probe {
            ip: self.ip,
            apis: self.api.clone(),
            port: self.port,
            path: self.ready_path.clone(),
            watch: self.watch.map(|watch| watch.max(SHORTEST_WATCH)),
        };
        Ok(Plan {
            limits: life::Limits {
                start: self.start_timeout,
                drain: self.drain,
                kill_after: self.kill_after,
            },
            probe,
            builder: self.builder()?,
            registration,
            command: self.command,
        })
    }

    fn builder(&self) -> anyhow::Result<Builder> {
        let mut builder = Agent::builder().drain(self.drain);
        for api in &self.api {
            builder = builder.api(api.clone());
        }
        let shared = std::env::var_os("EDGEPROXY_API_TOKEN_FILE").map(PathBuf::from);
        if let Some(file) = self.token_file.clone().or(shared) {
            ensure!(
                file.is_file(),
                "the token file {} is not there, or no file",
                file.display()
            );
            builder = builder.token_file(file);
        }
        if self.ca_file.is_some() || self.cert_file.is_some() {
            let trust = match &self.ca_file {
                Some(file) => Trust::from_pem(&read(file)?).with_context(|| file.display().to_string())?,
                None => Trust::system(),
            };
            let trust = match (&self.cert_file, &self.key_file) {
                (Some(cert), Some(key)) => trust
                    .with_identity(&read(cert)?, &read(key)?)
                    .with_context(|| format!("{} with {}", cert.display(), key.display()))?,
                _ => trust,
            };
            builder = builder.trust(trust);
        }
        Ok(builder)
    }
}

/// A watch is no load.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The same after a restart, and another for every server of this machine.
fn default_id(host: &str, app: &AppName, port: NonZeroU16) -> anyhow::Result<BackendId> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let host: String = host.chars().map(|c| if legal(c) { c } else { '-' }).collect();
    let id = format!("{host}-{app}-{port}");
    BackendId::parse(&id).with_context(|| format!("the default id {id:?} is none; name one by --id"))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("is {text:?}; expected a duration with its unit, such as 30s or 2m"))
}

fn weight(text: &str) -> Result<Weight, String> {
    let number = text
        .parse()
        .map_err(|_| format!("is {text:?}; expected a number between 0 and {}", Weight::MAX))?;
    Weight::new(number).map_err(|error| error.to_string())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let known = || Protocol::ALL.map(Protocol::as_str).join(", ");
    Protocol::from_name(text).ok_or_else(|| format!("is {text:?}; expected one of {}", known()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("is {text:?}; expected KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("is {text:?}; expected a path such as /healthz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [&str; 9] = [
        "edgeproxy-agent",
        "--api",
        "http://127.0.0.1:1,http://127.0.0.1:2",
        "--app",
        "shop",
        "--region",
        "eu",
        "--port",
        "8080",
    ];

    fn plan(more: &[&str]) -> Result<Plan, String> {
        let matches = definition().try_get_matches_from(NEEDED.iter().chain(more));
        let matches = matches.map_err(|error| error.to_string())?;
        match task_of(&matches).map_err(|error| format!("{error:#}"))? {
            Task::Run(plan) => Ok(*plan),
            Task::Manual(task) => panic!("{task:?}"),
        }
    }

    #[test]
    fn the_command_is_what_follows_the_dashes() {
        let plan = plan(&["--id", "b", "--", "./server", "--flag", "x"])
            .ok()
            .unwrap();
        assert_eq!(plan.command, ["./server", "--flag", "x"]);
        assert_eq!(plan.registration.id.as_str(), "b");
        assert_eq!(plan.limits.drain, Duration::from_secs(30));
    }

    #[test]
    fn an_id_is_of_the_host_the_app_and_the_port() {
        let app = AppName::parse("shop").unwrap();
        let port = NonZeroU16::new(80).unwrap();
        assert_eq!(
            default_id("web 1é", &app, port).unwrap().as_str(),
            "web-1--shop-80"
        );
        let told = format!("{:#}", default_id(&"x".repeat(200), &app, port).unwrap_err());
        assert!(told.contains("--id"), "{told}");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_expected() {
        for (flags, expected) in [
            (&["--drain", "30"][..], "with its unit, such as 30s"),
            (&["--weight", "1001"], "1000"),
            (&["--protocol", "http2"], "http1, h2c, https, tcp"),
            (&["--metadata", "zone"], "KEY=VALUE"),
            (&["--ready-path", "healthz"], "such as /healthz"),
            (&["--ready-path", "/h", "--protocol", "h2c"], "leave it out"),
            (&["--soft-limit", "5"], "--hard-limit"),
            (&["--soft-limit", "5", "--hard-limit", "4"], "--hard-limit"),
            (&["--token-file", "/nowhere/token"], "/nowhere/token is not there"),
            (&["--ca-file", "/nowhere/ca.pem"], "/nowhere/ca.pem can't be read"),
        ] {
            let told = plan(flags).err().expect("it is refused");
            assert!(told.contains(expected), "{flags:?}: {told}");
        }
    }

    #[test]
    fn more_apis_than_are_tried_are_refused_before_anything_is_started() {
        let more = ["http://127.0.0.1:3"; Builder::MAX_APIS].join(",");
        let told = plan(&["--api", &more]).err().expect("it is refused");
        assert!(told.contains("--api names 18 addresses; at most 16"), "{told}");
    }

    #[test]
    fn every_flag_has_a_variable() {
        let command = definition();
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
                continue;
            };
            let variable = format!("EDGEPROXY_AGENT_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                arg.get_env().and_then(|env| env.to_str()),
                Some(&*variable),
                "--{long}"
            );
        }
    }
}
