//! `tls` of a listener: which certificates its clients are shown, and which they are asked for.

use std::ops::Range;
use std::path::PathBuf;

use edgeproxy_backend::AppName;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Protocol, Reading};
use crate::Settings;
use crate::file::{blamed, told};
use crate::kinds::PATH;
use crate::setting::Kind;
use crate::suggest::closest;
use crate::types::{ClientAuth, TlsVersion};
use crate::value::{FromValue, Mismatch, Value, described, quoted};

/// The key of the table.
pub(super) const KEY: &str = "tls";

/// TLS at a listener, as files that are still to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerTls {
    /// What clients are shown, at least one. The first is the default: shown to whoever asks for no name, or for
    /// one that no other has.
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// The authorities that issue clients' certificates; there unless `client_auth` is off.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with its chain and its key, as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The certificate, then those that lead to an authority. PEM.
    pub cert: PathBuf,
    /// Its private key, unencrypted. PEM.
    pub key: PathBuf,
    /// The names that it is shown for: DNS names in lower case, or `*.` and one. None: those in the certificate.
    pub names: Vec<String>,
}

impl ListenerTls {
    /// The most certificates of a listener.
    pub const MAX_CERTIFICATES: usize = 1_024;

    /// One certificate for everybody.
    #[must_use]
    pub fn of(cert: PathBuf, key: PathBuf) -> Self {
        Self {
            certificates: vec![Certificate {
                cert,
                key,
                names: Vec::new(),
            }],
            min_version: TlsVersion::Tls12,
            client_auth: ClientAuth::Off,
            client_ca: None,
        }
    }
}

/// The listener that needs no file, where all of it is there.
pub(super) fn of_settings(settings: &Settings) -> Option<(std::net::SocketAddr, ListenerTls)> {
    let (cert, key) = (settings.tls_cert.clone()?, settings.tls_key.clone()?);
    settings
        .tls_enabled
        .then(|| (settings.tls_listen_addr, ListenerTls::of(cert, key)))
}

/// A key of one of the tables.
struct Key<R> {
    key: &'static str,
    kind: Kind,
    apply: fn(&mut R, &Value) -> Result<(), Mismatch>,
}

#[derive(Default)]
struct Raw {
    min_version: Option<TlsVersion>,
    client_auth: Option<ClientAuth>,
    client_ca: Option<PathBuf>,
}

#[derive(Default)]
struct RawCertificate {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    names: Option<Names>,
}

macro_rules! key {
    ($key:literal, $field:ident, $kind:expr) => {
        Key {
            key: $key,
            kind: $kind,
            apply: |raw, value| {
                raw.$field = Some(FromValue::from_value(value)?);
                Ok(())
            },
        }
    };
}

const CERTIFICATES: &str = "certificates";
const KEYS: &[Key<Raw>] = &[
    key!("min_version", min_version, Kind::OneOf(TlsVersion::NAMES)),
    key!("client_ca", client_ca, PATH),
    key!("client_auth", client_auth, Kind::OneOf(ClientAuth::NAMES)),
];
const CERTIFICATE_KEYS: &[Key<RawCertificate>] = &[
    key!("cert", cert, PATH),
    key!("key", key, PATH),
    key!(
        "names",
        names,
        Kind::List {
            name: "NAME,…",
            expected: "a DNS name, such as \"shop.example\" or \"*.shop.example\"",
        }
    ),
];

/// DNS names, each perhaps with `*.` before it.
struct Names(Vec<String>);

impl Names {
    const MAX: usize = 1_024;
}

impl FromValue for Names {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        if items.len() > Self::MAX {
            let found = Mismatch::new(format!("{} names", items.len()));
            return Err(found.help(format!("at most {} can be listed", Self::MAX)));
        }
        let name = |(index, item): (usize, &String)| {
            // An app's name obeys the same rules (RFC 1123 §2.1).
            match AppName::parse(item.strip_prefix("*.").unwrap_or(item)) {
                Ok(_) => Ok(item.to_ascii_lowercase()),
                Err(error) => Err(Mismatch::text(item).help(error.to_string()).item(index)),
            }
        };
        items
            .iter()
            .enumerate()
            .map(name)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Reading<'_, '_> {
    /// Reads the table. `None` where it can't be used, which has been told then.
    pub(super) fn tls(&mut self, at: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Option<ListenerTls> {
        let DeValue::Table(keys) = value.get_ref() else {
            let found = described(value.get_ref());
            let message = format!(
                "a listener's tls is {found}; expected a table with the certificates that clients are shown"
            );
            let help = "write `tls = { certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }] }`";
            self.problem(&value.span(), message, Some(help.to_owned()));
            return None;
        };
        let (mut raw, mut certificates) = (Raw::default(), None);
        for (key, value) in keys {
            if key.get_ref() == CERTIFICATES {
                certificates = Some(self.certificates(value));
            } else {
                self.inner_key("tls", KEYS, &[CERTIFICATES], &mut raw, key, value);
            }
        }
        let client_auth = self.client_auth(&raw, keys, at);
        let Some(certificates) = certificates else {
            let message = "a listener's tls has no certificates; expected at least one".to_owned();
            let help = "add `certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]`";
            self.problem(at, message, Some(help.to_owned()));
            return None;
        };
        Some(ListenerTls {
            certificates: certificates?,
            min_version: raw.min_version.unwrap_or(TlsVersion::Tls12),
            client_auth,
            client_ca: raw.client_ca,
        })
    }

    /// Authorities without a word on what they are for are there to be required.
    fn client_auth(&mut self, raw: &Raw, keys: &DeTable<'_>, at: &Range<usize>) -> ClientAuth {
        match (raw.client_auth, &raw.client_ca) {
            (None | Some(ClientAuth::Off), None) => ClientAuth::Off,
            (None, Some(_)) => ClientAuth::Required,
            (Some(auth), Some(_)) => auth,
            // One that was given and can't be used has been told already.
            (Some(auth), None) if keys.contains_key("client_ca") => auth,
            (Some(auth), None) => {
                let message = format!(
                    "a listener's client_auth is \"{auth}\" and there is no client_ca; expected the authorities that \
                     issue clients' certificates"
                );
                let help = "add `client_ca = \"ca.pem\"`: nobody else's certificate would mean anything";
                let span = keys.get_key_value("client_auth").map(|(key, _)| key.span());
                self.problem(
                    &span.unwrap_or_else(|| at.clone()),
                    message,
                    Some(help.to_owned()),
                );
                auth
            }
        }
    }

    fn certificates(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Vec<Certificate>> {
        let wrong = |found: String| {
            format!("a listener's certificates is {found}; expected tables, each with a cert and a key")
        };
        let DeValue::Array(tables) = value.get_ref() else {
            let help = match value.get_ref() {
                DeValue::Table(_) => Some("put it in brackets: there may be several".to_owned()),
                _ => None,
            };
            self.problem(&value.span(), wrong(described(value.get_ref())), help);
            return None;
        };
        let max = ListenerTls::MAX_CERTIFICATES;
        if tables.is_empty() || tables.len() > max {
            let message = format!(
                "a listener has {} certificates; expected 1 to {max}",
                tables.len()
            );
            self.problem(&value.span(), message, None);
            return None;
        }
        let mut certificates = Vec::with_capacity(tables.len());
        for table in tables {
            let DeValue::Table(keys) = table.get_ref() else {
                let found = wrong(format!("an array with {} in it", described(table.get_ref())));
                self.problem(&table.span(), found, None);
                return None;
            };
            let mut raw = RawCertificate::default();
            for (key, value) in keys {
                self.inner_key("certificate", CERTIFICATE_KEYS, &[], &mut raw, key, value);
            }
            for key in ["cert", "key"] {
                if !keys.contains_key(key) {
                    let message = format!("a certificate has no {key}; expected the path of a PEM file");
                    self.problem(
                        &table.span(),
                        message,
                        Some(format!("add `{key} = \"{key}.pem\"`")),
                    );
                }
            }
            certificates.extend(raw.cert.zip(raw.key).map(|(cert, key)| Certificate {
                cert,
                key,
                names: raw.names.map_or_else(Vec::new, |names| names.0),
            }));
        }
        (certificates.len() == tables.len()).then_some(certificates)
    }

    /// Reads a key of one of the tables; `others` are keys that it has besides.
    fn inner_key<R>(
        &mut self,
        table: &str,
        known: &[Key<R>],
        others: &[&'static str],
        raw: &mut R,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name: &str = key.get_ref();
        let Some(known) = known.iter().find(|known| known.key == name).map_or_else(
            || {
                let names: Vec<&str> = others
                    .iter()
                    .copied()
                    .chain(known.iter().map(|known| known.key))
                    .collect();
                let help = match closest(name, names.iter().copied()) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("remove it; it has {}", names.join(", ")),
                };
                let message = format!("a listener's {table} has no setting {}", quoted(name));
                self.problem(&key.span(), message, Some(help));
                None
            },
            Some,
        ) else {
            return;
        };
        let read = known.kind.read_toml(value.get_ref());
        if let Err(mismatch) = read.and_then(|read| (known.apply)(raw, &read)) {
            let message = told(&format!("a {table}'s {}", known.key), known.kind, &mismatch);
            self.problem(&blamed(&mismatch, value), message, mismatch.help);
        }
    }

    /// Whether a listener of that protocol can end TLS.
    pub(super) fn tls_fits(&mut self, protocol: Option<Protocol>) {
        if protocol == Some(Protocol::Sni)
            && let Some(span) = self.given.get(KEY).cloned()
        {
            let message =
                "a listener's tls is for protocol \"http\" or \"tcp\"; this one's is \"sni\"".to_owned();
            let help =
                "remove it: with \"sni\" TLS is passed on unopened, and backends show their own certificates";
            self.problem(&span, message, Some(help.to_owned()));
        }
    }
}
