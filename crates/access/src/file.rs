//! The file: TOML, a table for each token and each certificate.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::{AppPattern, Digest, Grant, Grants, Kind, Role, UnixSecs};

/// Everything that is wrong with a file; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantsError {
    /// Each fault, in the order of the file; the first [`GrantsError::MAX_FAULTS`].
    pub faults: Vec<Fault>,
}

/// Something that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The line; the first is 1.
    pub line: usize,
    /// The column, in characters; the first is 1.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl GrantsError {
    /// The most that are told of.
    pub const MAX_FAULTS: usize = 16;
}

/// One line: `3:8: message; 9:1: message`.
impl fmt::Display for GrantsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let Fault {
                line,
                column,
                message,
            } = fault;
            let before = if index == 0 { "" } else { "; " };
            write!(f, "{before}{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for GrantsError {}

const TOKENS: &str = "tokens";
const CERTIFICATES: &str = "certificates";
const TOKEN_KEYS: &[&str] = &["name", "role", "app", "hash", "expires", "from"];
const CERTIFICATE_KEYS: &[&str] = &["name", "role", "app", "subject", "expires", "from"];

/// The longest subject of a certificate.
const MAX_SUBJECT: usize = 512;
/// The most networks of an entry.
const MAX_NETS: usize = 64;

pub(crate) fn parse(text: &str) -> Result<Grants, GrantsError> {
    let mut reader = Reader {
        text,
        grants: Grants::default(),
        names: HashSet::new(),
        entries: 0,
        faults: Vec::new(),
    };
    if text.len() > Grants::MAX_FILE_BYTES {
        let message = format!("more than {} bytes", Grants::MAX_FILE_BYTES);
        reader.fault(&(0..0), message);
        return reader.finish();
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let end = text.len();
        reader.fault(
            &error.span().unwrap_or(end..end),
            format!("not valid TOML: {}", error.message()),
        );
    }
    if errors.is_empty() {
        reader.read(table.get_ref());
    }
    reader.finish()
}

struct Reader<'t> {
    text: &'t str,
    grants: Grants,
    names: HashSet<String>,
    /// Those that have been looked at, of both kinds.
    entries: usize,
    faults: Vec<Fault>,
}

/// The keys of one entry.
struct Entry<'e, 't> {
    keys: &'e DeTable<'t>,
    span: Range<usize>,
}

impl Reader<'_> {
    /// Notes it, unless enough have been: where it is takes a look at everything before it.
    fn fault(&mut self, span: &Range<usize>, message: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_begins = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_begins..).unwrap_or_default().chars().count() + 1;
        self.faults.push(Fault {
            line: before.matches('\n').count() + 1,
            column,
            message: message.into(),
        });
    }

    /// Whether no more faults are told of.
    fn is_full(&self) -> bool {
        self.faults.len() >= GrantsError::MAX_FAULTS
    }

    fn finish(self) -> Result<Grants, GrantsError> {
        if self.faults.is_empty() {
            return Ok(self.grants);
        }
        Err(GrantsError { faults: self.faults })
    }

    fn read(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match &**key.get_ref() {
                TOKENS => self.entries(TOKENS, value, Self::token),
                CERTIFICATES => self.entries(CERTIFICATES, value, Self::certificate),
                other => {
                    let other = excerpt(other);
                    self.fault(
                        &key.span(),
                        format!("{other:?}; expected [[tokens]] or [[certificates]]"),
                    );
                }
            }
        }
    }

    fn entries(
        &mut self,
        what: &str,
        value: &Spanned<DeValue<'_>>,
        read: fn(&mut Self, &Entry<'_, '_>) -> Option<()>,
    ) {
        let expected = format!(
            "{what} is {}; expected tables, each begun by [[{what}]]",
            kind(value)
        );
        let DeValue::Array(items) = value.get_ref() else {
            return self.fault(&value.span(), expected);
        };
        for item in items {
            if self.is_full() {
                return;
            }
            let DeValue::Table(keys) = item.get_ref() else {
                self.fault(&item.span(), expected.clone());
                continue;
            };
            if self.entries >= Grants::MAX_ENTRIES {
                let message = format!("more than {} entries", Grants::MAX_ENTRIES);
                return self.fault(&item.span(), message);
            }
            self.entries += 1;
            let entry = Entry {
                keys,
                span: item.span(),
            };
            // What keeps it from being read has been told.
            let _ = read(self, &entry);
        }
    }

    fn token(&mut self, entry: &Entry<'_, '_>) -> Option<()> {
        self.known(entry, TOKEN_KEYS);
        let grant = self.grant(entry, Kind::Token);
        let digest = self.required(entry, "hash", |text| text.parse::<Digest>().map_err(told_is));
        let (grant, (digest, span)) = (grant?, digest?);
        if !self.grants.add_token(digest, grant) {
            self.fault(
                &span,
                "hash is that of another entry; expected one of its own for each token",
            );
        }
        Some(())
    }

    fn certificate(&mut self, entry: &Entry<'_, '_>) -> Option<()> {
        self.known(entry, CERTIFICATE_KEYS);
        let grant = self.grant(entry, Kind::Certificate);
        let subject = self.required(entry, "subject", subject);
        let (grant, (subject, span)) = (grant?, subject?);
        if !self.grants.add_certificate(&subject, grant) {
            self.fault(
                &span,
                "subject is that of another entry; expected one of its own for each certificate",
            );
        }
        Some(())
    }

    fn known(&mut self, entry: &Entry<'_, '_>, known: &[&str]) {
        for key in entry.keys.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let found = excerpt(key.get_ref());
            self.fault(
                &key.span(),
                format!("{found:?} is no key of an entry; expected {}", known.join(", ")),
            );
        }
    }

    fn grant(&mut self, entry: &Entry<'_, '_>, kind: Kind) -> Option<Grant> {
        let name = self.required(entry, "name", |text| {
            let grant = Grant::new(text, kind, Role::Read, AppPattern::Any);
            grant.map_err(|error| format!("{:?}, {error}", excerpt(text)))
        });
        let role = self.required(entry, "role", |text| text.parse::<Role>().map_err(told_is));
        let apps = self.required(entry, "app", |text| AppPattern::parse(text).map_err(told_is));
        let expires = self.expires(entry);
        let from = self.from(entry);
        let ((mut grant, span), (role, _), (apps, _)) = (name?, role?, apps?);
        if !self.names.insert(grant.name().to_owned()) {
            let message = format!(
                "name is {:?}, which another entry has; expected each to have its own",
                grant.name()
            );
            self.fault(&span, message);
        }
        (grant.role, grant.apps) = (role, apps);
        (grant.expires, grant.from) = (expires?, from?);
        Some(grant)
    }

    fn required<T>(
        &mut self,
        entry: &Entry<'_, '_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<(T, Range<usize>)> {
        let Some(value) = entry.get(key) else {
            self.fault(&entry.span, format!("an entry has no {key}; expected one"));
            return None;
        };
        let read = match value.get_ref() {
            DeValue::String(text) => read(text),
            _ => Err(format!("{}; expected a string", kind(value))),
        };
        match read {
            Ok(read) => Some((read, value.span())),
            Err(problem) => {
                self.fault(&value.span(), format!("{key} is {problem}"));
                None
            }
        }
    }

    /// `None`: it is wrong, which has been told.
    fn expires(&mut self, entry: &Entry<'_, '_>) -> Option<Option<UnixSecs>> {
        let Some(value) = entry.get("expires") else {
            return Some(None);
        };
        let text = match value.get_ref() {
            DeValue::Datetime(time) => time.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => kind(value).to_owned(),
        };
        match text.parse() {
            Ok(expires) => Some(Some(expires)),
            Err(error) => {
                self.fault(&value.span(), format!("expires is {error}"));
                None
            }
        }
    }

    /// `None`: it is wrong, which has been told.
    fn from(&mut self, entry: &Entry<'_, '_>) -> Option<Vec<IpNet>> {
        const EXPECTED: &str = "expected networks, such as [\"10.0.0.0/8\"]";
        let Some(value) = entry.get("from") else {
            return Some(Vec::new());
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.fault(&value.span(), format!("from is {}; {EXPECTED}", kind(value)));
            return None;
        };
        // An empty list reads as nowhere, and would be everywhere.
        if items.is_empty() || items.len() > MAX_NETS {
            let message = format!(
                "from has {} networks; expected 1 to {MAX_NETS}, or no from at all",
                items.len()
            );
            self.fault(&value.span(), message);
            return None;
        }
        let mut nets = Vec::with_capacity(items.len());
        for item in items {
            let net = match item.get_ref() {
                DeValue::String(text) => text.parse::<IpNet>().map_err(|_| format!("{:?}", excerpt(text))),
                _ => Err(kind(item).to_owned()),
            };
            match net {
                Ok(net) => nets.push(net),
                Err(found) => self.fault(&item.span(), format!("an item of from is {found}; {EXPECTED}")),
            }
        }
        (nets.len() == items.len()).then_some(nets)
    }
}

impl<'e, 't> Entry<'e, 't> {
    fn get(&self, key: &str) -> Option<&'e Spanned<DeValue<'t>>> {
        let is = |found: &Spanned<DeString<'t>>| found.get_ref() == key;
        self.keys
            .iter()
            .find_map(|(found, value)| is(found).then_some(value))
    }
}

/// What a certificate is for: a DNS name, a URI, or the beginning of a URI and a star.
fn subject(text: &str) -> Result<String, String> {
    let refused = || {
        Err(format!(
            "{:?}; expected a DNS name, a URI such as \"spiffe://prod/agent\", or a URI's beginning up to a slash and a \
             star such as \"spiffe://prod/*\"",
            excerpt(text)
        ))
    };
    if text.is_empty() || text.len() > MAX_SUBJECT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refused();
    }
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.contains('*') {
        return refused();
    }
    match name.split_once("://") {
        // The host is a part of whom one trusts, so it is never left to the star.
        Some((scheme, rest)) => {
            let host_ends = rest.find('/');
            let whole = !scheme.is_empty() && host_ends.is_none_or(|at| at > 0) && !rest.is_empty();
            let fits = name.len() == text.len() || (host_ends.is_some() && name.ends_with('/'));
            if whole && fits {
                Ok(text.to_owned())
            } else {
                refused()
            }
        }
        None if name.len() == text.len() => Ok(text.to_ascii_lowercase()),
        None => refused(),
    }
}

fn told_is(error: impl fmt::Display) -> String {
    error.to_string()
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The beginning of what somebody wrote, so that no message is a megabyte.
fn excerpt(text: &str) -> &str {
    let end = text.char_indices().nth(64).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
