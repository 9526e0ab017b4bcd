//! `[[backends]]`: backends that stand in the file rather than register. They obey the rules of
//! `POST /api/v1/register` and are refused in its words.

mod admit;
mod fields;
mod member;

use std::ops::Range;

use edgeproxy_backend::{
    AddrError, AppName, Backend, BackendAddr, BackendId, Country, Limits, Metadata, Protocol, Region, Weight,
};
use toml::Spanned;
use toml::de::DeValue;

use crate::draft::Draft;
use crate::problem::{Document, Place};
use crate::table::{self, Table};

pub(crate) use admit::resolve;
pub(crate) use fields::FIELDS;
use member::{Members, excerpt, flag, text, whole, whole_u32};

/// The key of the tables.
pub(crate) const KEY: &str = "backends";

/// A backend of the file. It needs no heartbeat, and stays until the file says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaticBackend {
    /// What it is.
    pub backend: Backend,
    /// Where it stands.
    pub place: Place,
}

/// A table without a fault of its own, before the regions are known.
#[derive(Debug)]
pub(crate) struct RawBackend {
    id: BackendId,
    app: AppName,
    region: Region,
    country: Option<Country>,
    addr: BackendAddr,
    weight: Weight,
    limits: Limits,
    fallback: bool,
    protocol: Protocol,
    metadata: Metadata,
    at: Range<usize>,
    id_at: Range<usize>,
    region_at: Range<usize>,
    ip_at: Range<usize>,
}

/// The most backends in a file.
const MOST: usize = 10_000;

/// Reads the tables into the draft.
pub(crate) fn read(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
    for (at, keys) in table::each(document, draft, KEY, MOST, value) {
        let table = Table::one_of(document, draft, "a backend", at);
        if let Some(backend) = (Members { table, keys }).backend() {
            draft.sections.backends.push(backend);
        }
    }
}

impl Members<'_, '_, '_> {
    fn backend(mut self) -> Option<RawBackend> {
        self.nothing_else();
        let id = self.required("id", "\"backend-eu-1\"", |value| parsed(value, BackendId::parse));
        let app = self.required("app", "\"shop\"", |value| parsed(value, AppName::parse));
        let region = self.required("region", "\"eu\"", |value| parsed(value, Region::parse));
        let country = self.optional("country", |value| {
            Country::parse(text(value)?).map_err(|error| format!("is refused: {error}"))
        });
        let addr = self.addr();
        let weight = self.optional("weight", |value| {
            let weight = whole(value, 0..=u64::from(Weight::MAX.get()))?;
            Weight::new(weight).map_err(|error| error.to_string())
        });
        let limits = self.limits();
        let fallback = self.optional("fallback", flag).unwrap_or_default();
        let protocol = self.optional("protocol", protocol).unwrap_or_default();
        let metadata = self.metadata();
        let (id, app, region, addr) = (id?, app?, region?, addr?);
        self.table.is_sound().then(|| RawBackend {
            id,
            app,
            region,
            country,
            addr,
            weight: weight.unwrap_or_default(),
            limits,
            fallback,
            protocol,
            metadata,
            at: self.table.at.clone(),
            id_at: self.value_span("id"),
            region_at: self.value_span("region"),
            ip_at: self.value_span("ip"),
        })
    }

    fn addr(&mut self) -> Option<BackendAddr> {
        const ANY_PORT: u16 = 1;
        // The range makes the conversion exact.
        let port = self.required("port", "8080", |value| {
            whole(value, 1..=u64::from(u16::MAX)).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
        });
        let addr = self.required("ip", "\"10.50.1.1\"", |value| {
            BackendAddr::parse(text(value)?, port.unwrap_or(ANY_PORT)).map_err(|error| match error {
                AddrError::Port => error.to_string(),
                AddrError::NotAnAddress { .. } | AddrError::Unroutable { .. } => {
                    format!("is refused: {error}")
                }
            })
        });
        port.and(addr)
    }

    fn limits(&mut self) -> Limits {
        let soft = self.optional("soft_limit", whole_u32);
        let hard = self.optional("hard_limit", whole_u32);
        let given = (self.is_given("soft_limit"), self.is_given("hard_limit"));
        // A bad one has been told; comparing its default would only confuse.
        if given != (soft.is_some(), hard.is_some()) {
            return Limits::DEFAULT;
        }
        let soft_in_force = soft.unwrap_or(Limits::DEFAULT.soft());
        let hard_in_force = hard.unwrap_or(Limits::DEFAULT.hard());
        Limits::new(soft_in_force, hard_in_force).unwrap_or_else(|_| {
            let default = |given: bool| if given { "" } else { " (the default, since none is given)" };
            let key = if given.1 { "hard_limit" } else { "soft_limit" };
            self.refuse_as(
                key,
                "hard_limit",
                &format!(
                    "is {hard_in_force}{}, below the soft_limit of {soft_in_force}{}; raise it to {soft_in_force} \
                     or more, lower soft_limit, or use 0 for no limit",
                    default(given.1),
                    default(given.0)
                ),
            );
            Limits::DEFAULT
        })
    }

    fn metadata(&mut self) -> Metadata {
        let mut bad = Vec::new();
        let metadata = self.optional("metadata", |value| {
            let DeValue::Table(members) = value else {
                return Err(format!(
                    "is {}; expected a table of strings",
                    member::describe(value)
                ));
            };
            // Before the pairs are looked at, so that no more than that many can be bad.
            if members.len() > Metadata::MAX_PAIRS {
                let (found, most) = (members.len(), Metadata::MAX_PAIRS);
                return Err(format!("has {found} pairs; at most {most} are allowed"));
            }
            let mut pairs = Vec::with_capacity(members.len());
            for (key, value) in members {
                match text(value.get_ref()) {
                    Ok(text) => pairs.push((key.get_ref().to_string(), text.to_owned())),
                    Err(problem) => bad.push((
                        format!("metadata.{}", excerpt(key.get_ref())),
                        value.span(),
                        problem,
                    )),
                }
            }
            Metadata::new(pairs).map_err(|error| error.to_string())
        });
        for (name, span, problem) in bad {
            let message = format!("{} {problem}", self.table.subject(&name));
            self.table.problem(&span, message, None);
        }
        metadata.unwrap_or_default()
    }

    /// Members that there are not, and one that only a registration has.
    fn nothing_else(&mut self) {
        let keys = self.keys;
        for (key, _) in keys {
            let name: &str = key.get_ref();
            if name == "ttl_secs" {
                let message =
                    "a backend's ttl_secs is for one that registers; those of the file need no heartbeat";
                self.table
                    .problem(&key.span(), message.to_owned(), Some("remove it".to_owned()));
            } else if !FIELDS.iter().any(|field| field.key == name) {
                self.table.unknown(key, FIELDS.iter().map(|field| field.key));
            }
        }
    }
}

fn parsed<T, E: std::fmt::Display>(
    value: &DeValue<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    parse(text(value)?).map_err(|error| error.to_string())
}

fn protocol(value: &DeValue<'_>) -> Result<Protocol, String> {
    let name = text(value)?;
    Protocol::from_name(name).ok_or_else(|| {
        let known = Protocol::ALL.map(Protocol::as_str).join(", ");
        format!("is {:?}; expected one of {known}", excerpt(name))
    })
}

#[cfg(test)]
mod tests;
