//! The command line. The flags of `run` are made from the list of settings, so that none can be missing.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    value_parser,
};
use edgeproxy_config::{CONFIG_DEFAULT, CONFIG_ENV, CONFIG_FLAG, Kind, RawFlags, Setting, Settings};

use crate::check::CheckOptions;
use crate::drain::DrainOptions;
use crate::events::EventsOptions;
use crate::explain::ExplainOptions;
use crate::health::HealthOptions;
use crate::import::Import;
use crate::listing::{AppsOptions, BackendsOptions};
use crate::manual::{CompletionsOptions, ManOptions};
use crate::openapi::OpenapiOptions;
use crate::simulate::SimulateOptions;
use crate::token::TokenTask;
use crate::top::TopOptions;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Serve.
    Run(RawFlags),
    /// Look at a configuration.
    Check(CheckOptions),
    /// Make one.
    Import(Import),
    /// Ask why.
    Explain(ExplainOptions),
    /// Ask who.
    Backends(BackendsOptions),
    /// Ask for what.
    Apps(AppsOptions),
    /// Take one out.
    Drain(DrainOptions),
    /// Ask what happened.
    Events(EventsOptions),
    /// Watch.
    Top(TopOptions),
    /// Ask how it is.
    Health(HealthOptions),
    /// Make a token.
    Token(TokenTask),
    /// Show.
    Demo(DemoOptions),
    /// Foresee.
    Simulate(SimulateOptions),
    /// Teach a shell.
    Completions(CompletionsOptions),
    /// Write the manual.
    Man(ManOptions),
    /// Describe the API.
    Openapi(OpenapiOptions),
}

#[derive(Parser, Debug)]
#[command(
    name = "edgeproxy",
    version,
    about = "The load balancer that backends register themselves with",
    long_about = None,
    after_help = "Flags win over EDGEPROXY_* variables, those over edgeproxy.toml, and that over the defaults.\n\
                  SIGTERM and SIGINT drain and exit 0; a second one exits at once.\n\
                  Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration; of check and import: \
                  1 findings, 2 what can't be used.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    task: Option<TaskArgs>,
    #[command(flatten)]
    flags: RunFlags,
}

#[derive(Subcommand, Debug)]
enum TaskArgs {
    /// Serve until a signal comes; what happens without a subcommand.
    Run(RunFlags),
    /// Report what is wrong with the configuration, or risky: the place, what follows, and what to write instead.
    ///
    /// It takes the flags and the environment of `run`. Exit codes: 0 nothing, 1 findings, 2 what can't be used.
    Check(CheckOptions),
    /// Make a configuration from another system's files.
    #[command(subcommand)]
    Import(Import),
    /// Say which backend would get the next request, and why not the others.
    Explain(ExplainOptions),
    /// List the backends of a running edgeproxy.
    Backends(BackendsOptions),
    /// List the apps of a running edgeproxy.
    Apps(AppsOptions),
    /// Give a backend no new requests; those that it has go on.
    Drain(DrainOptions),
    /// Print what has happened to backends, and follow it.
    Events(EventsOptions),
    /// Watch the apps and backends of a running edgeproxy, live, on the whole terminal.
    Top(TopOptions),
    /// Say by the exit code whether a running edgeproxy takes traffic, as a container's health check asks.
    Health(HealthOptions),
    /// Make tokens for the API, and their entries in the file of tokens.
    #[command(subcommand)]
    Token(TokenTask),
    /// Show it at work: a proxy, seven backends in three regions, and a little traffic, all on this machine.
    Demo(DemoOptions),
    /// Simulate a fleet in virtual time: real balancing, ledgers and health checks, made-up backends and clients.
    ///
    /// The same file and seed give the same result. Exit codes: 0 done, 2 what can't be used.
    Simulate(SimulateOptions),
    /// Print what a shell needs to complete commands and flags.
    Completions(CompletionsOptions),
    /// Print the manual page, or write that of each command into a folder.
    Man(ManOptions),
    /// Print the description of the API in OpenAPI 3.1, as GET /openapi.json has it.
    Openapi(OpenapiOptions),
}

/// How the demonstration runs.
#[derive(Args, Debug, Clone)]
pub(crate) struct DemoOptions {
    /// End after ten seconds, with exit code 0 if everything went as it should.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the proxy listens [default: 127.0.0.1:8080, or a free port].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where its API listens [default: 127.0.0.1:8081, or a free port].
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) api_listen: Option<SocketAddr>,
}

/// The settings as flags, unread: `edgeproxy-config` judges them together with the other layers.
#[derive(Debug)]
pub(crate) struct RunFlags(pub(crate) RawFlags);

/// Reads the command line; ends the process on `--help`, `--version` and wrong usage.
pub(crate) fn parse() -> Task {
    Cli::parse().into()
}

/// All commands with all flags, for whoever describes them.
pub(crate) fn definition() -> Command {
    Cli::command()
}

impl From<Cli> for Task {
    fn from(cli: Cli) -> Self {
        match cli.task {
            None => Self::Run(cli.flags.0),
            Some(TaskArgs::Run(flags)) => Self::Run(flags.0),
            Some(TaskArgs::Check(options)) => Self::Check(options),
            Some(TaskArgs::Import(import)) => Self::Import(import),
            Some(TaskArgs::Explain(options)) => Self::Explain(options),
            Some(TaskArgs::Backends(options)) => Self::Backends(options),
            Some(TaskArgs::Apps(options)) => Self::Apps(options),
            Some(TaskArgs::Drain(options)) => Self::Drain(options),
            Some(TaskArgs::Events(options)) => Self::Events(options),
            Some(TaskArgs::Top(options)) => Self::Top(options),
            Some(TaskArgs::Health(options)) => Self::Health(options),
            Some(TaskArgs::Token(task)) => Self::Token(task),
            Some(TaskArgs::Demo(options)) => Self::Demo(options),
            Some(TaskArgs::Simulate(options)) => Self::Simulate(options),
            Some(TaskArgs::Completions(options)) => Self::Completions(options),
            Some(TaskArgs::Man(options)) => Self::Man(options),
            Some(TaskArgs::Openapi(options)) => Self::Openapi(options),
        }
    }
}

impl Args for RunFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG_FLAG)
            .long(CONFIG_FLAG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!(
                "The configuration file [env: {CONFIG_ENV}] [default: {CONFIG_DEFAULT}, if it exists]"
            ));
        command.arg(config).args(Settings::ALL.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            let values = matches.get_many::<OsString>(setting.key).into_iter().flatten();
            values.map(|value| (setting.key, value.clone()))
        };
        Ok(Self(RawFlags {
            config: matches.get_one::<PathBuf>(CONFIG_FLAG).cloned(),
            values: Settings::ALL.iter().flat_map(given).collect(),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let default = if setting.default.is_empty() {
        "none"
    } else {
        setting.default
    };
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.kind.value_name())
        .value_parser(value_parser!(OsString))
        .help(format!(
            "{} [env: {}] [default: {default}]",
            setting.doc(),
            setting.env()
        ));
    match setting.kind {
        // `--api-enabled` alone says it all, and must not swallow the word after it.
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        kind if kind.is_many() => arg.action(ArgAction::Append),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &[&str]) -> Task {
        Cli::try_parse_from(std::iter::once(&"edgeproxy").chain(words))
            .unwrap()
            .into()
    }

    fn flags(words: &[&str]) -> RawFlags {
        match task(words) {
            Task::Run(flags) => flags,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_what_happens_without_a_subcommand() {
        let expected = RawFlags {
            config: Some("a.toml".into()),
            values: vec![
                ("region", "eu".into()),
                ("api_enabled", "true".into()),
                ("trusted_proxies", "::1".into()),
            ],
        };
        let words = [
            "--api-enabled",
            "--region",
            "eu",
            "--config=a.toml",
            "--trusted-proxies",
            "::1",
        ];
        assert_eq!(flags(&words), expected);
        assert_eq!(flags(&[&["run"], &words[..]].concat()), expected);
        assert_eq!(flags(&[]), RawFlags::default());
    }

    #[test]
    fn a_switch_takes_a_value_and_a_list_several() {
        let given = flags(&[
            "--api-enabled=false",
            "--trusted-proxies",
            "::1",
            "--trusted-proxies=10.0.0.0/8",
        ]);
        let values: Vec<(&str, OsString)> = vec![
            ("api_enabled", "false".into()),
            ("trusted_proxies", "::1".into()),
            ("trusted_proxies", "10.0.0.0/8".into()),
        ];
        assert_eq!(given.values, values);
    }

    #[test]
    fn help_shows_every_setting_with_its_variable_and_default() {
        let help = Cli::command().term_width(0).render_long_help().to_string();
        for setting in Settings::ALL {
            for part in [
                format!("--{}", setting.flag()),
                format!("[env: {}]", setting.env()),
                setting.doc().to_owned(),
            ] {
                assert!(help.contains(&part), "{part} is not in\n{help}");
            }
        }
        assert!(help.contains("[default: 0.0.0.0:8080]"));
    }

    #[test]
    fn an_unknown_flag_is_refused_with_exit_code_2() {
        let error = Cli::try_parse_from(["edgeproxy", "--regoin", "eu"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--region"), "{error}");
    }

    #[test]
    fn demo_has_flags_of_its_own() {
        assert!(matches!(
            task(&["demo", "--once"]),
            Task::Demo(DemoOptions {
                once: true,
                listen: None,
                ..
            })
        ));
        assert!(Cli::try_parse_from(["edgeproxy", "demo", "--region", "eu"]).is_err());
    }
}
