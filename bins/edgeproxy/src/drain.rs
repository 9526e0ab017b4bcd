//! `edgeproxy drain`: a backend gets no new requests, and ends those that it has.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::explain::words;
use crate::output;
use crate::output::shown;
use crate::remote::{Form, Query, Remote, encoded, or_look, run};

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
                .await
        } else {
            // What an operator has set is cleared by null; the backend's own word counts again.
            let enabled = if options.undo { Value::Null } else { json!(false) };
            api.call(Method::PATCH, &path, Some(&json!({"enabled": enabled})))
                .await
        };
        let answer =
            answer.map_err(|error| or_look(error, "`edgeproxy backends` lists those that there are"))?;
        Ok(if options.form.json {
            output::json(&answer)
        } else {
            told(options, &answer)
        })
    })
}

fn told(options: &DrainOptions, answer: &Value) -> String {
    let id = &options.id;
    let text = |member: &str| shown(&words(&answer[member]));
    let in_flight = match text("in_flight").as_str() {
        "" | "0" => None,
        "1" => Some("1 request that is in flight has".to_owned()),
        n => Some(format!("{n} requests that are in flight have")),
    };
    if options.undo {
        let (state, reason) = (text("state"), text("reason"));
        return if state == "routable" {
            format!("backend {id} is routable again: {reason}\n")
        } else {
            format!("backend {id} is drained by no operator any more; it is {state}: {reason}\n")
        };
    }
    match (&options.deregister, in_flight) {
        (Some(_), None) => format!("backend {id} is removed; nothing was in flight\n"),
        (Some(drain), Some(have)) => format!("backend {id} is being removed; the {have} {drain} to end\n"),
        (None, in_flight) => {
            let rest = in_flight.map_or_else(
                || "nothing is in flight".to_owned(),
                |have| format!("the {have} all the time to end"),
            );
            format!("backend {id} gets no new requests; {rest}\nundo it by: edgeproxy drain {id} --undo\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::Error};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        drain: DrainOptions,
    }

    fn said(args: &[&str], answer: &Value) -> Result<String, Error> {
        let line = Line::try_parse_from([&["drain", "b1"], args].concat())?;
        Ok(told(&line.drain, answer))
    }

    #[test]
    fn what_came_of_it_is_said_with_what_is_in_flight() {
        let flight = |count: u32| json!({"state": "disabled", "in_flight": count});
        let undo = "undo it by: edgeproxy drain b1 --undo\n";
        for (args, answer, expected) in [
            (
                &[][..],
                flight(0),
                format!("backend b1 gets no new requests; nothing is in flight\n{undo}"),
            ),
            (
                &[],
                flight(2),
                format!(
                    "backend b1 gets no new requests; the 2 requests that are in flight have all the time to end\n{undo}"
                ),
            ),
            (
                &["--deregister"],
                flight(0),
                "backend b1 is removed; nothing was in flight\n".to_owned(),
            ),
            (
                &["--deregister", "5s"],
                flight(1),
                "backend b1 is being removed; the 1 request that is in flight has 5s to end\n".to_owned(),
            ),
            (
                &["--undo"],
                json!({"state": "routable", "reason": "takes traffic"}),
                "backend b1 is routable again: takes traffic\n".to_owned(),
            ),
            (
                &["--undo"],
                json!({"state": "ejected", "reason": "1 request failed"}),
                "backend b1 is drained by no operator any more; it is ejected: 1 request failed\n".to_owned(),
            ),
        ] {
            assert_eq!(said(args, &answer).unwrap(), expected);
        }
    }
}
