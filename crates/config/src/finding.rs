use std::fmt;

use crate::problem::Place;

/// Something that is allowed and probably not meant, or meant and risky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the rule, to look it up in `docs/rules.md` or to silence it.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is said, if it is said anywhere.
    pub place: Option<Place>,
    /// What is so, and what follows from it.
    pub message: String,
    /// What to write instead.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, and may surprise or be abused.
    Warning,
    /// Something that the configuration asks for doesn't happen.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let Self {
            severity,
            message,
            rule,
            advice,
            ..
        } = self;
        write!(f, "{severity}: {message} ({rule})\n  help: {advice}")
    }
}
