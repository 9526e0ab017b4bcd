//! What the API tells, as messages.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, IF_MATCH};
use http::{Method, StatusCode};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::explain::words;
use crate::follow::{Follower, Heard, Told};
use crate::remote::{Api, Query, Refusal, Remote, encoded};
use crate::top::figures::clock;
use crate::top::fleet::Ask;
use crate::top::state::{Act, Change, ChangeKind, Message};
use crate::top::wire::{Event, Listed};

/// Figures come once a second.
const SILENCE: Duration = Duration::from_secs(12);
/// Events from before that are shown.
const LATEST: &str = "200";
/// Backends of a page of the listing.
const PAGE: &str = "2000";

/// What there was at the beginning.
pub(crate) struct Begun {
    pub(crate) listed: Vec<Listed>,
    pub(crate) events: Vec<Event>,
    /// The event to go on after: one from before the listing, so that nothing is missed.
    pub(crate) last_id: Option<String>,
}

/// Reads what there is.
pub(crate) async fn begin(api: &mut Api) -> anyhow::Result<Begun> {
    let path = format!("/api/v1/events?limit={LATEST}");
    let page = api
        .call_with(Method::GET, &path, None, &[(ACCEPT, "application/json")])
        .await?;
    Ok(Begun {
        events: Vec::deserialize(&page["events"]).unwrap_or_default(),
        last_id: page["last_event_id"].as_str().map(ToOwned::to_owned),
        listed: listing(api).await?,
    })
}

async fn listing(api: &mut Api) -> anyhow::Result<Vec<Listed>> {
    let query = Query::default().and("limit", Some(PAGE));
    let found = api.pages("/api/v1/backends", &query, "backends").await?;
    Ok(found.iter().map(read).collect())
}

/// What a newer edgeproxy tells in another form is left out.
fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// Follows events and figures for ever, over as many connections as it takes.
pub(crate) async fn follow(remote: Remote, last_id: Option<String>, tell: Sender<Message>) {
    let path = "/api/v1/events?stats=true".to_owned();
    let mut follower = Follower::new(remote, path, SILENCE).after(last_id);
    let mut lost: Option<String> = None;
    loop {
        let message = match follower.next().await {
            Heard::Begun => {
                lost = None;
                Message::Begun
            }
            Heard::Told(told) => match told_of(&told) {
                Some(message) => message,
                None => continue,
            },
            Heard::Lost { error, pause } => since(&mut lost, format!("{error:#}"), pause),
            // The file of the token may be written anew.
            Heard::Refused { refusal, pause } => since(&mut lost, refusal.to_string(), pause),
        };
        if tell.send(message).await.is_err() {
            return;
        }
    }
}

fn since(lost: &mut Option<String>, why: String, pause: Duration) -> Message {
    let now = || clock(&humantime::format_rfc3339_seconds(SystemTime::now()).to_string()).to_owned();
    Message::Lost {
        since: lost.get_or_insert_with(now).clone(),
        why,
        pause,
    }
}

fn told_of(told: &Told) -> Option<Message> {
    Some(match told.name.as_str() {
        "hello" => Message::Hello(serde_json::from_str(&told.data).ok()?),
        "stats" => Message::Stats(serde_json::from_str(&told.data).ok()?),
        _ => Message::Event(serde_json::from_str(&told.data).ok()?),
    })
}

/// Does what the state wants, one after the other.
pub(crate) async fn ask(remote: Remote, mut acts: Receiver<Act>, tell: Sender<Message>) {
    let mut kept: Option<Api> = None;
    while let Some(act) = acts.recv().await {
        let api = match kept.take() {
            Some(api) => Ok(api),
            None => Api::at(&remote),
        };
        let message = match (act, api) {
            (Act::Ask(ask), Ok(mut api)) => match asked(&mut api, &ask).await {
                Ok(message) => {
                    kept = Some(api);
                    message
                }
                // The stream tells that there is no connection.
                Err(_) => Message::NotLookedUp(ask),
            },
            (Act::Ask(ask), Err(_)) => Message::NotLookedUp(ask),
            (Act::Change(change), Ok(mut api)) => {
                let outcome = changed(&mut api, &change).await;
                kept = Some(api);
                Message::Changed(outcome.map_err(|error| format!("not done: {error:#}")))
            }
            (Act::Change(_), Err(error)) => Message::Changed(Err(format!("not done: {error:#}"))),
            (Act::Quit, _) => return,
        };
        if tell.send(message).await.is_err() {
            return;
        }
    }
}

async fn asked(api: &mut Api, ask: &Ask) -> anyhow::Result<Message> {
    match ask {
        Ask::Listing => listing(api).await.map(Message::Listed),
        Ask::Backends(ids) => {
            let mut found = Vec::new();
            for id in ids {
                match api.get(&format!("/api/v1/backends/{}", encoded(id))).await {
                    Ok(one) => found.push(read(&one)),
                    // It has gone meanwhile, which the stream tells.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(Message::LookedUp(found))
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}

async fn changed(api: &mut Api, change: &Change) -> anyhow::Result<String> {
    let path = format!("/api/v1/backends/{}", encoded(&change.id));
    let enabled = match change.kind {
        ChangeKind::Drain => json!(false),
        ChangeKind::Enable => Value::Null,
    };
    // A successor of the one that was looked at is not meant.
    let incarnation = format!("\"{}\"", change.incarnation);
    let answer = api
        .call_with(
            Method::PATCH,
            &path,
            Some(&json!({"enabled": enabled})),
            &[(IF_MATCH, &incarnation)],
        )
        .await?;
    let id = &change.id;
    Ok(match change.kind {
        ChangeKind::Drain => format!(
            "{id} gets no new requests; in flight: {}",
            words(&answer["in_flight"])
        ),
        ChangeKind::Enable => format!(
            "{id} is {}: {}",
            words(&answer["state"]),
            words(&answer["reason"])
        ),
    })
}
