use std::fmt;
use std::time::Duration;

/// A setting of a monitor that can't be. `Display` names the field as the configuration does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SettingError {
    /// The field, such as `http.read_timeout`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// Too short or too long.
    #[error("is {found:?}; allowed is {min:?} to {max:?}")]
    Duration {
        /// The duration found.
        found: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Port 0.
    #[error("is 0; a port is between 1 and 65535")]
    Port,
    /// No method of HTTP.
    #[error("is {found:?}, which is no HTTP method; write GET, HEAD, OPTIONS, POST or PUT")]
    Method {
        /// The text found, shortened.
        found: String,
    },
    /// `CONNECT` has no path and opens a tunnel.
    #[error("is CONNECT, which opens a tunnel; write GET, HEAD, OPTIONS, POST or PUT")]
    Connect,
    /// A path that isn't in origin form (RFC 9112 §3.2.1).
    #[error(
        "is {found:?}, which does not begin with '/'; write it as in a request line, such as \"/health\""
    )]
    NotAPath {
        /// The text found, shortened.
        found: String,
    },
    /// A character that a request line can't hold.
    #[error("has the character {found:?} at position {at}; write it as %XX, or leave it out")]
    PathCharacter {
        /// The character found.
        found: char,
        /// Its position, from 1, in characters.
        at: usize,
    },
    /// Too many bytes.
    #[error("takes {found} bytes; at most {max} are allowed")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Too many header fields.
    #[error("has more than {max} fields; remove some")]
    TooManyFields {
        /// Fields allowed.
        max: usize,
    },
    /// No name of a header field.
    #[error("has {found:?}, which is no header name; write letters, digits and hyphens, such as \"X-Probe\"")]
    HeaderName {
        /// The text found, shortened.
        found: String,
    },
    /// A value that a header field can't hold.
    #[error("has a value for {name} with a control character; remove it")]
    HeaderValue {
        /// The header's name.
        name: String,
    },
    /// A field that frames the message, which is the probe's own business.
    #[error("has {name}, which the probe sets itself; remove it")]
    Framing {
        /// The header's name.
        name: String,
    },
    /// A `Host` that names nobody.
    #[error("has host {found:?}; write a name or an address, and a port if need be, such as shop.example")]
    Host {
        /// The text found, shortened.
        found: String,
    },
    /// A second `Host`.
    #[error("has host twice; keep one")]
    HostTwice,
    /// No name of a gRPC service.
    #[error("is {found:?}, which is no name of a service; write at most {max} of A-Z a-z 0-9 . _")]
    Service {
        /// The text found, shortened.
        found: String,
        /// Bytes allowed.
        max: usize,
    },
    /// No status code, or none that can end an exchange.
    #[error("has {found:?}; a code is between 200 and 599, a range is such as 200-299")]
    StatusCode {
        /// The text found, shortened.
        found: String,
    },
    /// No status code at all.
    #[error("is empty, so that no probe could pass; write 200, or codes and ranges such as 200-299,404")]
    NoStatusCode,
}

impl Problem {
    pub(super) const fn of(self, field: &'static str) -> SettingError {
        SettingError { field, problem: self }
    }
}

/// An error message must not repeat a megabyte.
pub(crate) fn excerpt(text: impl fmt::Display) -> String {
    text.to_string().chars().take(64).collect()
}

/// Checks that `found` is between `min` and `max`.
pub(super) fn duration(
    field: &'static str,
    found: Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration, SettingError> {
    if found < min || found > max {
        return Err(Problem::Duration { found, min, max }.of(field));
    }
    Ok(found)
}
