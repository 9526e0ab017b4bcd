use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;

use edgeproxy_backend::{AppName, NameError};

use crate::value::{FromValue, Mismatch, Value};

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $( $(#[doc = $vdoc])+ $variant, )+ }

        impl $name {
            pub(crate) const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                match value.as_text()? {
                    $( $word => Ok(Self::$variant), )+
                    other => Err(Mismatch::text(other)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How a backend is picked.
    Algorithm {
        /// The nearest region that has room, and the least loaded backend in it.
        RegionAffinity = "region_affinity",
        /// Each in turn.
        RoundRobin = "round_robin",
        /// In proportion to weight.
        Weighted = "weighted",
        /// The one with the fewest requests under way for its weight.
        LeastConnections = "least_connections",
        /// Of two by chance the one that is expected to answer sooner.
        Ewma = "ewma",
        /// By the client's address, or a header or cookie: always the same one.
        Hash = "hash",
    }
}

words! {
    /// When traffic leaves the nearest region.
    Spill {
        /// Once all of its backends are at their hard limit.
        Hard = "hard",
        /// Once all of them are at their soft limit, while another region is below its own.
        Soft = "soft",
    }
}

words! {
    /// What happens when failures would eject the last routable backend of an app.
    LastBackend {
        /// It stays.
        Keep = "keep",
        /// It goes.
        Eject = "eject",
    }
}

words! {
    /// What a log line looks like.
    LogFormat {
        /// A line for people.
        Text = "text",
        /// A JSON object for machines.
        Json = "json",
    }
}

words! {
    /// A version of the PROXY protocol.
    ProxyVersion {
        /// A line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

words! {
    /// A version of TLS.
    TlsVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

words! {
    /// Whether clients show certificates.
    ClientAuth {
        /// They are not asked.
        Off = "off",
        /// They may.
        Optional = "optional",
        /// They have to.
        Required = "required",
    }
}

words! {
    /// Which address a backend may register.
    RegisterSource {
        /// Any that is permitted otherwise.
        Any = "any",
        /// The one that its registration comes from.
        SameAddress = "same_address",
    }
}

/// Where changes by the API are written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditLog {
    /// Nowhere.
    Off,
    /// To standard error, between the lines of the log.
    Stderr,
    /// To a file.
    File(PathBuf),
}

impl FromValue for AuditLog {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" | "off" => Ok(Self::Off),
            "stderr" => Ok(Self::Stderr),
            text => file_of_a_log(text).map(Self::File),
        }
    }
}

impl fmt::Display for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

words! {
    /// How a line of the access log looks.
    AccessLogFormat {
        /// An object of JSON.
        Json = "json",
        /// Words, for people.
        Text = "text",
    }
}

/// Where requests are written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file.
    File(PathBuf),
}

impl FromValue for AccessLog {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" | "off" => Ok(Self::Off),
            "-" => Ok(Self::Stdout),
            text => file_of_a_log(text).map(Self::File),
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stdout => f.write_str("-"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A word alone is a misspelt one rather than a file in whatever folder this is.
fn file_of_a_log(text: &str) -> Result<PathBuf, Mismatch> {
    if text.contains(['/', '.']) && !text.ends_with('/') {
        Ok(text.into())
    } else {
        Err(Mismatch::text(text).help("a file in the working directory is written \"./NAME\""))
    }
}

/// How backends are probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealthMonitor {
    /// Not at all.
    Off,
    /// By opening a TCP connection.
    Tcp,
    /// By a GET of this path, which must answer 200.
    Http {
        /// The path, and the query if there is one: begins with `/`, printable ASCII.
        path: String,
    },
}

impl HealthMonitor {
    const LONGEST_PATH: usize = 2_048;

    /// The path of a probe, and the query if there is one.
    pub(crate) fn path(path: &str) -> Result<String, Mismatch> {
        if path.starts_with("//") || path.contains("://") {
            let help = "only a path: the probe goes to each backend's own address";
            return Err(Mismatch::text(path).help(help));
        }
        let permitted = |b: u8| b.is_ascii_graphic() && b != b'#';
        if !path.starts_with('/') || path.len() > Self::LONGEST_PATH || !path.bytes().all(permitted) {
            return Err(Mismatch::text(path).help("a path begins with / and holds neither spaces nor #"));
        }
        Ok(path.to_owned())
    }
}

impl FromValue for HealthMonitor {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let path = match text {
            "off" => return Ok(Self::Off),
            "tcp" => return Ok(Self::Tcp),
            "http" => return Err(Mismatch::text(text).help("the path is missing: write \"http:/\"")),
            path if path.starts_with('/') => {
                return Err(Mismatch::text(text).help(format!("write \"http:{path}\"")));
            }
            other => other.strip_prefix("http:").ok_or_else(|| Mismatch::text(other))?,
        };
        let path = Self::path(path).map_err(|mismatch| Mismatch {
            help: mismatch.help,
            ..Mismatch::text(text)
        })?;
        Ok(Self::Http { path })
    }
}

impl fmt::Display for HealthMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp => f.write_str("tcp"),
            Self::Http { path } => write!(f, "http:{path}"),
        }
    }
}

/// The name of a host, a DNS name in lower case, without a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostName(AppName);

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The most names in a list.
    pub const MAX_LISTED: usize = 256;

    /// An app's name obeys the same rules (RFC 1123 §2.1).
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        AppName::parse(text).map(Self)
    }
}

/// Empty is none.
impl FromValue for Option<HostName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" => Ok(None),
            text => match AppName::parse(text) {
                Ok(name) => Ok(Some(HostName(name))),
                Err(error) => Err(Mismatch::text(text).help(error.to_string())),
            },
        }
    }
}

impl FromValue for Vec<HostName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        if items.len() > HostName::MAX_LISTED {
            return Err(Mismatch::new(format!("{} names", items.len()))
                .help(format!("at most {} can be listed", HostName::MAX_LISTED)));
        }
        let name = |(index, item): (usize, &String)| {
            // An app's name obeys the same rules (RFC 1123 §2.1).
            let name = AppName::parse(item)
                .map_err(|error| Mismatch::text(item).help(error.to_string()).item(index));
            name.map(HostName)
        };
        items.iter().enumerate().map(name).collect()
    }
}

/// How many threads forward traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    /// One for each core that the process may use.
    Auto,
    /// That many, at most 1,024.
    Fixed(NonZeroU16),
}

impl Workers {
    /// The number, from 1 to 1,024.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1_024)),
            Self::Fixed(count) => usize::from(count.get()),
        }
    }
}

impl FromValue for Workers {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Number(number) => u16::try_from(*number)
                .ok()
                .and_then(NonZeroU16::new)
                .map(Self::Fixed)
                .ok_or_else(|| value.unfit()),
            _ => value.as_text().map(|_| Self::Auto),
        }
    }
}

/// Which log lines are written: a level for all, levels by module, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(Box<str>);

impl LogFilter {
    const LEVELS: [&'static str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const LONGEST: usize = 1_024;

    /// The filter in the notation of `tracing-subscriber`'s `Targets`: `info,edgeproxy_proxy=debug`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromValue for LogFilter {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let lower = text.to_ascii_lowercase();
        if text.len() > Self::LONGEST {
            return Err(Mismatch::text(text).help("at most 1024 characters"));
        }
        for directive in lower.split(',') {
            let (module, level) = directive.split_once('=').unwrap_or(("_", directive));
            let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
            if module.is_empty() || !module.chars().all(permitted) || !Self::LEVELS.contains(&level) {
                let mismatch = Mismatch::text(text);
                return Err(match crate::suggest::closest(level, Self::LEVELS) {
                    Some(meant) if meant != level => mismatch.help(format!("did you mean {meant:?}?")),
                    _ => mismatch,
                });
            }
        }
        Ok(Self(lower.into()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn a_health_monitor_is_off_tcp_or_a_path() {
        assert_eq!(HealthMonitor::from_value(&text("tcp")), Ok(HealthMonitor::Tcp));
        let http = HealthMonitor::from_value(&text("http:/healthz?full=1")).unwrap();
        assert_eq!(http.to_string(), "http:/healthz?full=1");
        for (bad, help) in [
            ("http", "the path is missing: write \"http:/\""),
            ("/up", "write \"http:/up\""),
            (
                "http://backend/up",
                "only a path: the probe goes to each backend's own address",
            ),
            ("http:up", "a path begins with / and holds neither spaces nor #"),
            ("http:/a b", "a path begins with / and holds neither spaces nor #"),
        ] {
            let mismatch = HealthMonitor::from_value(&text(bad)).unwrap_err();
            assert_eq!(mismatch.help.as_deref(), Some(help), "{bad}");
        }
    }

    #[test]
    fn an_audit_log_is_off_stderr_or_a_file() {
        let of = |word: &str| AuditLog::from_value(&text(word));
        assert_eq!(of("off"), Ok(AuditLog::Off));
        assert_eq!(of("stderr"), Ok(AuditLog::Stderr));
        assert_eq!(of("./audit"), Ok(AuditLog::File("./audit".into())));
        for bad in ["on", "stdout", "audit", "/var/log/"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_access_log_is_off_standard_output_or_a_file() {
        let of = |word: &str| AccessLog::from_value(&text(word));
        assert_eq!(of("off"), Ok(AccessLog::Off));
        assert_eq!(of("-"), Ok(AccessLog::Stdout));
        assert_eq!(of("./access"), Ok(AccessLog::File("./access".into())));
        for bad in ["on", "stdout", "access", "/var/log/"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_filter_is_a_level_or_levels_by_module() {
        for good in ["info", "WARN", "info,edgeproxy_proxy=debug", "a::b=off"] {
            assert!(LogFilter::from_value(&text(good)).is_ok(), "{good}");
        }
        for bad in ["", "loud", "=info", "a b=info", "info,", "info,x=", "a=b=info"] {
            assert!(LogFilter::from_value(&text(bad)).is_err(), "{bad}");
        }
        let mismatch = LogFilter::from_value(&text("wran")).unwrap_err();
        assert_eq!(mismatch.help.as_deref(), Some("did you mean \"warn\"?"));
    }

    #[test]
    fn a_host_name_is_a_dns_name_without_a_port() {
        let list = |names: &[&str]| Value::List(names.iter().map(|name| (*name).to_owned()).collect());
        let names = Vec::<HostName>::from_value(&list(&["edgeproxy", "LB.Example"])).unwrap();
        assert_eq!(
            names.iter().map(HostName::as_str).collect::<Vec<_>>(),
            ["edgeproxy", "lb.example"]
        );
        for bad in ["lb:8081", "", "http://lb", "l b"] {
            assert!(Vec::<HostName>::from_value(&list(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers_are_as_many_as_written_or_as_there_are_cores() {
        assert_eq!(Workers::from_value(&Value::Number(7)).unwrap().count(), 7);
        assert!((1..=1_024).contains(&Workers::Auto.count()));
        assert!(Workers::from_value(&Value::Number(0)).is_err());
    }
}
