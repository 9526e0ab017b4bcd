//! What is in force, as values that can be shown: the way back from a typed value to what a person would write.

mod tables;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use edgeproxy_backend::{AppName, Region};
use ipnet::IpNet;

use crate::collector::{CollectorUrl, TracesFollow};
use crate::policy::{CookieName, Decimal, HashKey, HeaderName, Initial, Sticky};
use crate::region::RegionTable;
use crate::shared::{LimitsScope, OwnName, StoreKind, UserName};
use crate::status::StatusCodes;
use crate::types::{
    AccessLog, AccessLogFormat, Algorithm, AuditLog, ClientAuth, HealthMonitor, HostName, LastBackend,
    LogFilter, LogFormat, RegisterSource, Spill, Workers,
};

/// A value to be shown. `Display` writes it as the file would have it.
///
/// What is secret never gets this far: it is [`Shown::Secret`], whatever it holds, and so the same for any two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// None.
    Nothing,
    /// `true` or `false`.
    Switch(bool),
    /// A whole number, in the unit of its key.
    Number(u64),
    /// A number with at most three decimals.
    Decimal(Decimal),
    /// A text.
    Text(String),
    /// There is one, and it is not for everybody's eyes.
    Secret,
    /// A list.
    List(Vec<Shown>),
    /// Names with values, in an order that means nothing.
    Table(Vec<(String, Shown)>),
}

/// What can be shown.
pub(crate) trait Show {
    fn show(&self) -> Shown;
}

impl Shown {
    pub(crate) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    /// A table without those entries that hold nothing.
    pub(crate) fn table<'k>(entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let there = entries.into_iter().filter(|(_, value)| *value != Self::Nothing);
        Self::Table(there.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The same, if it may be seen.
    pub(crate) fn masked(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            _ => Self::Secret,
        }
    }

    /// The same without the passwords of URLs in it.
    pub(crate) fn without_passwords(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(without_password(text)),
            Self::List(items) => Self::List(items.into_iter().map(Self::without_passwords).collect()),
            other => other,
        }
    }
}

/// RFC 3986 §3.2.1: what stands behind the first colon of the user information is a password.
fn without_password(text: String) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user_info, _) = authority.rsplit_once('@')?;
        let (user, _) = user_info.split_once(':')?;
        Some(format!("{scheme}://{user}:***{}", &rest[user_info.len()..]))
    };
    hidden().unwrap_or(text)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Decimal(decimal) => write!(f, "{decimal}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Secret => f.write_str("***"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Table(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key} = {value}", if index == 0 { " " } else { ", " })?;
                }
                f.write_str(if entries.is_empty() { "}" } else { " }" })
            }
        }
    }
}

macro_rules! by_text {
    ($($name:ty),+ $(,)?) => { $(
        impl Show for $name {
            fn show(&self) -> Shown {
                Shown::text(self)
            }
        }
    )+ };
}

by_text!(
    AccessLog,
    AccessLogFormat,
    Algorithm,
    AppName,
    AuditLog,
    ClientAuth,
    HealthMonitor,
    Initial,
    IpNet,
    LastBackend,
    LimitsScope,
    LogFilter,
    LogFormat,
    StoreKind,
    Region,
    RegisterSource,
    SocketAddr,
    Spill,
    TracesFollow
);

macro_rules! by_str {
    ($($name:ty),+ $(,)?) => { $(
        impl Show for $name {
            fn show(&self) -> Shown {
                Shown::text(self.as_str())
            }
        }
    )+ };
}

by_str!(CollectorUrl, CookieName, HeaderName, HostName, OwnName, UserName);

/// An option that is nothing where there is none.
macro_rules! perhaps {
    ($($name:ty),+ $(,)?) => { $(
        impl Show for Option<$name> {
            fn show(&self) -> Shown {
                self.as_ref().map_or(Shown::Nothing, Show::show)
            }
        }
    )+ };
}

perhaps!(
    AppName,
    CollectorUrl,
    PathBuf,
    HostName,
    HeaderName,
    OwnName,
    UserName
);

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> Shown {
        Shown::List(self.iter().map(Show::show).collect())
    }
}

impl Show for bool {
    fn show(&self) -> Shown {
        Shown::Switch(*self)
    }
}

impl Show for u32 {
    fn show(&self) -> Shown {
        Shown::Number(u64::from(*self))
    }
}

impl Show for usize {
    fn show(&self) -> Shown {
        Shown::Number(u64::try_from(*self).unwrap_or(u64::MAX))
    }
}

/// In seconds: no setting has a finer unit.
impl Show for Duration {
    fn show(&self) -> Shown {
        Shown::Number(self.as_secs())
    }
}

/// Without a number there is no limit.
impl Show for Option<u64> {
    fn show(&self) -> Shown {
        self.map_or_else(|| Shown::text("unlimited"), Shown::Number)
    }
}

impl Show for Option<SocketAddr> {
    fn show(&self) -> Shown {
        self.as_ref().map_or_else(|| Shown::text("off"), Show::show)
    }
}

impl Show for PathBuf {
    fn show(&self) -> Shown {
        Shown::text(self.display())
    }
}

impl Show for Decimal {
    fn show(&self) -> Shown {
        Shown::Decimal(*self)
    }
}

impl Show for Workers {
    fn show(&self) -> Shown {
        match self {
            Self::Auto => Shown::text("auto"),
            Self::Fixed(count) => Shown::Number(u64::from(count.get())),
        }
    }
}

impl Show for StatusCodes {
    fn show(&self) -> Shown {
        let ranges = self.ranges().iter().map(|range| {
            if range.start() == range.end() {
                Shown::Number(u64::from(*range.start()))
            } else {
                Shown::Text(format!("{}-{}", range.start(), range.end()))
            }
        });
        Shown::List(ranges.collect())
    }
}

impl Show for RegionTable {
    fn show(&self) -> Shown {
        let countries = self.iter().map(|(region, country)| {
            let country = Shown::text(country);
            (region.to_string(), country)
        });
        Shown::Table(countries.collect())
    }
}

impl Show for HashKey {
    fn show(&self) -> Shown {
        match self {
            Self::ClientIp => Shown::text("client_ip"),
            Self::Header(name) => Shown::Text(format!("header:{}", name.as_str())),
            Self::Cookie(name) => Shown::Text(format!("cookie:{}", name.as_str())),
        }
    }
}

impl Show for Sticky {
    fn show(&self) -> Shown {
        match self {
            Self::Off => Shown::text("off"),
            Self::ClientIp => Shown::text("client_ip"),
            Self::Cookie => Shown::text("cookie"),
            Self::Header(name) => Shown::Text(format!("header:{}", name.as_str())),
        }
    }
}

#[cfg(test)]
mod tests;
