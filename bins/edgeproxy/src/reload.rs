//! Reading the configuration again, on a signal or when its file has changed.

use std::ffi::OsString;

use edgeproxy_config::{Finding, Loaded, RawFlags};
use edgeproxy_server::{ReloadError, Running, Trigger, WatchedFile};

use crate::handover::VARIABLE;
use crate::logging::Filter;
use crate::run::warn;

/// The layers as they were at the start; only the file can say something else.
#[derive(Clone)]
pub(crate) struct Layers {
    flags: RawFlags,
    env: Vec<(OsString, OsString)>,
}

impl Layers {
    pub(crate) fn new(flags: RawFlags) -> Self {
        Self {
            flags,
            // What one process says to the next is no setting.
            env: std::env::vars_os().filter(|(name, _)| name != VARIABLE).collect(),
        }
    }

    pub(crate) fn load(&self) -> Result<Loaded, edgeproxy_config::ConfigError> {
        edgeproxy_config::load(self.flags.clone(), self.env.clone())
    }

    /// The file, as it is before it is read.
    pub(crate) fn file(&self) -> WatchedFile {
        WatchedFile::new(edgeproxy_config::file_path(&self.flags, &self.env))
    }
}

/// What reloads go by.
pub(crate) struct Reloader {
    pub(crate) layers: Layers,
    pub(crate) filter: Filter,
    /// What is known of the configuration in force, so that nobody is told of it twice.
    pub(crate) findings: Vec<Finding>,
}

impl Reloader {
    /// Reads everything again, and has the server go over to it. What comes of it is logged.
    pub(crate) async fn reload(&mut self, running: &Running, trigger: Trigger) {
        tracing::info!(by = trigger.as_str(), "reading the configuration again");
        let read = self.layers.load();
        let facts = read.as_ref().ok().map(|loaded| {
            let filter = loaded.settings.log_level.as_str().to_owned();
            (filter, loaded.findings())
        });
        match (running.reload(read, trigger).await, facts) {
            (Ok(changes), Some((filter, findings))) => {
                if let Err(error) = self.filter.change(&filter) {
                    tracing::error!("{error:#}");
                }
                tracing::info!(by = trigger.as_str(), "the configuration is in force: {changes}");
                findings
                    .iter()
                    .filter(|finding| !self.findings.contains(finding))
                    .for_each(warn);
                self.findings = findings;
            }
            (Err(error), _) => tell(&error, trigger),
            // What couldn't be read is never in force.
            (Ok(_), None) => {}
        }
    }
}

/// A line for each problem, and one that says what it means.
fn tell(error: &ReloadError, trigger: Trigger) {
    let problems = error.problems();
    for problem in &problems {
        let place = problem.place.as_ref().map(tracing::field::display);
        let help = problem.help.as_ref().map(tracing::field::display);
        tracing::error!(place, help, "{}", problem.message);
    }
    tracing::error!(
        by = trigger.as_str(),
        problems = problems.len(),
        "the configuration was refused; what was in force stays in force"
    );
}
