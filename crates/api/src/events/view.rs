//! The wire types of events.

use std::time::SystemTime;

use bytes::Bytes;
use edgeproxy_backend::{AppName, BackendId, Region};
use edgeproxy_registry::EventKind;
use serde::Serialize;

use super::id::EventId;
use super::ring::Told;
use super::{Events, Run};

/// An event as it is told.
#[derive(Serialize)]
pub(super) struct EventView<'a> {
    id: String,
    time: String,
    r#type: &'static str,
    backend: &'a BackendId,
    app: &'a AppName,
    region: Region,
    /// `null` once it is gone.
    state: Option<&'static str>,
    reason: String,
    incarnation: u64,
}

impl<'a> EventView<'a> {
    pub(super) fn of(run: Run, told: &'a Told) -> Self {
        let event = &told.event;
        let id = EventId {
            run,
            number: told.number,
        };
        Self {
            id: id.to_string(),
            time: time(told.at),
            r#type: event.kind.as_str(),
            backend: &event.id,
            app: &event.app,
            region: event.region,
            state: (!event.kind.is_last()).then(|| event.state.as_str()),
            reason: match event.kind {
                EventKind::Expired => "its lease ran out without a heartbeat".to_owned(),
                EventKind::Removed => "it was taken out, and nothing is left of it".to_owned(),
                _ => event.reason.to_string(),
            },
            incarnation: event.incarnation.get(),
        }
    }
}

impl Told {
    /// As a server-sent event.
    pub(super) fn text(&self, run: Run) -> &Bytes {
        self.text.get_or_init(|| {
            let view = EventView::of(run, self);
            block(Some(&view.id), view.r#type, &view)
        })
    }
}

/// That something was missed.
#[derive(Serialize)]
struct ResetView {
    id: String,
    time: String,
    r#type: &'static str,
    reason: &'static str,
}

pub(super) const RESET: &str = "reset";

/// Tells that what followed is not kept any more, and that events go on after `id`.
pub(super) fn reset(id: EventId) -> Bytes {
    let view = ResetView {
        id: id.to_string(),
        time: time(SystemTime::now()),
        r#type: RESET,
        reason: "what has happened since your last event is not kept here any more, in part or at all; read \
                 /api/v1/backends anew",
    };
    block(Some(&view.id), RESET, &view)
}

/// A page of events.
#[derive(Serialize)]
pub(super) struct PageView<'a> {
    pub(super) events: Vec<EventView<'a>>,
    /// Where the next page, or a stream, goes on.
    pub(super) last_event_id: String,
    /// Whether some between the one that was asked for and the first of these are missing.
    pub(super) reset: bool,
}

/// One event in the format of <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
pub(super) fn block(id: Option<&str>, name: &str, data: &impl Serialize) -> Bytes {
    // Numbers, flags and texts alone: this can't fail. JSON has no line breaks of its own, so one line holds it.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

pub(super) fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

impl Events {
    pub(super) fn page<'a>(&self, told: impl Iterator<Item = &'a Told>) -> Vec<EventView<'a>> {
        told.map(|told| EventView::of(self.0.run, told)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use edgeproxy_backend::{Incarnation, MonoTime};
    use edgeproxy_registry::{Event, Reason, State};

    use super::*;

    pub(crate) fn event(sequence: u64, kind: EventKind) -> Event {
        Event {
            sequence,
            at: MonoTime::ZERO,
            id: BackendId::parse("b-1").unwrap(),
            app: AppName::parse("shop").unwrap(),
            incarnation: Incarnation::new(7).unwrap(),
            region: Region::parse("eu").unwrap(),
            kind,
            state: State::Ejected,
            reason: Reason::Failures {
                streak: 3,
                trial_in: std::time::Duration::from_secs(30),
            },
            is_news: true,
        }
    }

    #[test]
    fn an_event_is_one_block_with_its_id_and_one_line_of_json() {
        let events = Events::default();
        events.tell(&event(1, EventKind::Ejected));
        let read = events.ring().after(0, 1);
        let text = String::from_utf8(read.events[0].text(events.0.run).to_vec()).unwrap();
        let id = events.id(1);
        let rest = text
            .strip_prefix(&format!("id: {id}\nevent: ejected\ndata: "))
            .unwrap();
        let data: serde_json::Value = serde_json::from_str(rest.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!(data["id"], id.to_string());
        assert_eq!(
            (&data["backend"], &data["app"], &data["region"]),
            (&"b-1".into(), &"shop".into(), &"eu".into())
        );
        assert_eq!(
            (&data["state"], &data["incarnation"]),
            (&"ejected".into(), &7.into())
        );
        assert_eq!(
            data["reason"],
            "3 consecutive requests failed; on trial in 30 s at the latest"
        );
    }
}
