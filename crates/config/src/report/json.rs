//! For scripts.

use serde_json::{Value, json};

use super::Report;
use crate::problem::Place;

impl Report {
    /// One JSON object:
    ///
    /// ```json
    /// {"problems": [{"place": {"file": "edgeproxy.toml", "line": 1, "column": 9}, "message": "…", "help": "…"}],
    ///  "findings": [{"rule": "api-off", "severity": "warning", "place": null, "message": "…", "help": "…"}]}
    /// ```
    ///
    /// A place may have a `source` (`environment`, `command line` or `defaults`) in place of a file; `help` may be null.
    #[must_use]
    pub fn json(&self) -> String {
        let problems: Vec<Value> = self
            .problems
            .iter()
            .map(|problem| {
                json!({"place": place(&problem.place), "message": problem.message, "help": problem.help})
            })
            .collect();
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "rule": finding.rule,
                    "severity": finding.severity.to_string(),
                    "place": finding.place.as_ref().map(place),
                    "message": finding.message,
                    "help": finding.advice,
                })
            })
            .collect();
        format!("{:#}\n", json!({"problems": problems, "findings": findings}))
    }
}

fn place(place: &Place) -> Value {
    match place {
        Place::File(path) => json!({"file": path.to_string_lossy()}),
        Place::Line { path, line, column } => {
            json!({"file": path.to_string_lossy(), "line": line, "column": column})
        }
        Place::Environment | Place::CommandLine | Place::Defaults => json!({"source": place.to_string()}),
    }
}
