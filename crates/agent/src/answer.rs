//! What an API answers, as far as an agent looks at it.

use std::net::IpAddr;
use std::time::Duration;

use edgeproxy_backend::Incarnation;
use serde::Deserialize;

/// What came of a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Nothing has been sent: there was no connection. In words.
    Unreachable(String),
    /// It may have been heard, and there was no answer, or not a whole one. In words.
    Unanswered(String),
    /// There was an answer.
    Reply(Reply),
}

/// An answer of an API.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// How long it wants not to be asked again.
    pub retry_after: Option<Duration>,
    /// The address that a registration was sent with.
    pub ip: Option<IpAddr>,
    /// Its body. Whatever is not the API's own is as if it were empty.
    pub body: Body,
}

/// The members of a body that an agent looks at. Nothing is taken for granted: a body is a stranger's.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    incarnation: Option<u64>,
    heartbeat_interval_secs: Option<u64>,
    /// The address of a backend that was asked for.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) draining: Option<bool>,
    pub(crate) in_flight: Option<u32>,
    warnings: Vec<String>,
    error: Option<String>,
    fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
struct Field {
    field: String,
    problem: String,
}

/// Sentences of one answer that are told.
const SENTENCES: usize = 16;
/// Characters of one sentence that are told.
const CHARACTERS: usize = 400;

impl Body {
    /// Reads a body; one that is not the API's is empty.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation.and_then(Incarnation::new)
    }

    pub(crate) fn interval(&self) -> Option<Duration> {
        /// The server's longest lease is an hour; one that says more is not to be trusted with silence.
        const LONGEST: u64 = 3_600;
        let secs = self.heartbeat_interval_secs.filter(|secs| *secs > 0)?;
        Some(Duration::from_secs(secs.min(LONGEST)))
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let told = self.warnings.iter().take(SENTENCES);
        told.map(|warning| excerpt(warning)).collect()
    }

    /// Why it was refused: the sentence, and each field that breaks its rule.
    fn error(&self) -> Option<String> {
        let error = self.error.as_deref().map(excerpt)?;
        if self.fields.len() < 2 {
            return Some(error);
        }
        let fields = self.fields.iter().take(SENTENCES);
        let told: Vec<_> = fields
            .map(|field| format!("{} {}", excerpt(&field.field), excerpt(&field.problem)))
            .collect();
        Some(format!("{error}: {}", told.join("; ")))
    }
}

fn excerpt(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(CHARACTERS).map(plain).collect()
}

/// What an answer means, whatever was asked.
pub(crate) enum Verdict {
    /// 2xx.
    Taken(Reply),
    /// 404.
    Unknown(String),
    /// 412: another incarnation is the live one.
    Fenced(String),
    /// 429.
    Busy { what: String, after: Duration },
    /// The API would say the same again.
    Refused(String),
    /// Another API may do better, or this one later.
    Down {
        what: String,
        after: Option<Duration>,
        /// Whether what was asked may have been done all the same.
        uncertain: bool,
    },
}

/// The longest `Retry-After` that is heeded: a lease is not to run out over one.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

impl Answer {
    pub(crate) fn verdict(self) -> Verdict {
        let reply = match self {
            Self::Unreachable(what) => {
                return Verdict::Down {
                    what,
                    after: None,
                    uncertain: false,
                };
            }
            Self::Unanswered(what) => {
                return Verdict::Down {
                    what,
                    after: None,
                    uncertain: true,
                };
            }
            Self::Reply(reply) => reply,
        };
        let after = reply.retry_after.map(|after| after.min(LONGEST_RETRY_AFTER));
        let what = || match reply.body.error() {
            Some(error) => format!("{}: {error}", reply.status),
            None => format!("{} without a reason; is that the API of edgeproxy?", reply.status),
        };
        match reply.status {
            200..=299 => Verdict::Taken(reply),
            404 => Verdict::Unknown(what()),
            412 => Verdict::Fenced(what()),
            429 => Verdict::Busy {
                what: what(),
                after: after.unwrap_or_default(),
            },
            status @ (408 | 500..) => Verdict::Down {
                what: what(),
                after,
                // 503 is said before anything is done.
                uncertain: status != 503,
            },
            _ => Verdict::Refused(what()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_own_bodies_are_read() {
        let body = Body::parse(
            br#"{"id":"b","registered":true,"message":"m","incarnation":7,"ttl_secs":60,"heartbeat_interval_secs":20,"warnings":["w"]}"#,
        );
        assert_eq!(body.incarnation(), Incarnation::new(7));
        assert_eq!(body.interval(), Some(Duration::from_secs(20)));
        assert_eq!(body.warnings(), ["w"]);
        let body = Body::parse(
            br#"{"type":"about:blank","title":"t","status":422,"error":"2 fields break their rules; see fields","fields":[{"field":"ip","problem":"is bad"},{"field":"port","problem":"is 0"}]}"#,
        );
        assert_eq!(
            body.error().unwrap(),
            "2 fields break their rules; see fields: ip is bad; port is 0"
        );
        // A backend of the file has no lease.
        let body = Body::parse(br#"{"incarnation":7,"ttl_secs":null,"heartbeat_interval_secs":null}"#);
        assert_eq!((body.incarnation(), body.interval()), (Incarnation::new(7), None));
    }

    #[test]
    fn a_strangers_body_is_as_if_it_were_empty() {
        for body in [
            "",
            "<html>",
            "[]",
            "7",
            r#"{"incarnation":"x"}"#,
            r#"{"fields":7}"#,
        ] {
            assert_eq!(Body::parse(body.as_bytes()), Body::default(), "{body}");
        }
        for nothing in [r#"{"incarnation":0}"#, r#"{"heartbeat_interval_secs":0}"#] {
            let body = Body::parse(nothing.as_bytes());
            assert_eq!((body.incarnation(), body.interval()), (None, None));
        }
        let long = format!(
            r#"{{"error":"\u001b[2J{}","heartbeat_interval_secs":99999999}}"#,
            "x".repeat(9_000)
        );
        let body = Body::parse(long.as_bytes());
        let error = body.error().unwrap();
        assert!(error.starts_with(" [2Jx") && error.len() == CHARACTERS, "{error}");
        assert_eq!(body.interval(), Some(Duration::from_secs(3_600)));
    }
}
