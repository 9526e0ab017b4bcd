//! What is kept, as one process tells it to the next.

use std::collections::HashMap;

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::{Overridden, Record, Write};
use serde::{Deserialize, Serialize};

use crate::Loaded;
use crate::form::{FormError, OverridesForm, RecordForm};

/// What was handed over can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HandedError {
    /// Which part, and what is wrong with it.
    pub message: String,
}

impl From<FormError> for HandedError {
    fn from(error: FormError) -> Self {
        Self {
            message: error.to_string(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    #[serde(borrow)]
    records: Vec<RecordForm<'a>>,
    #[serde(borrow)]
    overrides: Vec<OverridesForm<'a>>,
    next_incarnation: Option<u64>,
}

impl Loaded {
    /// All of it but the findings, as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let form = Form {
            records: self.records.iter().map(RecordForm::from).collect(),
            overrides: self.overrides.iter().map(OverridesForm::from).collect(),
            next_incarnation: self.next_incarnation.map(Incarnation::get),
        };
        // Keys are text and numbers finite, so it always has a form.
        serde_json::to_string(&form).unwrap_or_default()
    }

    /// Reads what [`to_json`](Self::to_json) has written, in this version or another.
    ///
    /// # Errors
    /// When any part of it can't be read: one that is left out would be forgotten.
    pub fn from_json(text: &str) -> Result<Self, HandedError> {
        let form = serde_json::from_str::<Form<'_>>(text).map_err(FormError::from)?;
        let records = form
            .records
            .into_iter()
            .map(Record::try_from)
            .collect::<Result<_, _>>()?;
        let overrides = form
            .overrides
            .into_iter()
            .map(Overridden::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            records,
            overrides,
            next_incarnation: form.next_incarnation.and_then(Incarnation::new),
            ..Self::default()
        })
    }

    /// What has to be written where `other` is kept, so that all of this is kept there.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<Write> {
        let known: HashMap<_, _> = other
            .records
            .iter()
            .map(|record| (&record.backend.id, record))
            .collect();
        let records = self.records.iter();
        let records = records.filter(|record| known.get(&record.backend.id) != Some(record));
        let set: HashMap<_, _> = other.overrides.iter().map(|known| (&known.id, known)).collect();
        let overrides = self.overrides.iter();
        let overrides = overrides.filter(|known| set.get(&known.id) != Some(known));
        let records = records.map(|record| Write::Registered(record.clone()));
        let overrides = overrides.map(|known| Write::Overridden(known.clone()));
        records.chain(overrides).collect()
    }
}
