use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::extract::fields::{did_you_mean, excerpt};
use crate::problem::{Problem, Problems};

/// The parameters of a query, each at most once.
///
/// Unlike an unknown member of a registration, an unknown parameter is refused: a misspelt filter would
/// list everything, a misspelt `drain` would cut what is in flight.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    asked: Vec<&'static str>,
    pub(crate) problems: Problems,
}

/// Parameters beyond that are not ours.
const MOST_PARAMETERS: usize = 32;

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::malformed("the query is not a list of name=value pairs"))?;
        if pairs.len() > MOST_PARAMETERS {
            return Err(Problem::malformed(format!(
                "the query has {} parameters; at most {MOST_PARAMETERS} are read",
                pairs.len()
            )));
        }
        Ok(Self {
            pairs,
            asked: Vec::new(),
            problems: Problems::default(),
        })
    }
}

impl Params {
    /// Reads a parameter that may be missing. `None` as well when it is bad, which is noted.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.asked.push(name);
        let mut values = self.pairs.iter().filter(|(found, _)| found == name);
        let (_, value) = values.next()?;
        let result = if values.next().is_some() {
            Err("comes twice; give it once".to_owned())
        } else {
            read(value)
        };
        result.map_err(|problem| self.problems.refuse(name, problem)).ok()
    }

    /// Reads a parameter that must be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.pairs.iter().any(|(found, _)| found == name) {
            self.asked.push(name);
            self.problems.refuse(name, "is required");
            return None;
        }
        self.optional(name, read)
    }

    /// Reads a whole number between 1 and `max`; `default` when missing or bad.
    pub(crate) fn limit(&mut self, default: usize, max: usize) -> usize {
        let read = |text: &str| {
            let number = text.parse().ok().filter(|number| (1..=max).contains(number));
            number.ok_or_else(|| {
                format!(
                    "is {:?}; expected a whole number between 1 and {max}",
                    excerpt(text)
                )
            })
        };
        self.optional("limit", read).unwrap_or(default)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When a parameter was bad, or none of those that were asked for.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            if !self.asked.contains(&name.as_str()) {
                let known = if self.asked.is_empty() {
                    "none".to_owned()
                } else {
                    self.asked.join(", ")
                };
                let near = did_you_mean(name, &self.asked);
                self.problems.refuse(
                    excerpt(name),
                    format!("is no parameter of this path; known are {known}{near}"),
                );
            }
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problem::unprocessable(self.problems))
        }
    }
}
