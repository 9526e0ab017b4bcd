use std::fmt;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::StatusCodes;

/// How a probe ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did what its monitor asks for.
    Passed {
        /// From its beginning to the end of its connection, which is waited for up to a second after the verdict.
        took: Duration,
    },
    /// It didn't.
    Failed {
        /// Why; `Display` says it in words.
        reason: Failure,
        /// From its beginning to the end of its connection, which is waited for up to a second after the verdict.
        took: Duration,
    },
}

impl Outcome {
    /// Whether it passed.
    #[must_use]
    pub const fn passed(&self) -> bool {
        matches!(self, Self::Passed { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed { took } => write!(f, "passed in {took:.1?}"),
            Self::Failed { reason, took } => write!(f, "failed in {took:.1?}: {reason}"),
        }
    }
}

/// Why a probe failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("connect: {what}")]
    Connect {
        /// What the system said, such as `connection refused`.
        what: String,
    },
    /// No connection in time.
    #[error("connect: no connection within {limit:?}")]
    ConnectTimeout {
        /// The time-out.
        limit: Duration,
    },
    /// The probe was connected to itself: a local port that nobody listens on was also the one that the
    /// connection was given to start from.
    #[error("connect: nobody listens there, the connection met itself")]
    SelfConnect,
    /// A TLS handshake that failed.
    #[error("tls: {what}")]
    Tls {
        /// Why, such as `invalid peer certificate: UnknownIssuer`.
        what: String,
    },
    /// No whole response head, or of a gRPC call no whole answer, in time.
    #[error("response: not complete within {limit:?}")]
    ReadTimeout {
        /// The time-out.
        limit: Duration,
    },
    /// A head beyond what is read.
    #[error("response: the head is larger than {} KiB or {} fields", max_bytes / 1024, max_fields)]
    HeadTooLarge {
        /// Bytes allowed.
        max_bytes: usize,
        /// Fields allowed.
        max_fields: usize,
    },
    /// A connection that broke, or something that isn't HTTP of the version that was asked in.
    #[error("response: {what}")]
    Exchange {
        /// What happened.
        what: String,
    },
    /// A status code that doesn't pass.
    #[error("response: status {}, expected {expected}", found.as_u16())]
    Status {
        /// The code found.
        found: StatusCode,
        /// The codes that pass.
        expected: StatusCodes,
    },
    /// Something that isn't an answer to a call of gRPC.
    #[error("grpc: {what}")]
    NotGrpc {
        /// What is there instead.
        what: String,
    },
    /// A call of gRPC that failed.
    #[error("grpc: the call failed with status {code}{message}")]
    Call {
        /// The status, by its name where it has one.
        code: String,
        /// What the backend says of it, with a colon before it; shortened.
        message: String,
    },
    /// A service that says that it isn't serving.
    #[error("grpc: the service says {found}, expected SERVING")]
    NotServing {
        /// What it says, such as `NOT_SERVING`.
        found: String,
    },
    /// A header that isn't there.
    #[error("response: no header {name}, expected {expected:?}")]
    HeaderMissing {
        /// Its name.
        name: HeaderName,
        /// The value that passes.
        expected: String,
    },
    /// A header with another value.
    #[error("response: header {name} is {found:?}, expected {expected:?}")]
    HeaderValue {
        /// Its name.
        name: HeaderName,
        /// The first value found, shortened.
        found: String,
        /// The value that passes.
        expected: String,
    },
}
