//! What is told of single requests, as spans: one of the request, and one below it of each attempt on a backend.
//!
//! Whether a request is told of is decided when its head has come, since its backends are told so in `traceparent`
//! (W3C Trace Context). What is noted of it is handed on when it has ended, a worker's together with others: see
//! [`access_log`](crate::telemetry::access_log), which has the same memory noted and hands its lines on in the same way.

mod noted;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::{AppName, BackendAddr, BackendId, Protocol, Region};

use crate::headers::trace::Parent;
pub(crate) use noted::Noted;

/// Where spans go.
pub trait SpanSink: Send + Sync + 'static {
    /// Takes what has become of requests, or counts it as lost. It is called from a worker in the middle of a request, so
    /// it must neither block nor wait.
    fn take(&self, requests: Vec<RequestSpan>);
}

/// Which requests are told of, and to whom.
#[derive(Clone)]
pub struct Tracing {
    /// Where the spans go.
    pub sink: Arc<dyn SpanSink>,
    /// How many of a million requests are told of whose client does not decide that: 0 to 1,000,000.
    pub sample_per_million: u32,
    /// Whose clients decide it themselves, by the flag of their `traceparent`.
    pub follow: Follow,
}

/// Whose `traceparent` says whether a request is told of. Its trace is gone on with in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Follow {
    /// Nobody's.
    Nobody,
    /// That of [`trusted_proxies`](crate::Config::trusted_proxies): what anybody says would let anybody have everything
    /// told of.
    #[default]
    Trusted,
    /// Everybody's.
    Everybody,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("sample_per_million", &self.sample_per_million)
            .field("follow", &self.follow)
            .finish_non_exhaustive()
    }
}

/// One request, from its head to the end of its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestSpan {
    /// The trace that it is a part of; never 0.
    pub trace: u128,
    /// The span's own id; never 0.
    pub id: u64,
    /// The span of the client's that it is below.
    pub parent: Option<u64>,
    /// When the request's head had come.
    pub began: SystemTime,
    /// From then to the end of its answer.
    pub took: Duration,
    /// The peer, or whom a trusted proxy names.
    pub client: IpAddr,
    /// Such as `HTTP/1.1`.
    pub protocol: &'static str,
    /// Whether it came by TLS.
    pub tls: bool,
    /// As the client sent it, at most 32 bytes; behind what is cut stands `…`.
    pub method: Box<str>,
    /// As the client sent it, at most 255 bytes.
    pub host: Box<str>,
    /// As the client sent it, at most 1,024 bytes, without its query.
    pub path: Box<str>,
    /// The app that it was for, if it was for any.
    pub app: Option<AppName>,
    /// What the client was told; `None`: it left before.
    pub status: Option<u16>,
    /// What went wrong, in the access log's words.
    pub failure: Option<&'static str>,
    /// Bytes of the answer that the client took.
    pub bytes: u64,
    /// Whom it was tried on, in order.
    pub attempts: Vec<AttemptSpan>,
}

/// One attempt of a request on one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptSpan {
    /// The span's own id, which the backend was told as its parent; never 0.
    pub id: u64,
    /// From the request's beginning to the attempt's.
    pub after: Duration,
    /// From the attempt's beginning to the end of the response, or until it had failed.
    pub took: Duration,
    /// How long of that a connection took to be made; `None`: there was one.
    pub connect: Option<Duration>,
    /// Whom.
    pub backend: BackendId,
    /// Where that is.
    pub addr: BackendAddr,
    /// In which region that is.
    pub region: Region,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it answered.
    pub status: Option<u16>,
    /// How it failed, in the words of [`FAILURES`](crate::FAILURES), or how the request ended meanwhile, in the access
    /// log's.
    pub failure: Option<&'static str>,
}

/// Which requests of a connection are told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    per_million: u32,
    follows: bool,
}

impl Tracing {
    /// For the requests of a client that is believed, or is not.
    pub(crate) fn sampling(&self, trusted: bool) -> Sampling {
        Sampling {
            per_million: self.sample_per_million,
            follows: match self.follow {
                Follow::Nobody => false,
                Follow::Trusted => trusted,
                Follow::Everybody => true,
            },
        }
    }
}

/// A request that is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traced {
    pub(crate) trace: u128,
    pub(crate) parent: Option<u64>,
    pub(crate) id: u64,
    /// The span of its first attempt, which is what the backend is told.
    pub(crate) attempt: u64,
}

impl Sampling {
    /// Whether a request is, whose client has said that, if it has said anything sane. `random` gives 64 bits a call.
    pub(crate) fn decide(self, said: Option<&[u8]>, mut random: impl FnMut() -> u64) -> Option<Traced> {
        let said = said.and_then(Parent::read);
        let is_traced = match said {
            Some(parent) if self.follows => parent.sampled,
            _ => random() % u64::from(MILLION) < self.per_million.into(),
        };
        is_traced.then(|| Traced {
            trace: said.map_or_else(
                // An id of zeros would be none.
                || u128::from(random().max(1)) << 64 | u128::from(random()),
                |parent| parent.trace,
            ),
            parent: said.map(|parent| parent.span),
            id: random().max(1),
            attempt: random().max(1),
        })
    }
}

const MILLION: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn decided(per_million: u32, follows: bool, said: Option<&[u8]>) -> Option<Traced> {
        let mut random = fastrand::Rng::with_seed(7);
        Sampling { per_million, follows }.decide(said, || random.u64(..))
    }

    #[test]
    fn a_client_that_is_followed_decides_and_another_one_does_not() {
        for (per_million, follows, said, expected) in [
            (0, true, Some(SAMPLED), true),
            (MILLION, true, Some(UNSAMPLED), false),
            (0, false, Some(SAMPLED), false),
            (MILLION, false, Some(UNSAMPLED), true),
            (MILLION, true, None, true),
            (0, true, None, false),
        ] {
            let is_traced = decided(per_million, follows, said).is_some();
            assert_eq!(is_traced, expected, "{per_million} {follows}");
        }
    }

    #[test]
    fn a_client_s_trace_is_gone_on_with_whoever_decides() {
        for follows in [true, false] {
            let traced = decided(MILLION, follows, Some(SAMPLED)).unwrap();
            assert_eq!(traced.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
            assert_eq!(traced.parent, Some(0x00f0_67aa_0ba9_02b7));
        }
        let traced = decided(MILLION, false, None).unwrap();
        assert!(traced.trace != 0 && traced.parent.is_none() && traced.id != traced.attempt);
    }

    #[test]
    fn about_as_many_are_traced_as_are_asked_for() {
        let mut random = fastrand::Rng::with_seed(7);
        let sampling = Sampling {
            per_million: 250_000,
            follows: false,
        };
        let traced = (0..10_000).filter(|_| sampling.decide(None, || random.u64(..)).is_some());
        let traced = traced.count();
        assert!((2_300..2_700).contains(&traced), "{traced}");
    }
}
