//! What an app's settings are made of.

use std::fmt;

use edgeproxy_backend::Region;

use crate::suggest::closest;
use crate::types::words;
use crate::value::{FromValue, Mismatch, Value};

words! {
    /// Whether a new backend gets traffic before anything is known of it.
    Initial {
        /// At once.
        Routable = "routable",
        /// After it has passed a first probe.
        ProbeFirst = "probe_first",
    }
}

/// A number that is not negative and has at most three decimals, so that what was written is what is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Decimal(u32);

impl Decimal {
    /// That many thousandths.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// The number times 1,000.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// The number.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) {
            return None;
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > 3 {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let decimals: u32 = format!("{decimals:0<3}").parse().ok()?;
        whole.checked_mul(1_000)?.checked_add(decimals).map(Self)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 1_000, format!("{:03}", self.0 % 1_000));
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

impl FromValue for Decimal {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Decimal(thousandths) => Ok(Self(*thousandths)),
            other => Err(other.unfit()),
        }
    }
}

/// The name of a field of a request, in lower case: a token (RFC 9110 §5.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeaderName(Box<str>);

/// The name of a cookie: a token (RFC 6265 §4.1.1), whose case matters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CookieName(Box<str>);

const LONGEST_NAME: usize = 128;
const TOKEN: &str = "a name is 1 to 128 of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~";

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let permitted = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(permitted)
}

impl HeaderName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Mismatch> {
        if is_token(text) {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Err(Mismatch::text(text).help(TOKEN))
    }
}

/// Empty is none.
impl FromValue for Option<HeaderName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" => Ok(None),
            text => HeaderName::parse(text).map(Some),
        }
    }
}

impl CookieName {
    pub(crate) const EXPECTED: &'static str = "the name of a cookie, such as \"edgeproxy\"";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, Mismatch> {
        if is_token(text) {
            return Ok(Self(text.into()));
        }
        Err(Mismatch::text(text).help(TOKEN))
    }
}

impl FromValue for CookieName {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Self::parse(value.as_text()?)
    }
}

/// What of a request is hashed to pick a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// A field's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(CookieName),
}

impl HashKey {
    pub(crate) const EXPECTED: &'static str =
        "\"client_ip\", \"header:\" and a name, or \"cookie:\" and a name, such as \"header:X-User\"";
}

impl FromValue for HashKey {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        match text.split_once(':') {
            None if text == "client_ip" => Ok(Self::ClientIp),
            Some(("header", name)) => named(text, HeaderName::parse(name)).map(Self::Header),
            Some(("cookie", name)) => named(text, CookieName::parse(name)).map(Self::Cookie),
            _ => Err(unknown(text, &["client_ip", "header:NAME", "cookie:NAME"])),
        }
    }
}

/// By what a client is known again, so that it stays with its backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sticky {
    /// By nothing: each request is picked for anew.
    Off,
    /// Its address.
    ClientIp,
    /// A cookie that the proxy sets.
    Cookie,
    /// A field that it sends.
    Header(HeaderName),
}

impl Sticky {
    pub(crate) const EXPECTED: &'static str =
        "\"off\", \"client_ip\", \"cookie\", or \"header:\" and a name, such as \"header:X-Session\"";
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("\"off\""),
            Self::ClientIp => f.write_str("\"client_ip\""),
            Self::Cookie => f.write_str("\"cookie\""),
            Self::Header(name) => write!(f, "\"header:{}\"", name.as_str()),
        }
    }
}

impl FromValue for Sticky {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        match text.split_once(':') {
            None if text == "off" => Ok(Self::Off),
            None if text == "client_ip" => Ok(Self::ClientIp),
            None if text == "cookie" => Ok(Self::Cookie),
            Some(("header", name)) => named(text, HeaderName::parse(name)).map(Self::Header),
            Some(("cookie", _)) => {
                let help = "write \"cookie\", and its name by sticky_cookie";
                Err(Mismatch::text(text).help(help))
            }
            _ => Err(unknown(text, &["off", "client_ip", "cookie", "header:NAME"])),
        }
    }
}

/// What is told is the whole text, not the half that was looked at.
fn named<T>(text: &str, name: Result<T, Mismatch>) -> Result<T, Mismatch> {
    name.map_err(|mismatch| Mismatch {
        help: mismatch.help,
        ..Mismatch::text(text)
    })
}

/// `words` are those that are accepted, with `:NAME` where a name belongs to it.
fn unknown(text: &str, words: &[&'static str]) -> Mismatch {
    let mismatch = Mismatch::text(text);
    let first = |word: &'static str| word.split(':').next().unwrap_or(word);
    let found = text.split(':').next().unwrap_or_default();
    let near = closest(found, words.iter().map(|word| first(word)));
    match words.iter().find(|word| Some(first(word)) == near) {
        Some(meant) => mismatch.help(format!("did you mean {meant:?}?")),
        None => mismatch,
    }
}

impl FromValue for Vec<Region> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        let mut regions = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let region = Region::parse(item)
                .map_err(|error| Mismatch::text(item).help(error.to_string()).item(index))?;
            if regions.contains(&region) {
                let mismatch = Mismatch::text(item).help("it comes twice: keep the first");
                return Err(mismatch.item(index));
            }
            regions.push(region);
        }
        Ok(regions)
    }
}

#[cfg(test)]
mod tests;
