//! Who changed what, and who was refused: a line of JSON each.
//!
//! A line is made where the answer is, and written by a thread of its own behind a bounded queue, so that a full disk costs
//! lines and no request. What is lost is counted, and the log says how much.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::SystemTime;

use axum::response::Response;
use edgeproxy_access::Kind;
use edgeproxy_backend::{AppName, BackendId, Incarnation};
use edgeproxy_lines::{Log, Queue, Target, Writer};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::access::caller::Caller;
use crate::guard::host::is_changing;
use crate::guard::rate::RateLimit;
use crate::problem::Refused;

/// The audit log. Cheap to clone; a clone is the same.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    queue: Queue,
    /// Refusals of one peer, so that nobody fills the disk with attempts.
    refusals: RateLimit,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

/// Lines that may wait have at most a few KiB each.
const LOG: Log = Log {
    name: "audit log",
    waiting: 4_096,
    lost: |lines| {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        serde_json::json!({ "time": time, "lost_lines": lines }).to_string()
    },
};

/// A change that was made. Handlers put it beside their answer.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: BackendId,
    pub(crate) app: AppName,
    pub(crate) incarnation: Incarnation,
    /// What was asked for. Values have been parsed, so each is short.
    pub(crate) fields: Map<String, Value>,
}

/// What was asked, and by whom.
pub(crate) struct Asked<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) caller: Option<&'a Caller>,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// As was asked.
    Done,
    /// With nothing changed.
    Refused,
    /// There was no answer in time, and it may have been done.
    Unknown,
}

impl Outcome {
    pub(crate) fn of(response: &Response) -> Self {
        if response.status().is_success() {
            Self::Done
        } else {
            Self::Refused
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    peer: Option<String>,
    who: Option<Who<'a>>,
    method: String,
    path: &'a str,
    status: u16,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a BackendId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a AppName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Who<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

/// The longest path that is told, in bytes.
const MAX_PATH: usize = 256;
/// The longest error that is told, in bytes.
const MAX_ERROR: usize = 1_024;
/// Refusals of one peer in a row; after that one a second.
const MAX_REFUSALS: u32 = 120;
/// Peers that are remembered for it.
const MAX_PEERS: usize = 4_096;

impl Audit {
    /// Begins to write.
    ///
    /// # Errors
    /// When the file can't be opened, or a thread can't be started.
    pub fn open(target: Target) -> std::io::Result<(Self, Writer)> {
        let (queue, writer) = edgeproxy_lines::open(target, &LOG)?;
        let burst = NonZeroU32::new(MAX_REFUSALS).unwrap_or(NonZeroU32::MIN);
        let refusals = RateLimit::new(NonZeroU32::MIN, burst, MAX_PEERS);
        Ok((Self(Arc::new(Inner { queue, refusals })), writer))
    }

    /// Lines that could not be written so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.queue.lost()
    }

    /// Has it written down, if it changed something or was an attempt that was refused.
    pub(crate) fn tell(&self, asked: &Asked<'_>, outcome: Outcome, response: &Response) {
        let status = response.status();
        let change = response.extensions().get::<Change>();
        if !is_told(asked, status, change) {
            return;
        }
        if outcome == Outcome::Refused && !self.may_refuse(asked.peer) {
            self.0.queue.lose(1);
            return;
        }
        let refused = response.extensions().get::<Refused>();
        let line = Line {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            request_id: asked.request_id,
            peer: asked.peer.map(|peer| peer.to_string()),
            who: asked.caller.and_then(Who::of),
            method: asked.method.as_str().chars().take(32).collect(),
            path: beginning(asked.path, MAX_PATH),
            status: status.as_u16(),
            outcome,
            id: change
                .map(|change| &change.id)
                .or_else(|| refused.and_then(|refused| refused.id.as_ref())),
            app: change.map(|change| &change.app),
            incarnation: change.map(|change| change.incarnation.get()),
            fields: change
                .map(|change| &change.fields)
                .filter(|fields| !fields.is_empty()),
            error: refused.map(|refused| beginning(&refused.error, MAX_ERROR)),
        };
        // Texts and numbers alone: this can't fail.
        if let Ok(mut line) = serde_json::to_vec(&line) {
            line.push(b'\n');
            self.0.queue.push(line, 1);
        }
    }

    fn may_refuse(&self, peer: Option<SocketAddr>) -> bool {
        let ip = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
        self.0.refusals.check(ip).is_ok()
    }
}

/// Changes, and what is refused to whom. A heartbeat that only renews changes nothing that anybody would look for, and there
/// are thousands a second.
fn is_told(asked: &Asked<'_>, status: StatusCode, change: Option<&Change>) -> bool {
    let refused = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PRECONDITION_FAILED
    );
    if refused || change.is_some() {
        return true;
    }
    let nothing = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::METHOD_NOT_ALLOWED
    );
    is_changing(asked.method) && !nothing && !asked.path.starts_with("/api/v1/heartbeat/")
}

impl<'a> Who<'a> {
    fn of(caller: &'a Caller) -> Option<Self> {
        match caller {
            Caller::Network => Some(Self {
                kind: "network",
                name: None,
                role: None,
            }),
            Caller::Granted(grant) => Some(Self {
                kind: match grant.kind {
                    Kind::Token => "token",
                    Kind::Certificate => "certificate",
                },
                name: Some(grant.name()),
                role: caller.role().map(edgeproxy_access::Role::as_str),
            }),
            Caller::Stranger => None,
        }
    }
}

fn beginning(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}
