//! What is to be told of a configuration, for people, for scripts, and for whoever shows the results of linters.

mod json;
mod sarif;
mod text;

use crate::finding::{Finding, Severity};
use crate::layers::Loaded;
use crate::problem::{ConfigError, Problem};

#[cfg(test)]
pub(crate) use sarif::every_rule;
pub use text::Paint;

/// The name under which problems are listed among rules.
pub(crate) const INVALID: &str = "invalid-configuration";
/// Findings that no list of rules has.
pub(crate) const OTHERS: &[(&str, Severity)] = &[
    (INVALID, Severity::Error),
    ("certificate-expires", Severity::Warning),
    ("tokens-readable", Severity::Warning),
    ("token-expires", Severity::Warning),
    ("unknown-variable", Severity::Warning),
];

/// Problems and findings.
///
/// ```
/// use edgeproxy_config::{ConfigFile, Layers, Paint, Report};
///
/// let text = "api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\npanic_threshold = 0.5\nmax_failures = 5\n";
/// let file = ConfigFile { path: "edgeproxy.toml".into(), text: text.to_owned() };
/// let loaded = Layers { file: Some(file), ..Layers::default() }.load();
/// let report = Report::of(&loaded);
/// assert_eq!(report.summary(), "1 finding: 1 warning");
/// assert!(report.text(Paint::Plain).starts_with("edgeproxy.toml:4:1: warning: max_failures is 5 "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What is wrong: as it is, it can't be used.
    pub problems: Vec<Problem>,
    /// What is allowed, and risky or probably not meant.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What there is to tell of layers that were loaded, or refused.
    #[must_use]
    pub fn of(loaded: &Result<Loaded, ConfigError>) -> Self {
        match loaded {
            Ok(loaded) => Self {
                problems: Vec::new(),
                findings: loaded.findings(),
            },
            Err(error) => Self {
                problems: error.problems.clone(),
                findings: Vec::new(),
            },
        }
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.findings.is_empty()
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self.findings.extend(other.findings);
        self
    }

    /// How much there is, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let of = |severity: Severity| {
            self.findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        let kinds: Vec<String> = [(of(Severity::Error), "error"), (of(Severity::Warning), "warning")]
            .into_iter()
            .filter(|(found, _)| *found > 0)
            .map(|(found, what)| count(found, what))
            .collect();
        let findings = format!("{}: {}", count(self.findings.len(), "finding"), kinds.join(", "));
        match (self.problems.len(), self.findings.len()) {
            (0, 0) => "no problems, no findings".to_owned(),
            (0, _) => findings,
            (problems, 0) => count(problems, "problem"),
            (problems, _) => format!("{}; {findings}", count(problems, "problem")),
        }
    }
}

#[cfg(test)]
mod tests;
