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
            (Act::Ask(ask), Ok(mut api)) => {
                let message = asked(&mut api, ask).await;
                // The stream tells that there is no connection. Another one has the file of the token read anew.
                kept = is_whole(&message).then_some(api);
                message
            }
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

/// What could be had.
async fn asked(api: &mut Api, ask: Ask) -> Message {
    let ids = match ask {
        Ask::Listing => {
            let listed = listing(api).await;
            return listed.map_or(Message::NotLookedUp(Ask::Listing), Message::Listed);
        }
        Ask::Backends(ids) => ids,
    };
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    let mut ids = ids.into_iter();
    while let Some(id) = ids.next() {
        let Err(error) = api
            .get(&format!("/api/v1/backends/{}", encoded(&id)))
            .await
            .map(|one| found.push(read(&one)))
        else {
            continue;
        };
        match error.downcast_ref::<Refusal>() {
            // It has gone meanwhile, which the stream tells.
            Some(refusal) if refusal.status == StatusCode::NOT_FOUND => {}
            Some(_) => missed.push(id),
            // Without a connection there is no answer for the others either.
            None => {
                missed.push(id);
                missed.extend(ids.by_ref());
            }
        }
    }
    Message::LookedUp { found, missed }
}

/// Whether that is all that was asked for.
fn is_whole(message: &Message) -> bool {
    match message {
        Message::LookedUp { missed, .. } => missed.is_empty(),
        Message::NotLookedUp(_) => false,
        _ => true,
    }
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn remote(url: &str) -> Remote {
        let line = Remote::augment_args(Command::new("x"));
        Remote::from_arg_matches(&line.get_matches_from(["x", "--api", url])).unwrap()
    }

    /// Answers each request by its path: a connection that is to be closed is answered nothing.
    async fn serve(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let id = path.rsplit('/').next().unwrap_or_default();
                let (status, body) = match id {
                    "closed" => break,
                    "busy" => ("503 Service Unavailable", r#"{"error":"busy"}"#.to_owned()),
                    "gone" => ("404 Not Found", r#"{"error":"gone"}"#.to_owned()),
                    id => ("200 OK", json!({"id": id}).to_string()),
                };
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                head.clear();
            }
        }
    }

    #[tokio::test]
    async fn what_was_found_is_told_although_another_could_not_be_looked_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener));
        let mut api = Api::at(&remote(&url)).unwrap();
        for (ids, found_ids, missed_ids) in [
            (&["a", "gone", "b"][..], &["a", "b"][..], &[][..]),
            (&["a", "busy", "b"], &["a", "b"], &["busy"]),
            (&["a", "closed", "b"], &["a"], &["closed", "b"]),
        ] {
            let ask = Ask::Backends(ids.iter().map(ToString::to_string).collect());
            let message = asked(&mut api, ask).await;
            assert_eq!(is_whole(&message), missed_ids.is_empty());
            let Message::LookedUp { found, missed } = message else {
                panic!("{message:?}");
            };
            let found: Vec<_> = found.iter().map(|one| one.id.as_str()).collect();
            let missed: Vec<_> = missed.iter().map(String::as_str).collect();
            assert_eq!((found.as_slice(), missed.as_slice()), (found_ids, missed_ids));
        }
        server.abort();
    }
}
