//! `SSLInfo`: how TLS is spoken to a target.

use super::element::Element;
use super::notes::{Known, Notes};
use super::rules;

/// What of it can be said in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// Whether TLS is spoken. Unknown: as the URL or the port says.
    pub(super) enabled: Option<bool>,
    /// The name that the certificate has to be for, in place of the host's.
    pub(super) name: Option<String>,
}

const KNOWN: Known = Known::once(&[
    "Enabled",
    "Enforce",
    "IgnoreValidationErrors",
    "ClientAuthEnabled",
    "KeyStore",
    "KeyAlias",
    "TrustStore",
    "Protocols",
    "Ciphers",
    "CommonName",
]);

impl Tls {
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Self {
        notes.only(element, &KNOWN);
        let enabled = notes.flag(element.child("Enabled"));
        if enabled == Some(false) {
            // All the rest is about connections that are not made.
            return Self { enabled, name: None };
        }
        let enforced = notes.flag(element.child("Enforce"));
        let ignored = notes.flag(element.child("IgnoreValidationErrors"));
        if ignored == Some(true) && enforced != Some(true) {
            notes.tell(
                rules::TLS_UNVERIFIED,
                &element.child("IgnoreValidationErrors").unwrap_or(element).at,
                "the target's certificate is not looked at: whoever sits between reads and changes everything. Here it \
                 is verified",
                "name the authority by backend_tls_ca; or write backend_tls_insecure = true, which holds for every \
                 backend",
            );
        }
        Self::stores(notes, element);
        for name in ["Protocols", "Ciphers"] {
            if let Some(found) = element.child(name).filter(|found| !usual(found)) {
                notes.tell(
                    rules::NO_COUNTERPART,
                    &found.at,
                    format!("<{name}> has no counterpart: backends are spoken to by TLS 1.2 and 1.3, with the suites that \
                             these have"),
                    "do without it",
                );
            }
        }
        let name = element.child("CommonName").and_then(|name| {
            // In JSON it is an object with a value.
            let value = name.child("Value").unwrap_or(name);
            notes.text(value).map(str::to_owned)
        });
        Self { enabled, name }
    }

    fn stores(notes: &mut Notes<'_>, element: &Element) {
        let client = notes.flag(element.child("ClientAuthEnabled")) == Some(true);
        if client && let Some(found) = element.child("KeyStore").or(element.child("ClientAuthEnabled")) {
            notes.tell(
                rules::TLS_STORE,
                &found.at,
                "the target asks for a certificate, which is in a key store of Apigee's",
                "export the certificate and its key as PEM, and name them by backend_tls_cert and backend_tls_key",
            );
        }
        if let Some(found) = element.child("TrustStore").filter(|store| !store.text.is_empty()) {
            notes.tell(
                rules::TLS_STORE,
                &found.at,
                "the authorities that are trusted are in a trust store of Apigee's. Here they are those of the system",
                "export them as PEM, and name the file by backend_tls_ca",
            );
        }
    }
}

/// Whether it says nothing, or what is so anyway.
fn usual(element: &Element) -> bool {
    let words = element.children.iter().map(|child| child.text.as_str());
    let mut words = words
        .chain(element.text.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words.all(|word| matches!(word, "TLSv1.2" | "TLSv1.3"))
}
