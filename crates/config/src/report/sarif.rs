//! For whoever shows the results of linters: SARIF 2.1.0 (OASIS).

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{INVALID, OTHERS, Report};
use crate::apigee;
use crate::finding::Severity;
use crate::problem::Place;
use crate::rules::Rule;

/// Where every rule is explained. What a viewer shows of a rule is its section.
const PAGE: &str = include_str!("../../../../docs/rules.md");

impl Report {
    /// One log with one run. Its rules have the sections of `docs/rules.md` as their help.
    #[must_use]
    pub fn sarif(&self) -> String {
        let rules = every_rule();
        let index = |name: &str| rules.iter().position(|(rule, _)| *rule == name);
        let problems = self.problems.iter().map(|problem| {
            let text = match &problem.help {
                Some(help) => format!("{} ({help})", problem.message),
                None => problem.message.clone(),
            };
            result(
                INVALID,
                index(INVALID),
                Severity::Error,
                &text,
                Some(&problem.place),
            )
        });
        let findings = self.findings.iter().map(|finding| {
            let text = format!("{}; {}", finding.message, finding.advice);
            result(
                finding.rule,
                index(finding.rule),
                finding.severity,
                &text,
                finding.place.as_ref(),
            )
        });
        let results: Vec<Value> = problems.chain(findings).collect();
        let described: Vec<Value> = rules
            .iter()
            .map(|(name, severity)| rule(name, *severity))
            .collect();
        let log = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "edgeproxy",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": described,
                }},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        });
        format!("{log:#}\n")
    }
}

/// The names of all rules, each with how bad it usually is.
pub(crate) fn every_rule() -> Vec<(&'static str, Severity)> {
    let checked = Rule::ALL.iter().map(|rule| (rule.name, rule.severity));
    let imported = apigee::rules::ALL.iter().map(|rule| (rule.name, rule.severity));
    checked.chain(OTHERS.iter().copied()).chain(imported).collect()
}

/// The section of the page with that name, without its title.
pub(crate) fn section(name: &str) -> &'static str {
    let title = format!("\n### {name}\n");
    let Some((_, section)) = PAGE.split_once(&title) else {
        return "";
    };
    let end = section
        .find("\n## ")
        .into_iter()
        .chain(section.find("\n### "))
        .min();
    section
        .get(..end.unwrap_or(section.len()))
        .unwrap_or_default()
        .trim()
}

fn rule(name: &str, severity: Severity) -> Value {
    let section = section(name);
    // "Warning. What is so: what follows."
    let sentence = section.split_once(". ").map_or(section, |(_, rest)| rest);
    let short = sentence.split(['\n', ':']).next().unwrap_or(sentence);
    json!({
        "id": name,
        "shortDescription": {"text": if short.is_empty() { name } else { short }},
        "help": {"text": section, "markdown": section},
        "helpUri": help_uri(name),
        "defaultConfiguration": {"level": level(severity)},
    })
}

/// The rule's section where the project is kept; a name for it where that isn't known.
fn help_uri(name: &str) -> String {
    match env!("CARGO_PKG_REPOSITORY") {
        "" => format!("urn:edgeproxy:rule:{name}"),
        repository => format!("{repository}/blob/main/docs/rules.md#{name}"),
    }
}

fn result(rule: &str, index: Option<usize>, severity: Severity, text: &str, place: Option<&Place>) -> Value {
    let mut result = json!({
        "ruleId": rule,
        "level": level(severity),
        "message": {"text": text},
        "locations": [location(place)],
    });
    if let (Some(index), Some(result)) = (index, result.as_object_mut()) {
        result.insert("ruleIndex".to_owned(), json!(index));
    }
    result
}

fn location(place: Option<&Place>) -> Value {
    let artifact = |path: &Path| json!({"uri": uri(path)});
    match place {
        Some(Place::Line { path, line, column }) => json!({"physicalLocation": {
            "artifactLocation": artifact(path),
            "region": {"startLine": line, "startColumn": column},
        }}),
        Some(Place::File(path)) => json!({"physicalLocation": {"artifactLocation": artifact(path)}}),
        Some(other) => json!({"logicalLocations": [{"fullyQualifiedName": other.to_string()}]}),
        None => json!({"logicalLocations": [{"fullyQualifiedName": Place::Defaults.to_string()}]}),
    }
}

/// A path as a URI reference (RFC 3986 §4.1).
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    if path.is_absolute() {
        uri.push_str("file://");
    }
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~/".contains(b) => uri.push(char::from(*b)),
            // Writing to a text never fails.
            b => drop(write!(uri, "%{b:02X}")),
        }
    }
    uri
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
