use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::feed::{Begin, Feed, FeedBody};
use super::filter::Filter;
use super::id::EventId;
use super::licence::Licence;
use super::view::{PageView, block};
use super::{Events, Read, Told};
use crate::access::caller::{Caller, Peer};
use crate::extract::fields::excerpt;
use crate::extract::query::Params;
use crate::problem::{Kind, Problem};
use crate::serve::accept::{self, EVENT_STREAM, JSON};
use crate::state::Shared;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// For a proxy in between, such as nginx, that would gather what is to be sent at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Events of a page to whoever doesn't say how many.
pub(crate) const PAGE: usize = 200;

/// When a place may be free again.
const FULL_RETRY_SECS: u64 = 5;

/// `GET /api/v1/events`: the caller's events as they happen, or to `Accept: application/json` those that are kept.
pub(crate) async fn follow(
    State(shared): State<Shared>,
    caller: Caller,
    peer: Peer,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let licence = Licence::new(&shared.terms, peer);
    let filter = Filter::read(caller, &mut params);
    let asked = params.optional("last_event_id", read_id);
    let wants_json = accept::quality(&headers, JSON) > accept::quality(&headers, EVENT_STREAM);
    let events = shared.events.clone();
    if wants_json {
        let limit = params.limit(PAGE, Events::KEPT);
        params.finish()?;
        let asked = header_id(&headers)?.or(asked);
        filter
            .app
            .as_ref()
            .map_or(Ok(()), |app| filter.caller.check_app(app))?;
        return Ok(events.listed(&filter, asked, limit));
    }
    let stats = params.optional("stats", |text| {
        let flag = text.parse::<bool>();
        flag.map_err(|_| format!("is {:?}; expected true or false", excerpt(text)))
    });
    params.finish()?;
    filter
        .app
        .as_ref()
        .map_or(Ok(()), |app| filter.caller.check_app(app))?;
    let begin = match header_id(&headers)?.or(asked) {
        None => Begin::After(events.ring().newest()),
        Some(id) => events.resume(id).map_or(Begin::Reset, Begin::After),
    };
    if events.has_ended() {
        return Err(Problem::stopping());
    }
    let place = events.place().ok_or_else(|| {
        let error = "as many follow the events as may; close one, or read /api/v1/events as application/json";
        Problem::for_now(Kind::TooManyReaders, error, FULL_RETRY_SECS)
    })?;
    let hello = stats.unwrap_or_default().then(|| hello(&filter.caller));
    let feed = Feed::new(shared, filter, licence, (begin, hello), place);
    let mut response = Response::new(Body::new(FeedBody::new(feed)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    // What is asked after the stream's end may be for another process.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// What a browser sends by itself when it comes back counts before what its address had at first.
fn header_id(headers: &HeaderMap) -> Result<Option<EventId>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    match read_id(text) {
        Ok(id) => Ok(Some(id)),
        Err(problem) => Err(Problem::malformed(format!("the header Last-Event-ID {problem}"))),
    }
}

fn read_id(text: &str) -> Result<EventId, String> {
    text.parse().map_err(|_| {
        format!(
            "is {:?}; expected the id of an event, such as 644c1d2e3f4a5-17",
            excerpt(text)
        )
    })
}

/// What a page needs to know before anything else.
#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    /// What the caller may do, and for which apps.
    role: &'static str,
    apps: String,
    /// What its token or certificate is called; `null` where nobody needs one.
    name: Option<&'a str>,
}

fn hello(caller: &Caller) -> Bytes {
    let (role, apps, name) = match caller {
        Caller::Granted(grant) => (grant.role.as_str(), grant.apps.to_string(), Some(grant.name())),
        Caller::Network => ("operate", "*".to_owned(), None),
        Caller::Stranger => ("none", String::new(), None),
    };
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION"),
        role,
        apps,
        name,
    };
    block(None, "hello", &hello)
}

impl Events {
    /// A page: what follows the one that was asked for, or else the latest.
    fn listed(&self, filter: &Filter, asked: Option<EventId>, limit: usize) -> Response {
        let ring = self.ring();
        let takes = |told: &Told| {
            let event = &told.event;
            filter.takes(event.kind, &event.app, &event.id)
        };
        let is_here = asked.filter(|id| id.run == self.0.run && ring.holds_what_follows(id.number));
        let Some(after) = is_here else {
            let mut latest: Vec<&Told> = ring
                .backwards()
                .map(|told| &**told)
                .filter(|told| takes(told))
                .take(limit)
                .collect();
            latest.reverse();
            return Json(PageView {
                events: self.page(latest.into_iter()),
                last_event_id: self.id(ring.newest()).to_string(),
                reset: asked.is_some(),
            })
            .into_response();
        };
        let Read { events, newest, .. } = ring.after(after.number, Self::KEPT);
        drop(ring);
        let mut wanted: Vec<&Told> = events
            .iter()
            .map(|told| &**told)
            .filter(|told| takes(told))
            .collect();
        let is_whole = wanted.len() <= limit;
        wanted.truncate(limit);
        let last = if is_whole {
            newest
        } else {
            wanted.last().map_or(newest, |told| told.number)
        };
        Json(PageView {
            events: self.page(wanted.into_iter()),
            last_event_id: self.id(last).to_string(),
            reset: false,
        })
        .into_response()
    }
}
