//! `edgeproxy backends` and `edgeproxy apps`: who is there.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::explain::words;
use crate::output;
use crate::output::tone_of_state;
use crate::remote::{Form, Query, Remote, run};
use crate::table::{Cell, Column, Room, table};

/// Which backends.
#[derive(Args, Debug)]
pub(crate) struct BackendsOptions {
    /// Those of one app.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Those of one region.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Those in one state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    form: Form,
}

/// Which apps: all.
#[derive(Args, Debug)]
pub(crate) struct AppsOptions {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    form: Form,
}

impl BackendsOptions {
    /// That there is none, of which kind, and what there may be instead.
    fn nobody(&self) -> String {
        let asked: Vec<String> = [
            ("app", &self.app),
            ("region", &self.region),
            ("state", &self.state),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("--{name} {value}")))
        .collect();
        if asked.is_empty() {
            "no backend is registered\n".to_owned()
        } else {
            format!("no backend with {}\n", asked.join(" "))
        }
    }
}

/// Lists backends, page by page.
pub(crate) fn backends(options: &BackendsOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let query = Query::default()
            .and("app", options.app.as_deref())
            .and("region", options.region.as_deref())
            .and("state", options.state.as_deref());
        let found = api.pages("/api/v1/backends", &query, "backends").await?;
        Ok(if options.form.json {
            let total = found.len();
            output::json(&json!({"backends": found, "total": total}))
        } else if found.is_empty() {
            options.nobody()
        } else {
            of_backends(&found, Room::of_stdout())
        })
    })
}

/// Lists apps, page by page.
pub(crate) fn apps(options: &AppsOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let found = api.pages("/api/v1/apps", &Query::default(), "apps").await?;
        Ok(if options.form.json {
            let total = found.len();
            output::json(&json!({"apps": found, "total": total}))
        } else {
            of_apps(&found, Room::of_stdout())
        })
    })
}

/// What is left out first where a terminal is narrow has the highest rank.
const OF_BACKENDS: [Column<'_>; 11] = [
    Column::of("id", 0),
    Column::of("app", 2),
    Column::of("region", 4),
    Column::of("address", 7),
    Column::of("state", 0),
    Column::of_numbers("weight", 3),
    Column::of_numbers("in flight", 1),
    Column::of_numbers("requests", 6),
    Column::of_numbers("failures", 5),
    Column::of_numbers("ms", 4),
    Column::of("why", 0),
];

const OF_APPS: [Column<'_>; 7] = [
    Column::of("app", 0),
    Column::of("algorithm", 3),
    Column::of_numbers("routable", 0),
    Column::of_numbers("in flight", 1),
    Column::of_numbers("requests", 4),
    Column::of_numbers("failures", 2),
    Column::of("states", 0),
];

fn of_backends(found: &[Value], room: Room) -> String {
    let rows: Vec<Vec<Cell>> = found
        .iter()
        .map(|backend| {
            let text = |member: &str| words(&backend[member]);
            let cell = |member: &str| Cell::from(text(member));
            let ip = text("ip");
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
            let state = text("state");
            let tone = tone_of_state(&state);
            vec![
                cell("id"),
                cell("app"),
                cell("region"),
                format!("{ip}:{}", text("port")).into(),
                Cell::toned(state, tone),
                cell("weight"),
                in_flight(backend).into(),
                cell("requests_total"),
                cell("failures_total"),
                cell("latency_ms"),
                cell("reason"),
            ]
        })
        .collect();
    table(&OF_BACKENDS, &rows, room)
}

/// Beside the limits, of which 0 is none.
pub(crate) fn in_flight(backend: &Value) -> String {
    format!("{} ({})", words(&backend["in_flight"]), limits(backend))
}

/// The soft and the hard limit.
pub(crate) fn limits(backend: &Value) -> String {
    let limit = |member: &str| match backend[member].as_u64() {
        None | Some(0) => "none".to_owned(),
        Some(limit) => limit.to_string(),
    };
    format!("{}/{}", limit("soft_limit"), limit("hard_limit"))
}

fn of_apps(found: &[Value], room: Room) -> String {
    if found.is_empty() {
        return "no app has a backend\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = found
        .iter()
        .map(|app| {
            let (policy, totals) = (&app["policy"], &app["totals"]);
            let states = app["states"].as_object().into_iter().flatten();
            let states: Vec<String> = states
                .map(|(state, count)| format!("{} {state}", words(count)))
                .collect();
            let cell = |value: &Value| Cell::from(words(value));
            vec![
                cell(&app["app"]),
                cell(&policy["algorithm"]),
                format!("{}/{}", words(&totals["routable"]), words(&totals["backends"])).into(),
                cell(&totals["in_flight"]),
                cell(&totals["requests_total"]),
                cell(&totals["failures_total"]),
                states.join(", ").into(),
            ]
        })
        .collect();
    table(&OF_APPS, &rows, room)
}

#[cfg(test)]
mod tests {
    use edgeproxy_config::Paint;

    use super::*;

    const ROOM: Room = Room {
        width: None,
        paint: Paint::Plain,
    };

    #[test]
    fn backends_are_rows_with_their_reasons() {
        let backend = json!({
            "id": "b1", "app": "shop", "region": "eu", "ip": "::1", "port": 8080, "state": "disabled", "weight": 2,
            "in_flight": 1, "soft_limit": 100, "hard_limit": 150, "requests_total": 9, "failures_total": 0,
            "latency_ms": 1.25, "reason": "an operator has disabled it",
        });
        assert_eq!(
            of_backends(&[backend], ROOM),
            "ID  APP   REGION  ADDRESS     STATE     WEIGHT    IN FLIGHT  REQUESTS  FAILURES    MS  WHY\n\
             b1  shop  eu      [::1]:8080  disabled       2  1 (100/150)         9         0  1.25  an operator has disabled it\n"
        );
    }

    #[test]
    fn apps_are_rows_with_their_states() {
        let app = json!({
            "app": "shop", "policy": {"algorithm": "round_robin"}, "states": {"ejected": 1, "routable": 2},
            "totals": {"backends": 3, "routable": 2, "in_flight": 4, "requests_total": 10, "failures_total": 5},
        });
        assert_eq!(
            of_apps(&[app], ROOM),
            "APP   ALGORITHM    ROUTABLE  IN FLIGHT  REQUESTS  FAILURES  STATES\n\
             shop  round_robin       2/3          4        10         5  1 ejected, 2 routable\n"
        );
    }
}
