//! `TargetEndpoint` and `ServiceCallout`: what becomes an app.

use std::fmt::Display;

use super::balancer::Balancer;
use super::element::{Element, Spot};
use super::monitor::Monitor;
use super::notes::{Known, Notes, has_variable, shown};
use super::rules;
use super::server::Host;
use super::tls::Tls;
use super::toml_text::{line, string};
use super::url::Url;
use crate::paths::PathPrefix;
use crate::value::{FromValue, Value};

/// What an endpoint says, as far as it can be said here.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The name of its element.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) at: Spot,
    pub(super) description: Option<String>,
    pub(super) target: Target,
    /// Lines of its `[apps.NAME]`.
    pub(super) lines: Vec<String>,
    pub(super) monitor: Option<Monitor>,
}

/// Where an endpoint's requests go.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Balancer(Balancer),
    Url(Host, Option<Tls>),
    Nothing,
}

const ENDPOINT: Known = Known::once(&[
    "Description",
    "PreFlow",
    "Flows",
    "PostFlow",
    "EventFlow",
    "FaultRules",
    "DefaultFaultRule",
    "HTTPTargetConnection",
]);
const CALLOUT: Known = Known {
    once: &[
        "DisplayName",
        "Description",
        "Properties",
        "Timeout",
        "HTTPTargetConnection",
    ],
    often: &[],
    attributes: &[],
};
const CONNECTION: Known = Known {
    // Several balancers have a rule of their own.
    once: &["URL", "Path", "HealthMonitor", "SSLInfo", "Properties"],
    often: &["LoadBalancer"],
    attributes: &[],
};

impl Endpoint {
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Self {
        let callout = element.name == "ServiceCallout";
        notes.only(element, if callout { &CALLOUT } else { &ENDPOINT });
        for flow in element.children.iter().filter(|child| has_step(child)) {
            if ENDPOINT.once.contains(&flow.name.as_str()) && flow.name != "HTTPTargetConnection" {
                let message = format!(
                    "the policies in <{}> have no counterpart and were not taken over",
                    flow.name
                );
                notes.tell(rules::NO_COUNTERPART, &flow.at, message, "do without them");
            }
        }
        let mut endpoint = Self {
            kind: element.name.clone(),
            name: element.given_name().unwrap_or_default().to_owned(),
            at: element.at.clone(),
            description: element
                .child("Description")
                .map(|found| shown(&found.text))
                .filter(|text| !text.is_empty()),
            target: Target::Nothing,
            lines: Vec::new(),
            monitor: None,
        };
        match element.child("HTTPTargetConnection") {
            Some(connection) => endpoint.connection(notes, connection),
            None => notes.tell(
                rules::NO_TARGET,
                &element.at,
                format!(
                    "<{}> has no <HTTPTargetConnection>: there is nobody to send requests to",
                    element.name
                ),
                "add one, with a LoadBalancer or a URL",
            ),
        }
        if let Some(timeout) = element.child("Timeout")
            && let Some(secs) = notes.millis(timeout, 86_400)
        {
            endpoint.set("response_header_timeout_secs", secs);
        }
        endpoint
    }

    fn connection(&mut self, notes: &mut Notes<'_>, element: &Element) {
        notes.only(element, &CONNECTION);
        self.target = target(notes, element);
        let own_tls = element.child("SSLInfo");
        let mut max_failures = 0;
        match &self.target {
            Target::Balancer(balancer) => {
                if let Some(found) = own_tls {
                    notes.tell(
                        rules::TLS_OVERRIDDEN,
                        &found.at,
                        "the SSLInfo beside a LoadBalancer does nothing: that of each target server counts",
                        "move it to the target servers",
                    );
                }
                max_failures = balancer.max_failures;
                let codes: Vec<String> = balancer.unhealthy.iter().map(u16::to_string).collect();
                let retry = balancer.retry;
                self.set("max_failures", max_failures);
                if !codes.is_empty() {
                    self.set("unhealthy_responses", format!("[{}]", codes.join(", ")));
                }
                if let Some(retry) = retry {
                    self.set("retry_enabled", retry);
                }
            }
            Target::Url(host, _) => {
                let tls = own_tls.map(|info| Tls::read(notes, info));
                let secure = tls.as_ref().and_then(|tls| tls.enabled) == Some(true);
                let protocol = if secure { "https" } else { host.protocol };
                self.target = Target::Url(
                    Host {
                        protocol,
                        ..host.clone()
                    },
                    tls,
                );
                self.path(notes, element.child("URL").map(Url::path_of));
            }
            Target::Nothing => {}
        }
        let path = element.child("Path");
        self.path(notes, path.map(|path| (path, path.text.clone())));
        self.properties(notes, element.child("Properties"));
        self.monitor(notes, element, max_failures);
        self.alone(notes, element);
    }

    /// Says a setting; what is said later counts.
    fn set(&mut self, key: &str, value: impl Display) {
        let begins = |line: &String| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "));
        let line = line(key, value);
        match self.lines.iter_mut().find(|line| begins(line)) {
            Some(found) => *found = line,
            None => self.lines.push(line),
        }
    }

    fn path(&mut self, notes: &mut Notes<'_>, path: Option<(&Element, String)>) {
        let Some((element, path)) = path.filter(|(_, path)| !matches!(path.as_str(), "" | "/")) else {
            return;
        };
        if self.lines.iter().any(|line| line.starts_with("add_prefix")) {
            let message = "there are a <Path> and a path in <URL>: the Path counts";
            notes.tell(rules::DEFINED_TWICE, &element.at, message, "remove one of them");
        }
        if has_variable(&path) {
            let message = format!(
                "the path {} has a variable that only Apigee could fill in",
                shown(&path)
            );
            return notes.tell(
                rules::VARIABLE,
                &element.text_at,
                message,
                "write a path without it by add_prefix",
            );
        }
        match PathPrefix::from_value(&Value::Text(path)) {
            Ok(prefix) => self.set("add_prefix", string(prefix.as_str())),
            Err(mismatch) => {
                let help = mismatch.help.map(|help| format!(" ({help})")).unwrap_or_default();
                notes.bad(
                    element,
                    &mismatch.found,
                    &format!("{}{help}", PathPrefix::EXPECTED),
                    None,
                );
            }
        }
    }

    fn properties(&mut self, notes: &mut Notes<'_>, element: Option<&Element>) {
        const PROPERTIES: Known = Known {
            once: &[],
            often: &["Property"],
            attributes: &[],
        };
        let Some(element) = element else { return };
        notes.only(element, &PROPERTIES);
        for property in element.children("Property") {
            let name = property.attribute("name").unwrap_or_default();
            match name {
                "connect.timeout.millis" => {
                    if let Some(secs) = notes.millis(property, 3_600) {
                        self.set("connect_timeout_secs", secs);
                    }
                }
                "io.timeout.millis" => {
                    if let Some(secs) = notes.millis(property, 86_400) {
                        self.set("response_header_timeout_secs", secs);
                        self.set("response_body_timeout_secs", secs);
                    }
                }
                "keepalive.timeout.millis" => notes.tell(
                    rules::NO_COUNTERPART,
                    &property.at,
                    "keepalive.timeout.millis is for all apps together here, and was not taken over",
                    "write pool_idle_timeout_secs at the top of the file",
                ),
                // Bodies are passed on as they come, always.
                "request.streaming.enabled" | "response.streaming.enabled" if property.text == "true" => {}
                _ => {
                    let message = format!(
                        "the property {} has no counterpart and was not taken over",
                        shown(if name.is_empty() { "without a name" } else { name })
                    );
                    notes.tell(rules::NO_COUNTERPART, &property.at, message, "do without it");
                }
            }
        }
    }

    fn monitor(&mut self, notes: &mut Notes<'_>, element: &Element, max_failures: u64) {
        let Some(found) = element.child("HealthMonitor") else {
            return;
        };
        let mut monitor = Monitor::read(notes, found);
        if !matches!(self.target, Target::Balancer(_)) {
            notes.tell(
                rules::MONITOR_WITHOUT_BALANCER,
                &found.at,
                "a HealthMonitor without a LoadBalancer does nothing in Apigee, so it is switched off here",
                "remove enabled = false, to have the backend probed",
            );
            monitor.enabled = false;
        } else if max_failures == 0 && monitor.enabled {
            notes.tell(
                rules::MONITOR_WITHOUT_FAILURES,
                &found.at,
                "a HealthMonitor with MaxFailures 0 takes nobody out in Apigee, so it is switched off here",
                "write MaxFailures; or remove enabled = false: probes take a backend out by themselves here",
            );
            monitor.enabled = false;
        }
        self.monitor = Some(monitor);
    }

    /// The documentation's anti-pattern.
    fn alone(&self, notes: &mut Notes<'_>, element: &Element) {
        let Target::Balancer(balancer) = &self.target else {
            return;
        };
        let probed = self.monitor.as_ref().is_some_and(|monitor| monitor.enabled);
        if balancer.members.len() != 1 || balancer.max_failures == 0 || probed {
            return;
        }
        let at = element
            .child("LoadBalancer")
            .and_then(|found| found.child("MaxFailures"));
        notes.tell(
            rules::SINGLE_TARGET,
            &at.unwrap_or(element).at,
            format!(
                "MaxFailures is {} with one server and no HealthMonitor: in Apigee every request fails once the server \
                 has failed that often, until somebody deploys again. Here the last backend is kept",
                balancer.max_failures
            ),
            "remove MaxFailures; or add a second server, and a HealthMonitor",
        );
    }
}

fn target(notes: &mut Notes<'_>, element: &Element) -> Target {
    let mut balancers = element.children("LoadBalancer");
    let first = balancers.next();
    for other in balancers {
        notes.tell(
            rules::SEVERAL_BALANCERS,
            &other.at,
            "there is a second <LoadBalancer>: the first counts",
            "join them",
        );
    }
    let url = element.child("URL").filter(|url| !url.text.is_empty());
    match (first, url) {
        (Some(balancer), url) => {
            if let Some(url) = url {
                notes.tell(
                    rules::URL_AND_BALANCER,
                    &url.at,
                    "there are a <URL> and a <LoadBalancer>: the LoadBalancer counts",
                    "remove one of them",
                );
            }
            Target::Balancer(Balancer::read(notes, balancer))
        }
        (None, Some(url)) => Url::read(notes, url).map_or(Target::Nothing, |host| Target::Url(host, None)),
        (None, None) => {
            notes.tell(
                rules::NO_TARGET,
                &element.at,
                "there is neither a <LoadBalancer> nor a <URL>: there is nobody to send requests to",
                "add one of them",
            );
            Target::Nothing
        }
    }
}

/// Whether a flow does anything: empty ones are in every file that was made by a wizard.
fn has_step(element: &Element) -> bool {
    element.name == "Step" || element.children.iter().any(has_step)
}
