//! `edgeproxy events`: what has happened to backends, and what happens.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use edgeproxy_config::Paint;
use http::Method;
use http::header::ACCEPT;
use serde::Deserialize;
use serde_json::Value;

use crate::follow::{Follower, Heard};
use crate::output;
use crate::output::{Tone, fitted, paint, tell, toned, wrote};
use crate::remote::{Api, Query, Remote, failed, in_runtime};

/// Which events.
#[derive(Args, Debug)]
pub(crate) struct EventsOptions {
    /// Go on with what happens, until it is interrupted; a connection that is lost is made again.
    #[arg(short, long)]
    follow: bool,
    /// Those of one app.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Those of one backend.
    #[arg(long, value_name = "ID")]
    backend: Option<String>,
    /// Those of these types, with commas: such as ejected,readmitted.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// What came after the event with this id.
    #[arg(long, value_name = "ID")]
    since: Option<String>,
    /// So many of the latest at the most; 0 with --follow for none [default: 200, with --follow 10].
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=4_096), conflicts_with = "since")]
    limit: Option<u32>,
    #[command(flatten)]
    remote: Remote,
    /// Print each event as the API tells it, one a line.
    #[arg(long)]
    json: bool,
}

/// As many as the API keeps.
const KEPT: u32 = 4_096;
const LATEST: u32 = 200;
const LATEST_TO_FOLLOW: u32 = 10;
/// The API says that nothing happens every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// One event, as far as it is shown to people.
#[derive(Deserialize, Debug, Default, Clone, PartialEq, Eq)]
#[serde(default)]
struct Event {
    time: String,
    r#type: String,
    backend: Option<String>,
    app: Option<String>,
    reason: String,
}

/// Prints them, and follows.
pub(crate) fn events(options: &EventsOptions) -> ExitCode {
    if options.wants_nothing() {
        tell("edgeproxy: -n 0 prints no event that has happened, and without --follow there are no others\n");
        return ExitCode::from(2);
    }
    match in_runtime(printed(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

impl EventsOptions {
    const fn wants_nothing(&self) -> bool {
        matches!(self.limit, Some(0)) && !self.follow
    }
}

async fn printed(options: &EventsOptions) -> anyhow::Result<()> {
    let query = Query::default()
        .and("app", options.app.as_deref())
        .and("backend", options.backend.as_deref())
        .and("type", options.kind.as_deref());
    let mut printer = Printer {
        form: if options.json {
            Printed::Json
        } else {
            Printed::Text(paint(&std::io::stdout()))
        },
        width: 0,
    };
    let limit = match (options.limit, options.follow, &options.since) {
        (Some(limit), ..) => limit,
        (None, _, Some(_)) => KEPT,
        (None, true, None) => LATEST_TO_FOLLOW,
        (None, false, None) => LATEST,
    };
    let mut last_id = options.since.clone();
    let mut api = Api::warned(&options.remote)?;
    if limit > 0 {
        let mut page = page(&mut api, options, &query, limit).await?;
        if page["reset"] == true {
            tell("edgeproxy: some events after that one are not kept any more; these are the latest\n");
        }
        last_id = page["last_event_id"].as_str().map(ToOwned::to_owned);
        let events = page["events"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        if !printer.print(&events) {
            return Ok(());
        }
        if events.is_empty() && !options.follow && !options.json {
            tell("nothing of that kind has happened lately\n");
        }
    }
    if options.follow {
        followed(options, &query, last_id, &mut printer).await?;
    }
    Ok(())
}

async fn page(api: &mut Api, options: &EventsOptions, query: &Query, limit: u32) -> anyhow::Result<Value> {
    let limit = limit.to_string();
    let query = query
        .clone()
        .and("limit", Some(&limit))
        .and("last_event_id", options.since.as_deref());
    let path = format!("/api/v1/events{}", query.0);
    api.call_with(Method::GET, &path, None, &[(ACCEPT, "application/json")])
        .await
}

async fn followed(
    options: &EventsOptions,
    query: &Query,
    last_id: Option<String>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/events{}", query.0);
    let mut follower = Follower::new(options.remote.clone(), path, SILENCE).after(last_id);
    let mut lost_since: Option<SystemTime> = None;
    loop {
        match follower.next().await {
            Heard::Begun => {
                if lost_since.take().is_some() {
                    tell("edgeproxy: connected again; what was missed follows\n");
                }
            }
            Heard::Told(told) => {
                let event: Value = serde_json::from_str(&told.data)?;
                if !printer.print(&[event]) {
                    return Ok(());
                }
            }
            Heard::Refused { refusal, .. } => return Err(refusal.into()),
            Heard::Lost { error, pause } => {
                let since = *lost_since.get_or_insert_with(SystemTime::now);
                tell(&format!(
                    "edgeproxy: no connection since {}, next try in {:.1} s: {error:#}\n",
                    humantime::format_rfc3339_seconds(since),
                    pause.as_secs_f64()
                ));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Printed {
    Json,
    Text(Paint),
}

/// Writes events, with those of a listing in columns that line up.
struct Printer {
    form: Printed,
    /// Of the widest backend's name so far.
    width: usize,
}

impl Printer {
    /// Whether there is still somebody who reads.
    fn print(&mut self, events: &[Value]) -> bool {
        let text: String = match self.form {
            Printed::Json => events.iter().map(output::json_line).collect(),
            Printed::Text(paint) => {
                let events: Vec<Event> = events
                    .iter()
                    .map(|event| Event::deserialize(event).unwrap_or_default())
                    .collect();
                self.lines(&events, paint)
            }
        };
        text.is_empty() || wrote(&text)
    }

    fn lines(&mut self, events: &[Event], paint: Paint) -> String {
        let name = |event: &Event| match (&event.backend, &event.app) {
            (Some(backend), Some(app)) => format!("{app}/{backend}"),
            _ => String::new(),
        };
        let widths = events.iter().map(|event| output::width(&name(event)));
        self.width = widths.fold(self.width, usize::max);
        events
            .iter()
            .map(|event| {
                format!(
                    "{}  {}  {}  {}\n",
                    // Without T and Z: it is read by people.
                    fitted(&event.time.replace('T', " ").replace('Z', ""), 23),
                    toned(&fitted(&event.r#type, 10), tone(&event.r#type), paint),
                    fitted(&name(event), self.width),
                    output::shown(&event.reason)
                )
            })
            .collect()
    }
}

/// How worrying a kind of event is.
pub(crate) fn tone(kind: &str) -> Tone {
    match kind {
        "registered" | "readmitted" => Tone::Good,
        "ejected" | "unhealthy" | "expired" => Tone::Bad,
        "trial" | "suspected" | "reset" => Tone::Warning,
        _ => Tone::Off,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_with_its_time_its_type_its_backend_and_the_reason() {
        let mut printer = Printer {
            form: Printed::Json,
            width: 0,
        };
        let event = |kind: &str, backend: Option<&str>| Event {
            time: "2026-11-27T09:12:44.018Z".to_owned(),
            r#type: kind.to_owned(),
            backend: backend.map(ToOwned::to_owned),
            app: backend.map(|_| "shop".to_owned()),
            reason: "3 consecutive\nrequests failed".to_owned(),
        };
        let lines = printer.lines(
            &[
                event("ejected", Some("eu-1")),
                event("readmitted", Some("backend-2")),
            ],
            Paint::Plain,
        );
        assert_eq!(
            lines,
            "2026-11-27 09:12:44.018  ejected     shop/eu-1       3 consecutive requests failed\n\
             2026-11-27 09:12:44.018  readmitted  shop/backend-2  3 consecutive requests failed\n"
        );
        // A later one lines up with those before it, and what is about nobody has no name.
        let lines = printer.lines(&[event("reset", None)], Paint::Plain);
        assert_eq!(
            lines,
            "2026-11-27 09:12:44.018  reset                       3 consecutive requests failed\n"
        );
        let lines = printer.lines(&[event("ejected", Some("eu-1"))], Paint::Colours);
        assert!(lines.contains("\u{1b}[31mejected   \u{1b}[0m"), "{lines:?}");
    }

    #[test]
    fn none_of_the_latest_is_asked_for_only_to_follow() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            events: EventsOptions,
        }
        for (args, expected) in [
            (&["-n", "0"][..], true),
            (&["-n", "0", "--follow"], false),
            (&["-n", "1"], false),
            (&[], false),
        ] {
            let line: Line = clap::Parser::parse_from([&["events"], args].concat());
            assert_eq!(line.events.wants_nothing(), expected, "{args:?}");
        }
    }

    #[test]
    fn what_the_api_tells_beyond_that_is_left_alone() {
        let event = json!({"id": "a-1", "type": "reset", "time": "t", "reason": "r", "new": [1]});
        let read = Event::deserialize(&event).unwrap();
        assert_eq!((read.r#type.as_str(), read.backend), ("reset", None));
    }
}
