//! `tls` of a listener: which certificates its clients are shown, and which they are asked for.

use std::path::PathBuf;

use edgeproxy_backend::AppName;
use toml::Spanned;
use toml::de::DeValue;

use super::Protocol;
use crate::Settings;
use crate::kinds::PATH;
use crate::setting::Kind;
use crate::table::{Key, Table, keys};
use crate::types::{ClientAuth, TlsVersion};
use crate::value::{FromValue, Mismatch, Value, described};

/// The key of the table.
pub(crate) const KEY: &str = "tls";

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

#[derive(Default)]
pub(crate) struct Raw {
    min_version: Option<TlsVersion>,
    client_auth: Option<ClientAuth>,
    client_ca: Option<PathBuf>,
}

#[derive(Default)]
pub(crate) struct RawCertificate {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    names: Option<Names>,
}

pub(crate) const CERTIFICATES: &str = "certificates";
pub(crate) const KEYS: &[Key<Raw>] = keys!(Raw {
    /// The oldest version that is spoken.
    min_version, "min_version", Kind::OneOf(TlsVersion::NAMES), "`1.2`";
    /// The authorities that issue clients' certificates, as PEM.
    client_ca, "client_ca", PATH, "nobody is asked";
    /// Whether clients show certificates.
    client_auth, "client_auth", Kind::OneOf(ClientAuth::NAMES), "`required` if there is a `client_ca`";
});
pub(crate) const CERTIFICATE_KEYS: &[Key<RawCertificate>] = keys!(RawCertificate {
    /// The certificate, and the chain that leads to an authority.
    cert, "cert", PATH, "required";
    /// Its private key, unencrypted.
    key, "key", PATH, "required";
    /// The names that it is shown for.
    names, "names", Kind::List {
        name: "NAME,…",
        expected: "a DNS name, such as \"shop.example\" or \"*.shop.example\"",
    }, "those in the certificate";
});

/// DNS names, each perhaps with `*.` before it.
pub(crate) struct Names(Vec<String>);

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

impl Table<'_, '_> {
    /// Reads the table. `None` where it can't be used, which has been told then.
    pub(super) fn tls(&mut self, value: &Spanned<DeValue<'_>>) -> Option<ListenerTls> {
        let at = self.span(KEY).unwrap_or_else(|| value.span());
        let DeValue::Table(keys) = value.get_ref() else {
            let found = described(value.get_ref());
            let message = format!(
                "a listener's tls is {found}; expected a table with the certificates that clients are shown"
            );
            let help = "write `tls = { certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }] }`";
            self.problem(&value.span(), message, Some(help.to_owned()));
            return None;
        };
        let mut table = self.inside(KEY, at.clone());
        let mut raw = Raw::default();
        table.read(keys, KEYS, &[CERTIFICATES], &mut raw);
        let client_auth = table.client_auth(&raw);
        let Some(certificates) = keys.get(CERTIFICATES) else {
            let message = "a listener's tls has no certificates; expected at least one".to_owned();
            let help = "add `certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]`";
            table.problem(&at, message, Some(help.to_owned()));
            return None;
        };
        Some(ListenerTls {
            certificates: table.certificates(certificates)?,
            min_version: raw.min_version.unwrap_or(TlsVersion::Tls12),
            client_auth,
            client_ca: raw.client_ca,
        })
    }

    /// Authorities without a word on what they are for are there to be required.
    fn client_auth(&mut self, raw: &Raw) -> ClientAuth {
        match (raw.client_auth, &raw.client_ca) {
            (None | Some(ClientAuth::Off), None) => ClientAuth::Off,
            (None, Some(_)) => ClientAuth::Required,
            (Some(auth), Some(_)) => auth,
            // One that was given and can't be used has been told already.
            (Some(auth), None) if self.span("client_ca").is_some() => auth,
            (Some(auth), None) => {
                let message = format!(
                    "a listener's client_auth is \"{auth}\" and there is no client_ca; expected the authorities that \
                     issue clients' certificates"
                );
                let help = "add `client_ca = \"ca.pem\"`: nobody else's certificate would mean anything";
                self.problem_at("client_auth", message, Some(help.to_owned()));
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
            let mut table = Table::one_of(self.document, self.draft, "a certificate", table.span());
            table.read(keys, CERTIFICATE_KEYS, &[], &mut raw);
            for key in ["cert", "key"] {
                if table.span(key).is_none() {
                    let message = format!("a certificate has no {key}; expected the path of a PEM file");
                    table.problem(
                        &table.at.clone(),
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

    /// Whether a listener of that protocol can end TLS.
    pub(super) fn tls_fits(&mut self, protocol: Option<Protocol>) {
        if protocol == Some(Protocol::Sni)
            && let Some(span) = self.span(KEY)
        {
            let message =
                "a listener's tls is for protocol \"http\" or \"tcp\"; this one's is \"sni\"".to_owned();
            let help =
                "remove it: with \"sni\" TLS is passed on unopened, and backends show their own certificates";
            self.problem(&span, message, Some(help.to_owned()));
        }
    }
}
