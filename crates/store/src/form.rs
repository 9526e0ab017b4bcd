//! The JSON that registrations are kept as, in files and in etcd.
//!
//! A later version may add members: this one ignores those that it doesn't know, and has a default for those that an
//! earlier one didn't write. What is read is made into the valid types again, since what a rule allowed once it may
//! not allow any more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Metadata, Protocol, Region,
    Weight,
};
use edgeproxy_registry::{Overridden, Overrides, Record};
use serde::{Deserialize, Serialize};

mod plain;
#[cfg(test)]
mod tests;

use plain::Plain;

/// No shorter lease is read, whoever has written it: who holds it would be looked at without a pause.
const TTL_LEAST: Duration = Duration::from_secs(1);

/// Why something that was kept can't be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// Not the JSON that was expected.
    #[error("not the JSON of a registration: {0}")]
    Json(#[from] serde_json::Error),
    /// A member that breaks a rule.
    #[error("{id:?}: {member} {problem}")]
    Member {
        /// Whose.
        id: String,
        /// Which.
        member: &'static str,
        /// What is wrong, as a predicate.
        problem: String,
    },
}

/// A [`Record`].
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordForm<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    incarnation: u64,
    ttl_ms: u64,
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    country: Cow<'a, str>,
    ip: IpAddr,
    port: u16,
    weight: u16,
    soft_limit: u32,
    hard_limit: u32,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    // From here on `plain` is to be left to serde where they are written.
    #[serde(default, skip_serializing_if = "is_false")]
    fallback: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl<'a> RecordForm<'a> {
    /// Reads what most are written as, to the letter; everything else that is one is for serde to read, which takes longer.
    /// A start reads a hundred thousand of them.
    pub(crate) fn plain(json: &'a [u8]) -> Option<Self> {
        let mut plain = Plain::of(json)?;
        let form = Self {
            id: plain.text("{\"id\":")?,
            incarnation: plain.number(",\"incarnation\":")?,
            ttl_ms: plain.number(",\"ttl_ms\":")?,
            app: plain.text(",\"app\":")?,
            region: plain.text(",\"region\":")?,
            country: plain.text(",\"country\":")?,
            ip: plain.text(",\"ip\":")?.parse().ok()?,
            port: plain.number(",\"port\":")?,
            weight: plain.number(",\"weight\":")?,
            soft_limit: plain.number(",\"soft_limit\":")?,
            hard_limit: plain.number(",\"hard_limit\":")?,
            protocol: plain.text(",\"protocol\":")?,
            fallback: false,
            metadata: BTreeMap::new(),
        };
        plain.is_at("}").then_some(form)
    }

    /// Which life it is of, if that is a number that one can have.
    pub(crate) const fn incarnation(&self) -> Option<Incarnation> {
        Incarnation::new(self.incarnation)
    }
}

// serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

impl<'a> From<&'a Record> for RecordForm<'a> {
    fn from(record: &'a Record) -> Self {
        let Record {
            backend,
            incarnation,
            ttl,
        } = record;
        let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            id: backend.id.as_str().into(),
            incarnation: incarnation.get(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            app: backend.app.as_str().into(),
            region: backend.region.as_str().into(),
            country: backend.country.as_str().into(),
            ip: backend.addr.ip(),
            port: backend.addr.port(),
            weight: backend.weight.get(),
            soft_limit: backend.limits.soft(),
            hard_limit: backend.limits.hard(),
            protocol: backend.protocol.as_str().into(),
            fallback: backend.fallback,
            metadata: backend.metadata.iter().map(text).collect(),
        }
    }
}

impl TryFrom<RecordForm<'_>> for Record {
    type Error = FormError;

    fn try_from(form: RecordForm<'_>) -> Result<Self, FormError> {
        let id = &*form.id;
        let protocol = Protocol::from_name(&form.protocol)
            .ok_or_else(|| format!("is {:?}, which this version doesn't speak", form.protocol));
        let backend = Backend {
            id: parse_id(id)?,
            app: member(id, "app", AppName::parse(&form.app))?,
            region: member(id, "region", Region::parse(&form.region))?,
            country: member(id, "country", Country::parse(&form.country))?,
            addr: member(id, "its address", BackendAddr::new(form.ip, form.port))?,
            weight: member(id, "weight", Weight::new(form.weight.into()))?,
            limits: member(id, "limits", Limits::new(form.soft_limit, form.hard_limit))?,
            protocol: member(id, "protocol", protocol)?,
            fallback: form.fallback,
            metadata: member(id, "metadata", Metadata::new(form.metadata))?,
        };
        let incarnation = parse_incarnation(form.incarnation);
        Ok(Self {
            incarnation: member(backend.id.as_str(), "incarnation", incarnation)?,
            ttl: Duration::from_millis(form.ttl_ms).max(TTL_LEAST),
            backend,
        })
    }
}

/// Says whose and which member it is that breaks a rule.
pub(crate) fn member<T>(
    id: &str,
    member: &'static str,
    result: Result<T, impl ToString>,
) -> Result<T, FormError> {
    result.map_err(|problem| FormError::Member {
        id: id.to_owned(),
        member,
        problem: problem.to_string(),
    })
}

/// [`Overridden`].
#[derive(Serialize, Deserialize)]
pub(crate) struct OverridesForm<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// Earlier versions didn't write it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    app: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_limit: Option<u32>,
}

impl<'a> From<&'a Overridden> for OverridesForm<'a> {
    fn from(overridden: &'a Overridden) -> Self {
        let Overridden { id, app, overrides } = overridden;
        Self {
            id: id.as_str().into(),
            app: app.as_ref().map(|app| app.as_str().into()),
            enabled: overrides.enabled,
            weight: overrides.weight.map(Weight::get),
            soft_limit: overrides.soft_limit,
            hard_limit: overrides.hard_limit,
        }
    }
}

impl TryFrom<OverridesForm<'_>> for Overridden {
    type Error = FormError;

    fn try_from(form: OverridesForm<'_>) -> Result<Self, FormError> {
        let id = &*form.id;
        let app = form.app.as_deref().map(AppName::parse).transpose();
        let weight = form.weight.map(|weight| Weight::new(weight.into())).transpose();
        let overrides = Overrides {
            enabled: form.enabled,
            weight: member(id, "weight", weight)?,
            soft_limit: form.soft_limit,
            hard_limit: form.hard_limit,
        };
        Ok(Self {
            id: parse_id(id)?,
            app: member(id, "app", app)?,
            overrides,
        })
    }
}

pub(crate) fn parse_id(text: &str) -> Result<BackendId, FormError> {
    member(text, "id", BackendId::parse(text))
}

pub(crate) fn parse_incarnation(number: u64) -> Result<Incarnation, &'static str> {
    Incarnation::new(number).ok_or("is 0; it is 1 or more")
}
