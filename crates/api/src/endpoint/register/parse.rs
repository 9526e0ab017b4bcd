use std::time::Duration;

use edgeproxy_backend::{
    AddrError, AppName, Backend, BackendAddr, BackendId, Country, Limits, Metadata, Protocol, Region, Weight,
};
use edgeproxy_registry::{Config, Registration};
use serde_json::Value;

use crate::Admission;
use crate::extract::fields::{Fields, excerpt, flag, text, whole, whole_u32};
use crate::problem::Problem;

/// The members that a registration has.
const MEMBERS: [&str; 13] = [
    "id",
    "app",
    "region",
    "country",
    "ip",
    "port",
    "weight",
    "soft_limit",
    "hard_limit",
    "fallback",
    "protocol",
    "ttl_secs",
    "metadata",
];

/// A registration that breaks no rule.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) registration: Registration,
    /// What was found and not understood.
    pub(super) warnings: Vec<String>,
}

/// Reads a registration.
///
/// # Errors
/// 422 with every field that breaks its rule.
pub(super) fn registration(
    mut fields: Fields,
    admission: &Admission,
    config: &Config,
) -> Result<Parsed, Problem> {
    let id = fields.required("id", |value| parsed(value, BackendId::parse));
    let app = fields.required("app", |value| parsed(value, AppName::parse));
    let place = place(&mut fields, admission);
    let addr = addr(&mut fields, admission);
    let weight = fields.optional("weight", weight).unwrap_or_default();
    let limits = limits(&mut fields);
    let fallback = fields.optional("fallback", flag).unwrap_or_default();
    let protocol = fields.optional("protocol", protocol).unwrap_or_default();
    let ttl = fields.optional("ttl_secs", |value| ttl(value, config));
    let metadata = metadata(&mut fields);
    let warnings = fields.warnings(&MEMBERS);
    match (id, app, place, addr) {
        (Some(id), Some(app), Some((region, country)), Some(addr)) if fields.problems.is_empty() => {
            let backend = Backend {
                id,
                app,
                region,
                country,
                addr,
                weight,
                limits,
                fallback,
                protocol,
                metadata,
            };
            Ok(Parsed {
                registration: Registration { backend, ttl },
                warnings,
            })
        }
        (id, ..) => {
            let problem = Problem::unprocessable(fields.problems);
            Err(match &id {
                Some(id) => problem.with_id(id),
                None => problem,
            })
        }
    }
}

fn parsed<T, E: std::fmt::Display>(
    value: &Value,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    parse(text(value)?).map_err(|error| error.to_string())
}

pub(crate) fn weight(value: &Value) -> Result<Weight, String> {
    let weight = whole(value, 0..=u64::from(Weight::MAX.get()))?;
    Weight::new(weight).map_err(|error| error.to_string())
}

fn place(fields: &mut Fields, admission: &Admission) -> Option<(Region, Country)> {
    let region = fields.required("region", |value| admission.region(text(value)?));
    let country = fields.optional("country", |value| {
        Country::parse(text(value)?).map_err(|error| format!("is refused: {error}"))
    });
    region.map(|(region, derived)| (region, country.unwrap_or(derived)))
}

fn addr(fields: &mut Fields, admission: &Admission) -> Option<BackendAddr> {
    /// Stands in for a bad port, so that the address is checked all the same.
    const ANY_PORT: u16 = 1;
    // The range makes the conversion exact.
    let port = fields.required("port", |value| {
        whole(value, 1..=u64::from(u16::MAX)).map(|port| u16::try_from(port).unwrap_or(u16::MAX))
    });
    let addr = fields.required("ip", |value| {
        BackendAddr::parse(text(value)?, port.unwrap_or(ANY_PORT)).map_err(|error| address_problem(&error))
    })?;
    port?;
    match admission.check(addr) {
        Ok(()) => Some(addr),
        Err(problem) => {
            fields.problems.refuse("ip", problem);
            None
        }
    }
}

fn address_problem(error: &AddrError) -> String {
    match error {
        AddrError::Port => error.to_string(),
        AddrError::NotAnAddress { .. } | AddrError::Unroutable { .. } => format!("is refused: {error}"),
    }
}

fn limits(fields: &mut Fields) -> Limits {
    let soft = fields.optional("soft_limit", whole_u32);
    let hard = fields.optional("hard_limit", whole_u32);
    let given = (fields.is_given("soft_limit"), fields.is_given("hard_limit"));
    // A bad one has been noted; comparing its default would only confuse.
    if given != (soft.is_some(), hard.is_some()) {
        return Limits::DEFAULT;
    }
    let soft_in_force = soft.unwrap_or(Limits::DEFAULT.soft());
    let hard_in_force = hard.unwrap_or(Limits::DEFAULT.hard());
    Limits::new(soft_in_force, hard_in_force).unwrap_or_else(|_| {
        let default = |given: bool| if given { "" } else { " (the default, since none is given)" };
        fields.problems.refuse(
            "hard_limit",
            format!(
                "is {hard_in_force}{}, below the soft_limit of {soft_in_force}{}; raise it to {soft_in_force} or \
                 more, lower soft_limit, or use 0 for no limit",
                default(given.1),
                default(given.0)
            ),
        );
        Limits::DEFAULT
    })
}

fn protocol(value: &Value) -> Result<Protocol, String> {
    let name = text(value)?;
    Protocol::from_name(name).ok_or_else(|| {
        let known = Protocol::ALL.map(Protocol::as_str).join(", ");
        format!("is {:?}; expected one of {known}", excerpt(name))
    })
}

fn ttl(value: &Value, config: &Config) -> Result<Duration, String> {
    whole(value, config.ttl_min.as_secs()..=config.ttl_max.as_secs()).map(Duration::from_secs)
}

/// No value of it is repeated: it may be secret, and what is refused ends in logs.
fn metadata(fields: &mut Fields) -> Metadata {
    let mut bad = Vec::new();
    let metadata = fields.optional("metadata", |value| {
        let Value::Object(members) = value else {
            return Err("is not an object of strings".to_owned());
        };
        // Before the pairs are looked at, so that no more than that many can be bad.
        if members.len() > Metadata::MAX_PAIRS {
            return Err(format!(
                "has {} pairs; at most {} are allowed",
                members.len(),
                Metadata::MAX_PAIRS
            ));
        }
        let mut pairs = Vec::with_capacity(members.len());
        for (key, value) in members {
            match value.as_str() {
                Some(text) => pairs.push((key.clone(), text.to_owned())),
                None => bad.push(format!("metadata.{}", excerpt(key))),
            }
        }
        Metadata::new(pairs).map_err(|error| error.to_string())
    });
    for field in bad {
        fields.problems.refuse(field, "is not a string");
    }
    metadata.unwrap_or_default()
}

#[cfg(test)]
mod tests;
