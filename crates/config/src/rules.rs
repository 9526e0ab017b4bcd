//! What is allowed and risky, or probably not meant. Each rule has a name that stays, and a section in
//! `docs/rules.md`.

mod access;
mod certificates;
mod failures;
mod grants;
mod routing;
mod shares;
mod timing;

use crate::finding::{Finding, Severity};
use crate::layers::Loaded;
use crate::problem::Place;

pub use certificates::{Certified, expiring};
pub use grants::{GrantsFile, granting};

/// A rule of [`check`].
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name, which stays.
    pub name: &'static str,
    /// How bad what it finds is.
    pub severity: Severity,
    find: fn(&Loaded) -> Vec<Found>,
}

/// What a rule has found.
struct Found {
    place: Option<Place>,
    message: String,
    advice: String,
}

impl Rule {
    /// Every rule, in the order of the findings.
    pub const ALL: &'static [Self] = &[
        warning("api-off", access::api_off),
        warning("api-insecure", access::api_insecure),
        warning("api-open-address", access::api_open_address),
        warning("tokens-in-the-clear", access::tokens_in_the_clear),
        warning("etcd-in-the-clear", access::etcd_in_the_clear),
        warning("tls-off", access::tls_off),
        warning("backend-tls-insecure", access::backend_tls_insecure),
        warning("single-backend-max-failures", failures::single_backend),
        warning("max-failures-without-monitor", failures::without_monitor),
        warning("ejections-unbounded", failures::ejections_unbounded),
        warning("eject-last-without-monitor", failures::eject_last_without_monitor),
        warning(
            "probe-first-without-monitor",
            failures::probe_first_without_monitor,
        ),
        warning("only-fallbacks", failures::only_fallbacks),
        error("fallback-elsewhere", failures::fallback_elsewhere),
        warning("retries-multiply", failures::retries_multiply),
        warning("retry-non-idempotent", failures::retry_non_idempotent),
        warning("interval-below-timeout", timing::interval_below_timeout),
        warning("ttl-below-three-heartbeats", timing::ttl_below_three_heartbeats),
        error("app-without-backends", routing::app_without_backends),
        warning("app-misspelt", routing::app_misspelt),
        error("unreachable-route", routing::unreachable),
        warning("overlapping-routes", routing::overlapping),
        warning("share-starves", shares::of_apps),
        warning("weight-starves", shares::of_backends),
    ];
}

const fn warning(name: &'static str, find: fn(&Loaded) -> Vec<Found>) -> Rule {
    Rule {
        name,
        severity: Severity::Warning,
        find,
    }
}

const fn error(name: &'static str, find: fn(&Loaded) -> Vec<Found>) -> Rule {
    Rule {
        name,
        severity: Severity::Error,
        find,
    }
}

impl Found {
    fn at(place: Option<&Place>, message: String, advice: impl Into<String>) -> Self {
        Self {
            place: place.cloned(),
            message,
            advice: advice.into(),
        }
    }
}

/// Looks for everything that [`Rule::ALL`] names. Pure; certificates are for [`expiring`], and the
/// file of tokens is for [`granting`].
///
/// ```
/// use edgeproxy_config::{ConfigFile, Layers, check};
///
/// let text = "api_enabled = true\napi_listen_addr = \"127.0.0.1:8081\"\nmax_failures = 5\n";
/// let file = ConfigFile { path: "edgeproxy.toml".into(), text: text.to_owned() };
/// let loaded = Layers { file: Some(file), ..Layers::default() }.load()?;
/// let findings = check(&loaded);
/// assert_eq!(findings[0].rule, "max-failures-without-monitor");
/// assert_eq!(findings[0].place.as_ref().unwrap().to_string(), "edgeproxy.toml:3:1");
/// # Ok::<(), edgeproxy_config::ConfigError>(())
/// ```
#[must_use]
pub fn check(loaded: &Loaded) -> Vec<Finding> {
    let of_rule = |rule: &'static Rule| {
        (rule.find)(loaded).into_iter().map(|found| Finding {
            rule: rule.name,
            severity: rule.severity,
            place: found.place,
            message: found.message,
            advice: found.advice,
        })
    };
    Rule::ALL.iter().flat_map(of_rule).collect()
}

#[cfg(test)]
mod tests;
