//! `edgeproxy drain`: a backend gets no new requests, and ends those that it has.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::explain::words;
use crate::remote::{Form, Query, Remote, encoded, run};

/// Which backend, and for how long.
///
/// To be drained is an operator's wish, and stays one: it holds through the backend's heartbeats and when it registers
/// anew. To deregister it would not last, since whoever finds itself gone registers again.
#[derive(Args, Debug)]
pub(crate) struct DrainOptions {
    /// The backend's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Give it requests again.
    #[arg(long, conflicts_with = "deregister")]
    undo: bool,
    /// Remove it as well, once its requests have ended, or after this time. A backend that is still running comes back
    /// with its next heartbeat.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "30s")]
    deregister: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    form: Form,
}

/// Asks for it and says what came of it.
pub(crate) fn drain(options: &DrainOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let path = format!("/api/v1/backends/{}", encoded(&options.id));
        let answer = if let Some(drain) = &options.deregister {
            let query = Query::default().and("drain", Some(drain));
            api.call(Method::DELETE, &format!("{path}{}", query.0), None)
                .await?
        } else {
            // What an operator has set is cleared by null; the backend's own word counts again.
            let enabled = if options.undo { Value::Null } else { json!(false) };
            api.call(Method::PATCH, &path, Some(&json!({"enabled": enabled})))
                .await?
        };
        Ok(if options.form.json {
            format!("{answer:#}\n")
        } else {
            told(options, &answer)
        })
    })
}

fn told(options: &DrainOptions, answer: &Value) -> String {
    let id = &options.id;
    let in_flight = match words(&answer["in_flight"]).as_str() {
        "" | "0" => "nothing is in flight".to_owned(),
        "1" => "1 request is in flight".to_owned(),
        n => format!("{n} requests are in flight"),
    };
    if options.undo {
        return format!(
            "backend {id} is {} again: {}\n",
            words(&answer["state"]),
            words(&answer["reason"])
        );
    }
    match &options.deregister {
        Some(drain) => format!("backend {id} is removed; {in_flight}, for {drain} at the most\n"),
        None => format!(
            "backend {id} gets no new requests; {in_flight}\nundo it by: edgeproxy drain {id} --undo\n"
        ),
    }
}
