//! `edgeproxy backends` and `edgeproxy apps`: who is there.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::explain::words;
use crate::output::table;
use crate::remote::{Query, Remote, run};

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
}

/// Which apps: all.
#[derive(Args, Debug)]
pub(crate) struct AppsOptions {
    #[command(flatten)]
    remote: Remote,
}

/// Lists backends, page by page.
pub(crate) fn backends(options: &BackendsOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let query = Query::default()
            .and("app", options.app.as_deref())
            .and("region", options.region.as_deref())
            .and("state", options.state.as_deref());
        let found = api.pages("/api/v1/backends", &query, "backends").await?;
        Ok(if options.remote.json {
            let total = found.len();
            format!("{:#}\n", json!({"backends": found, "total": total}))
        } else {
            of_backends(&found)
        })
    })
}

/// Lists apps, page by page.
pub(crate) fn apps(options: &AppsOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let found = api.pages("/api/v1/apps", &Query::default(), "apps").await?;
        Ok(if options.remote.json {
            let total = found.len();
            format!("{:#}\n", json!({"apps": found, "total": total}))
        } else {
            of_apps(&found)
        })
    })
}

fn of_backends(found: &[Value]) -> String {
    if found.is_empty() {
        return "no backend is registered\n".to_owned();
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|backend| {
            let text = |member: &str| words(&backend[member]);
            let ip = text("ip");
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
            vec![
                text("id"),
                text("app"),
                text("region"),
                format!("{ip}:{}", text("port")),
                text("state"),
                text("weight"),
                format!(
                    "{} ({}/{})",
                    text("in_flight"),
                    text("soft_limit"),
                    text("hard_limit")
                ),
                text("requests_total"),
                text("failures_total"),
                text("latency_ms"),
                text("reason"),
            ]
        })
        .collect();
    let headings = [
        "id",
        "app",
        "region",
        "address",
        "state",
        "weight",
        "in flight",
        "requests",
        "failures",
        "ms",
        "why",
    ];
    table(&headings, &rows)
}

fn of_apps(found: &[Value]) -> String {
    if found.is_empty() {
        return "no app has a backend\n".to_owned();
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|app| {
            let (policy, totals) = (&app["policy"], &app["totals"]);
            let states = app["states"].as_object().into_iter().flatten();
            let states: Vec<String> = states
                .map(|(state, count)| format!("{} {state}", words(count)))
                .collect();
            vec![
                words(&app["app"]),
                words(&policy["algorithm"]),
                format!("{}/{}", words(&totals["routable"]), words(&totals["backends"])),
                words(&totals["in_flight"]),
                words(&totals["requests_total"]),
                words(&totals["failures_total"]),
                states.join(", "),
            ]
        })
        .collect();
    table(
        &[
            "app",
            "algorithm",
            "routable",
            "in flight",
            "requests",
            "failures",
            "states",
        ],
        &rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_rows_with_their_reasons() {
        let backend = json!({
            "id": "b1", "app": "shop", "region": "eu", "ip": "::1", "port": 8080, "state": "disabled", "weight": 2,
            "in_flight": 1, "soft_limit": 100, "hard_limit": 150, "requests_total": 9, "failures_total": 0,
            "latency_ms": 1.25, "reason": "an operator has disabled it",
        });
        assert_eq!(
            of_backends(&[backend]),
            "ID  APP   REGION  ADDRESS     STATE     WEIGHT  IN FLIGHT    REQUESTS  FAILURES  MS    WHY\n\
             b1  shop  eu      [::1]:8080  disabled  2       1 (100/150)  9         0         1.25  an operator has disabled it\n"
        );
        assert_eq!(of_backends(&[]), "no backend is registered\n");
    }

    #[test]
    fn apps_are_rows_with_their_states() {
        let app = json!({
            "app": "shop", "policy": {"algorithm": "round_robin"}, "states": {"ejected": 1, "routable": 2},
            "totals": {"backends": 3, "routable": 2, "in_flight": 4, "requests_total": 10, "failures_total": 5},
        });
        assert_eq!(
            of_apps(&[app]),
            "APP   ALGORITHM    ROUTABLE  IN FLIGHT  REQUESTS  FAILURES  STATES\n\
             shop  round_robin  2/3       4          10        5         1 ejected, 2 routable\n"
        );
    }
}
