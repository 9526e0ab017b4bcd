use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method};

use super::error::{Problem, SettingError, duration, excerpt};
use super::{Encryption, TIMEOUT_MAX, TIMEOUT_MIN, port};
use crate::StatusCodes;

/// A name and a value, as they are sent.
pub type Header = (HeaderName, HeaderValue);

/// Which HTTP a probe speaks in the clear. Inside TLS the handshake decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3), as an `h2c` backend does.
    Http2,
}

/// An HTTP request, and what its response must be. `GET /`, answered with 200 within 30 s, unless set
/// otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpProbe {
    method: Method,
    path: PathAndQuery,
    headers: Vec<Header>,
    body: Bytes,
    connect_timeout: Duration,
    read_timeout: Duration,
    port: Option<NonZeroU16>,
    success_codes: StatusCodes,
    success_headers: Vec<Header>,
    id_header: bool,
    encryption: Encryption,
    version: Version,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            method: Method::GET,
            path: PathAndQuery::from_static("/"),
            headers: Vec::new(),
            body: Bytes::new(),
            connect_timeout: Self::DEFAULT_TIMEOUT,
            read_timeout: Self::DEFAULT_TIMEOUT,
            port: None,
            success_codes: StatusCodes::OK,
            success_headers: Vec::new(),
            id_header: false,
            encryption: Encryption::Clear,
            version: Version::Http1,
        }
    }
}

impl HttpProbe {
    /// The default of both time-outs.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
    /// The longest path, its query included, in bytes.
    pub const MAX_PATH: usize = 8 * 1024;
    /// The most header fields, of the request as of the response.
    pub const MAX_HEADERS: usize = 32;
    /// The most bytes that their names and values take.
    pub const MAX_HEADER_BYTES: usize = 8 * 1024;
    /// The longest body, in bytes.
    pub const MAX_BODY: usize = 64 * 1024;
    /// The header that tells one probe from another, where [`HttpProbe::with_id_header`] asks for it.
    pub const ID_HEADER: HeaderName = HeaderName::from_static("x-edgeproxy-health-check-id");

    /// `GET` of this path, which may have a query.
    ///
    /// # Errors
    /// When `path` does not begin with `/`, is longer than [`Self::MAX_PATH`], or holds anything but
    /// visible ASCII, or a `#`.
    pub fn get(path: &str) -> Result<Self, SettingError> {
        Ok(Self {
            path: parse_path(path)?,
            ..Self::default()
        })
    }

    /// Asks with this method.
    ///
    /// # Errors
    /// When `method` is no token, or `CONNECT`.
    pub fn with_method(self, method: &str) -> Result<Self, SettingError> {
        const FIELD: &str = "http.method";
        let method = Method::from_bytes(method.as_bytes())
            .ok()
            .filter(|_| method.len() <= 32)
            .ok_or_else(|| {
                Problem::Method {
                    found: excerpt(method),
                }
                .of(FIELD)
            })?;
        if method == Method::CONNECT {
            return Err(Problem::Connect.of(FIELD));
        }
        Ok(Self { method, ..self })
    }

    /// Adds a header field to the request. `Host` and `User-Agent` replace the probe's own.
    ///
    /// # Errors
    /// When the name or the value is none, the field frames the message (`Content-Length`,
    /// `Connection` …), `Host` comes twice or names nobody, or the fields pass [`Self::MAX_HEADERS`] or
    /// [`Self::MAX_HEADER_BYTES`].
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, SettingError> {
        const FIELD: &str = "http.headers";
        let (name, value) = parse_header(FIELD, name, value)?;
        if FRAMING.contains(&name) || name == Self::ID_HEADER {
            return Err(Problem::Framing {
                name: name.to_string(),
            }
            .of(FIELD));
        }
        if name == header::HOST {
            if self.host().is_some() {
                return Err(Problem::HostTwice.of(FIELD));
            }
            // In HTTP/2 it isn't a field but a part of the target.
            if Authority::try_from(value.as_bytes()).is_err() {
                let found = excerpt(String::from_utf8_lossy(value.as_bytes()));
                return Err(Problem::Host { found }.of(FIELD));
            }
        }
        push_header(FIELD, &mut self.headers, (name, value))?;
        Ok(self)
    }

    /// Sends this body, with its `Content-Length`.
    ///
    /// # Errors
    /// When it is longer than [`Self::MAX_BODY`].
    pub fn with_body(self, body: impl Into<Bytes>) -> Result<Self, SettingError> {
        let body = body.into();
        if body.len() > Self::MAX_BODY {
            return Err(Problem::TooLarge {
                found: body.len(),
                max: Self::MAX_BODY,
            }
            .of("http.body"));
        }
        Ok(Self { body, ..self })
    }

    /// Fails a probe that has no connection after this long.
    ///
    /// # Errors
    /// When it is not between 1 ms and 5 min.
    pub fn with_connect_timeout(self, timeout: Duration) -> Result<Self, SettingError> {
        let connect_timeout = duration("http.connect_timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Ok(Self {
            connect_timeout,
            ..self
        })
    }

    /// Fails a probe that has a connection, but after this long not the whole head of a response.
    ///
    /// A time-out for each read, as Apigee's is, would let a backend hold a probe for hours by sending a
    /// byte now and then.
    ///
    /// # Errors
    /// When it is not between 1 ms and 5 min.
    pub fn with_read_timeout(self, timeout: Duration) -> Result<Self, SettingError> {
        let read_timeout = duration("http.read_timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Ok(Self { read_timeout, ..self })
    }

    /// Connects to this port in place of the backend's.
    ///
    /// # Errors
    /// When it is 0.
    pub fn with_port(self, number: u16) -> Result<Self, SettingError> {
        Ok(Self {
            port: Some(port("http.port", number)?),
            ..self
        })
    }

    /// Passes with these status codes.
    #[must_use]
    pub fn with_success_codes(self, success_codes: StatusCodes) -> Self {
        Self {
            success_codes,
            ..self
        }
    }

    /// Passes only if the response has this field with exactly this value. Every one that is added must
    /// be there.
    ///
    /// # Errors
    /// When the name or the value is none, or the fields pass [`Self::MAX_HEADERS`] or
    /// [`Self::MAX_HEADER_BYTES`].
    pub fn with_success_header(mut self, name: &str, value: &str) -> Result<Self, SettingError> {
        const FIELD: &str = "http.success_headers";
        let header = parse_header(FIELD, name, value)?;
        push_header(FIELD, &mut self.success_headers, header)?;
        Ok(self)
    }

    /// Sends [`Self::ID_HEADER`] with a value that no other probe has, so that a backend's log tells
    /// probes from traffic and from each other.
    #[must_use]
    pub fn with_id_header(self) -> Self {
        Self {
            id_header: true,
            ..self
        }
    }

    /// Speaks TLS, or doesn't. The handshake is part of connecting. Whose name a certificate has to be for is
    /// that of the `Host` that is sent, if there is one, or else the backend's address.
    #[must_use]
    pub fn with_encryption(self, encryption: Encryption) -> Self {
        Self { encryption, ..self }
    }

    /// Speaks this version of HTTP in the clear. Inside TLS it offers both, and speaks what the backend chooses.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The request's path and query.
    #[must_use]
    pub const fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// The request's own header fields, in the order in which they were added.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The request's body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// How long a connection may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long the response's head may take, once connected.
    #[must_use]
    pub const fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// The port to connect to; `None` is the backend's.
    #[must_use]
    pub const fn port(&self) -> Option<NonZeroU16> {
        self.port
    }

    /// The status codes that pass.
    #[must_use]
    pub const fn success_codes(&self) -> &StatusCodes {
        &self.success_codes
    }

    /// The fields that the response must have.
    #[must_use]
    pub fn success_headers(&self) -> &[Header] {
        &self.success_headers
    }

    /// Whether the request carries [`Self::ID_HEADER`].
    #[must_use]
    pub const fn sends_id_header(&self) -> bool {
        self.id_header
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }

    /// Which HTTP it speaks in the clear.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The `Host` that is sent, if it isn't the backend's address.
    #[must_use]
    pub fn host(&self) -> Option<&HeaderValue> {
        let host = self.headers.iter().find(|(name, _)| name == header::HOST);
        host.map(|(_, value)| value)
    }

    /// The first field that a response with these fields lacks.
    #[must_use]
    pub fn missing_header(&self, response: &HeaderMap) -> Option<&Header> {
        let has = |(name, value): &Header| response.get_all(name).iter().any(|found| found == value);
        self.success_headers.iter().find(|header| !has(header))
    }
}

/// Fields that decide where the message or the connection ends.
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn parse_path(path: &str) -> Result<PathAndQuery, SettingError> {
    const FIELD: &str = "http.path";
    let not_a_path = || Problem::NotAPath { found: excerpt(path) }.of(FIELD);
    if !path.starts_with('/') {
        return Err(not_a_path());
    }
    if path.len() > HttpProbe::MAX_PATH {
        return Err(Problem::TooLarge {
            found: path.len(),
            max: HttpProbe::MAX_PATH,
        }
        .of(FIELD));
    }
    // `PathAndQuery` drops a fragment in silence and takes bytes beyond ASCII.
    let forbidden = |c: &char| !c.is_ascii_graphic() || *c == '#';
    if let Some((at, found)) = path.chars().enumerate().find(|(_, c)| forbidden(c)) {
        return Err(Problem::PathCharacter { found, at: at + 1 }.of(FIELD));
    }
    PathAndQuery::try_from(path).map_err(|_| not_a_path())
}

fn parse_header(field: &'static str, name: &str, value: &str) -> Result<Header, SettingError> {
    let name =
        HeaderName::try_from(name).map_err(|_| Problem::HeaderName { found: excerpt(name) }.of(field))?;
    // White space around a value is no part of it (RFC 9110 §5.5): with it, no response would ever match.
    let mut value = HeaderValue::from_str(value.trim_matches([' ', '\t'])).map_err(|_| {
        Problem::HeaderValue {
            name: name.to_string(),
        }
        .of(field)
    })?;
    value.set_sensitive(SECRET.contains(&name));
    Ok((name, value))
}

/// Fields whose values `Debug` must not show.
const SECRET: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

fn push_header(field: &'static str, headers: &mut Vec<Header>, header: Header) -> Result<(), SettingError> {
    if headers.len() == HttpProbe::MAX_HEADERS {
        return Err(Problem::TooManyFields {
            max: HttpProbe::MAX_HEADERS,
        }
        .of(field));
    }
    let size = |(name, value): &Header| name.as_str().len() + value.len();
    let found = headers.iter().map(size).sum::<usize>() + size(&header);
    if found > HttpProbe::MAX_HEADER_BYTES {
        return Err(Problem::TooLarge {
            found,
            max: HttpProbe::MAX_HEADER_BYTES,
        }
        .of(field));
    }
    headers.push(header);
    Ok(())
}
