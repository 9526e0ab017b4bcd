//! How often the API was asked for what, and what it answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Response;

use crate::endpoint::Endpoint;

/// Requests of the API by endpoint and status, since it began. Cheap to clone; a clone is the same.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<Answered, u64>>>);

/// What was asked for and how it was answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Answered {
    /// The endpoint's path, such as `/api/v1/backends/{id}`; `other` where there is none, or the request was refused before
    /// that was looked at.
    pub path: &'static str,
    /// The endpoint's method; `other` as well.
    pub method: &'static str,
    /// The status.
    pub status: u16,
}

/// Which endpoint an answer is of, beside it.
#[derive(Clone, Copy)]
pub(crate) struct AnsweredBy {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
}

impl From<Endpoint> for AnsweredBy {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            method: endpoint.method,
            path: endpoint.path,
        }
    }
}

const OTHER: AnsweredBy = AnsweredBy {
    method: "other",
    path: "other",
};

impl Requests {
    /// Each, in the order of paths. As many as there are endpoints and statuses, at most.
    #[must_use]
    pub fn read(&self) -> Vec<(Answered, u64)> {
        self.counts()
            .iter()
            .map(|(answered, count)| (*answered, *count))
            .collect()
    }

    pub(crate) fn count<B>(&self, response: &Response<B>) {
        let by = response.extensions().get().copied().unwrap_or(OTHER);
        let answered = Answered {
            path: by.path,
            method: by.method,
            status: response.status().as_u16(),
        };
        *self.counts().entry(answered).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Answered, u64>> {
        // Counts that a panic has left are no worse than others.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read()).finish()
    }
}
