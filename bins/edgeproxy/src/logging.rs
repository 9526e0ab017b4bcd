//! Log lines on standard error, for people or for machines.

use std::io::{self, IsTerminal};

use anyhow::Context;
use edgeproxy_config::LogFormat;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Which lines are written, to be changed while they are.
pub(crate) struct Filter(reload::Handle<Targets, Registry>);

impl Filter {
    /// Goes over to another filter, one that `edgeproxy-config` has checked.
    pub(crate) fn change(&self, filter: &str) -> anyhow::Result<()> {
        self.0
            .reload(targets(filter)?)
            .context("the log filter can't be changed")
    }
}

/// Starts logging, once for the process. The filter is one that `edgeproxy-config` has checked.
pub(crate) fn start(format: LogFormat, filter: &str) -> anyhow::Result<Filter> {
    let (targets, handle) = reload::Layer::new(targets(filter)?);
    let lines = layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        LogFormat::Text => registry
            .with(lines.with_ansi(io::stderr().is_terminal()).with_target(false))
            .try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .context("logging can't be started")?;
    Ok(Filter(handle))
}

fn targets(filter: &str) -> anyhow::Result<Targets> {
    filter
        .parse()
        .with_context(|| format!("the log filter {filter:?} is not valid"))
}
