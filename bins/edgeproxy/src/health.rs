//! `edgeproxy health`: whether a running one takes traffic, for whoever can only look at an exit code.

use std::process::ExitCode;

use clap::Args;

use crate::explain::words;
use crate::output;
use crate::output::shown;
use crate::remote::{Form, Remote, run};

/// Which one is asked.
///
/// It is ready once its listeners accept, and is not any more once it drains.
#[derive(Args, Debug)]
pub(crate) struct HealthOptions {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    form: Form,
}

/// Asks, and ends with 0 if it is ready.
pub(crate) fn health(options: &HealthOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let answer = api.get("/ready").await?;
        Ok(if options.form.json {
            output::json(&answer)
        } else {
            format!("{}\n", shown(&words(&answer["status"])))
        })
    })
}
