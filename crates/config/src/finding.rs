use std::fmt;

use crate::{HealthMonitor, LastBackend, Settings};

/// Something that is allowed and probably not meant, or meant and risky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the rule, to look it up or to silence it.
    pub rule: &'static str,
    /// What is so, and what follows from it.
    pub message: String,
    /// What to write instead.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.message, self.rule, self.advice)
    }
}

/// What the settings make risky, for the start-up log.
#[must_use]
pub fn findings(settings: &Settings) -> Vec<Finding> {
    [
        api_off,
        api_insecure,
        api_open_address,
        tls_off,
        backend_tls_insecure,
        failures_without_monitor,
        eject_last_without_monitor,
    ]
    .into_iter()
    .filter_map(|rule| rule(settings))
    .collect()
}

fn api_off(settings: &Settings) -> Option<Finding> {
    (!settings.api_enabled).then(|| Finding {
        rule: "api-off",
        message: "the API is off, so no backend can register, and every request will be answered 404"
            .to_owned(),
        advice: "write api_enabled = true, or set EDGEPROXY_API_ENABLED=true".to_owned(),
    })
}

fn api_insecure(settings: &Settings) -> Option<Finding> {
    (settings.api_enabled && settings.api_insecure).then(|| Finding {
        rule: "api-insecure",
        message: format!(
            "api_insecure is true: whoever reaches {} can register a backend and receive the traffic",
            settings.api_listen_addr
        ),
        advice: "remove it; loopback and private networks are served without it".to_owned(),
    })
}

fn api_open_address(settings: &Settings) -> Option<Finding> {
    let address = settings.api_listen_addr;
    let open = settings.api_enabled && !settings.api_insecure && !address.ip().to_canonical().is_loopback();
    open.then(|| Finding {
        rule: "api-open-address",
        message: format!(
            "the API listens on {address} without tokens: loopback and private networks are served, any other peer gets 401"
        ),
        advice: format!(
            "write api_listen_addr = \"127.0.0.1:{}\" where all backends are on this machine, or keep strangers out of your private networks",
            address.port()
        ),
    })
}

fn tls_off(settings: &Settings) -> Option<Finding> {
    (!settings.tls_enabled && settings.tls_cert.is_some()).then(|| Finding {
        rule: "tls-off",
        message: "there is a tls_cert and tls_enabled is false, so nobody is served by TLS with it"
            .to_owned(),
        advice: "write tls_enabled = true, or set EDGEPROXY_TLS_ENABLED=true; or remove the certificate"
            .to_owned(),
    })
}

fn backend_tls_insecure(settings: &Settings) -> Option<Finding> {
    settings.backend_tls_insecure.then(|| Finding {
        rule: "backend-tls-insecure",
        message: "backend_tls_insecure is true: whoever sits between the proxy and an https backend reads and changes everything unnoticed".to_owned(),
        advice: "remove it, and name the authority that issues the backends' certificates by backend_tls_ca".to_owned(),
    })
}

fn failures_without_monitor(settings: &Settings) -> Option<Finding> {
    let unwatched = settings.max_failures > 0 && settings.health_monitor == HealthMonitor::Off;
    unwatched.then(|| Finding {
        rule: "max-failures-without-monitor",
        message: format!(
            "max_failures is {} without a health monitor: an ejected backend comes back only by trying real requests on it, after 30 s and more",
            settings.max_failures
        ),
        advice: "write health_monitor = \"tcp\", or \"http:/healthz\" with a path of your backends; or max_failures = 0".to_owned(),
    })
}

fn eject_last_without_monitor(settings: &Settings) -> Option<Finding> {
    let stuck = settings.last_backend == LastBackend::Eject
        && settings.max_failures > 0
        && settings.health_monitor == HealthMonitor::Off;
    stuck.then(|| Finding {
        rule: "eject-last-without-monitor",
        message: "last_backend is \"eject\" without a health monitor: an app's users get 503 long after its last backend has recovered".to_owned(),
        advice: "write last_backend = \"keep\", or set a health monitor".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(settings: &Settings) -> Vec<&'static str> {
        findings(settings)
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn the_defaults_only_say_that_nothing_can_register() {
        assert_eq!(rules(&Settings::default()), ["api-off"]);
    }

    #[test]
    fn an_api_on_loopback_is_no_finding_and_a_wider_one_is() {
        let mut settings = Settings {
            api_enabled: true,
            ..Settings::default()
        };
        assert_eq!(rules(&settings), ["api-open-address"]);
        settings.api_listen_addr = "127.0.0.1:8081".parse().unwrap();
        assert!(rules(&settings).is_empty());
        settings.api_insecure = true;
        assert_eq!(rules(&settings), ["api-insecure"]);
    }

    #[test]
    fn a_certificate_that_nobody_is_shown_and_certificates_that_nobody_looks_at_are_told() {
        let mut settings = Settings {
            tls_cert: Some("c".into()),
            backend_tls_insecure: true,
            ..Settings::default()
        };
        assert_eq!(rules(&settings), ["api-off", "tls-off", "backend-tls-insecure"]);
        settings.tls_enabled = true;
        assert_eq!(rules(&settings), ["api-off", "backend-tls-insecure"]);
    }

    #[test]
    fn the_anti_pattern_is_named_with_what_to_write_instead() {
        let base = Settings {
            api_enabled: true,
            api_listen_addr: "127.0.0.1:8081".parse().unwrap(),
            max_failures: 5,
            ..Settings::default()
        };
        assert_eq!(rules(&base), ["max-failures-without-monitor"]);
        assert!(findings(&base)[0].advice.contains("health_monitor = \"tcp\""));
        assert!(
            rules(&Settings {
                health_monitor: HealthMonitor::Tcp,
                ..base.clone()
            })
            .is_empty()
        );
        let eject = Settings {
            last_backend: LastBackend::Eject,
            ..base
        };
        assert_eq!(
            rules(&eject),
            ["max-failures-without-monitor", "eject-last-without-monitor"]
        );
    }
}
