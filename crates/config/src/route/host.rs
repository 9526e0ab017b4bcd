use std::fmt;

use crate::types::HostName;
use crate::value::{FromValue, Mismatch, Value};

/// The hosts that a route is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// Those with one label before this name: `*.shop.example` is for `www.shop.example`, neither for `shop.example`
    /// nor for `a.www.shop.example`.
    Below(HostName),
    /// This one.
    Exact(HostName),
}

impl FromValue for HostMatch {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let refused = |help: String| Err(Mismatch::text(text).help(help));
        if text == "*" {
            return refused("for every host leave it out".to_owned());
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or_default();
            return refused(format!("only the host: write {host:?}"));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return refused(format!("the port plays no part: write {host:?}"));
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return refused("a * is the whole first label or nothing, such as \"*.shop.example\"".to_owned());
        }
        match HostName::parse(name) {
            Ok(name) if wildcard => Ok(Self::Below(name)),
            Ok(name) => Ok(Self::Exact(name)),
            Err(error) => refused(format!("it {error}")),
        }
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{}", name.as_str()),
            Self::Exact(name) => f.write_str(name.as_str()),
        }
    }
}
