//! What is told of Apigee's files. Each name stays, and has a section in `docs/rules.md`.

use crate::finding::Severity;

/// Something that is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) severity: Severity,
}

macro_rules! rules {
    ($( $constant:ident, $name:literal, $severity:ident; )+) => {
        $( pub(super) const $constant: Told = Told { name: $name, severity: Severity::$severity }; )+

        /// All of them.
        pub(crate) const ALL: &[Told] = &[$( $constant ),+];
    };
}

rules! {
    SEVERAL_FALLBACKS, "apigee-several-fallbacks", Warning;
    ONLY_FALLBACK, "apigee-only-fallback", Warning;
    SERVER_TWICE, "apigee-server-twice", Warning;
    SERVER_UNNAMED, "apigee-server-unnamed", Error;
    SERVER_UNDEFINED, "apigee-server-undefined", Error;
    NO_SERVERS, "apigee-no-servers", Error;
    NO_TARGET, "apigee-no-target", Error;
    URL_AND_BALANCER, "apigee-url-and-load-balancer", Warning;
    SEVERAL_BALANCERS, "apigee-several-load-balancers", Error;
    MONITOR_WITHOUT_BALANCER, "apigee-monitor-without-load-balancer", Warning;
    MONITOR_WITHOUT_FAILURES, "apigee-monitor-without-max-failures", Warning;
    NO_MAX_FAILURES, "apigee-max-failures-missing", Warning;
    SINGLE_TARGET, "apigee-single-target", Warning;
    TLS_UNVERIFIED, "apigee-tls-unverified", Warning;
    TLS_STORE, "apigee-tls-store", Warning;
    TLS_NAMES, "apigee-tls-names", Warning;
    TLS_OVERRIDDEN, "apigee-sslinfo-overridden", Warning;
    VARIABLE, "apigee-variable", Error;
    HOST_NAME, "apigee-host-name", Error;
    BAD_VALUE, "apigee-bad-value", Error;
    STRAY_TEXT, "apigee-stray-text", Warning;
    DEFINED_TWICE, "apigee-defined-twice", Warning;
    RENAMED, "apigee-renamed", Warning;
    NO_COUNTERPART, "apigee-no-counterpart", Warning;
    NOT_IMPORTED, "apigee-not-imported", Warning;
}
