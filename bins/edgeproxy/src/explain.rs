//! `edgeproxy explain`: whom the next request would go to, and why not to the others.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::listing::limits;
use crate::output;
use crate::output::{shown, tone_of_state};
use crate::remote::{Form, Query, Remote, or_look, run};
use crate::table::{Cell, Column, Room, table};

/// For which app and which client.
#[derive(Args, Debug)]
pub(crate) struct ExplainOptions {
    /// The app.
    #[arg(value_name = "APP")]
    app: String,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The client's country, in place of what its address says.
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// The client's region, in place of what its address says.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    form: Form,
}

/// Asks and prints.
pub(crate) fn explain(options: &ExplainOptions) -> ExitCode {
    run(&options.remote, async |api| {
        let ip = options.ip.map(|ip| ip.to_string());
        let query = Query::default()
            .and("app", Some(&options.app))
            .and("client_ip", ip.as_deref())
            .and("country", options.country.as_deref())
            .and("region", options.region.as_deref());
        let answer = api.get(&format!("/api/v1/explain{}", query.0)).await;
        let answer = answer.map_err(|error| or_look(error, "`edgeproxy apps` lists those that there are"))?;
        Ok(if options.form.json {
            output::json(&answer)
        } else {
            told(&answer, Room::of_stdout())
        })
    })
}

fn told(answer: &Value, room: Room) -> String {
    let text = |value: &Value, member: &str| words(&value[member]);
    let list = |member: &str| answer[member].as_array().map_or(&[][..], Vec::as_slice);
    let client = &answer["client"];
    let known: Vec<String> = ["ip", "country", "region"]
        .into_iter()
        .filter(|member| !client[*member].is_null())
        .map(|member| format!("{member} {}", shown(&text(client, member))))
        .collect();
    let known = if known.is_empty() {
        "unknown".to_owned()
    } else {
        known.join(", ")
    };
    let mut page = format!(
        "app {}, by {}\nclient: {known}\n",
        shown(&text(answer, "app")),
        shown(&text(answer, "algorithm"))
    );
    let verdict = match answer["picked"].as_str() {
        Some(picked) => format!("picked: {picked}"),
        None => format!("nobody: {}", text(answer, "error")),
    };
    // Writing to a text never fails.
    let _ = writeln!(page, "{}", shown(&verdict));
    let tiers: Vec<Vec<Cell>> = list("tiers")
        .iter()
        .map(|tier| {
            ["tier", "name", "candidates", "why"]
                .map(|member| text(tier, member).into())
                .to_vec()
        })
        .collect();
    if !tiers.is_empty() {
        let _ = write!(page, "\n{}", table(&OF_TIERS, &tiers, room));
    }
    let candidates: Vec<Vec<Cell>> = list("candidates")
        .iter()
        .map(|candidate| {
            let mark = if candidate["picked"] == true { "*" } else { " " };
            let state = text(candidate, "state");
            let tone = tone_of_state(&state);
            vec![
                format!("{mark}{}", text(candidate, "id")).into(),
                text(candidate, "tier").into(),
                Cell::toned(state, tone),
                text(candidate, "effective_weight").into(),
                text(candidate, "in_flight").into(),
                limits(candidate).into(),
                text(candidate, "why").into(),
            ]
        })
        .collect();
    let _ = write!(page, "\n{}", table(&OF_CANDIDATES, &candidates, room));
    page
}

const OF_TIERS: [Column<'_>; 4] = [
    Column::of_numbers("tier", 0),
    Column::of("name", 0),
    Column::of_numbers("backends", 1),
    Column::of("why", 0),
];

const OF_CANDIDATES: [Column<'_>; 7] = [
    Column::of(" backend", 0),
    Column::of_numbers("tier", 1),
    Column::of("state", 0),
    Column::of_numbers("weight", 2),
    Column::of_numbers("in flight", 3),
    Column::of_numbers("soft/hard", 4),
    Column::of("why", 0),
];

/// A value as a person would write it.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            // Weights are fractions; more digits than these tell nobody anything.
            Some(float) if number.is_f64() => format!("{float:.2}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_a_server_says_moves_the_cursor() {
        let answer = json!({
            "app": "a\u{1b}[2J", "algorithm": "b\r", "client": {"region": "c\u{1b}[2J"}, "tiers": [], "candidates": [],
            "picked": null, "error": "d\u{7}",
        });
        let room = Room {
            width: None,
            paint: edgeproxy_config::Paint::Plain,
        };
        let page = told(&answer, room);
        assert!(
            page.starts_with("app a [2J, by b \nclient: region c [2J\nnobody: d \n"),
            "{page:?}"
        );
    }

    #[test]
    fn the_one_that_is_picked_is_marked_and_every_other_one_has_its_reason() {
        let answer = json!({
            "app": "shop", "algorithm": "region_affinity",
            "client": {"ip": "203.0.113.9", "country": null, "region": "eu"},
            "tiers": [{"tier": 0, "name": "region eu", "candidates": 2, "why": "has room"}],
            "candidates": [
                {"id": "a", "tier": 0, "state": "routable", "weight": 2, "effective_weight": 2.0, "in_flight": 3,
                 "soft_limit": 100, "hard_limit": 150, "score": 1.5, "picked": true, "why": "fewest in flight"},
                {"id": "b", "tier": null, "state": "ejected", "weight": 2, "effective_weight": 0.666_7, "in_flight": 0,
                 "soft_limit": 0, "hard_limit": 0, "score": null, "picked": false, "why": "5 failures in a row"},
            ],
            "picked": "a", "error": null,
        });
        let expected = "\
app shop, by region_affinity
client: ip 203.0.113.9, region eu
picked: a

TIER  NAME       BACKENDS  WHY
   0  region eu         2  has room

 BACKEND  TIER  STATE     WEIGHT  IN FLIGHT  SOFT/HARD  WHY
*a           0  routable       2          3    100/150  fewest in flight
 b           -  ejected     0.67          0  none/none  5 failures in a row
";
        let room = Room {
            width: None,
            paint: edgeproxy_config::Paint::Plain,
        };
        assert_eq!(told(&answer, room), expected);
    }
}
