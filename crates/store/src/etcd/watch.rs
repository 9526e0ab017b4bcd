//! What others change: one watch of all keys of the prefix.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::client::{Line, is_stale_token, path};
use super::encoding;
use super::grpc::{Fault, code};
use super::keys::Kind;
use super::message::{
    Event, EventKind, RangeRequest, RangeResponse, WatchCreate, WatchRequest, WatchResponse,
};
use super::session::Session;

/// Why a watch has ended.
enum End {
    /// It begins again where it was.
    Again(String),
    /// etcd has forgotten what came next: everything is read.
    Compacted,
    /// Another proxy has this one's name.
    Displaced,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused {
                code: code::OUT_OF_RANGE,
                ..
            } => Self::Compacted,
            fault => Self::Again(fault.to_string()),
        }
    }
}

/// Follows etcd from the revision after that one, for as long as it is polled.
pub(super) async fn follow(session: Arc<Session>, revision: i64) {
    tokio::select! {
        () = keep_watching(&session, revision) => {}
        () = notice_silence(&session) => {}
    }
}

async fn keep_watching(session: &Session, mut revision: i64) {
    let settings = session.client.settings();
    let mut backoff = Backoff::new(settings.seed ^ 0x7761_7463_6800);
    loop {
        let before = revision;
        let end = watch(session, &mut revision, &mut backoff).await;
        let reason = match end {
            Err(End::Displaced) => return session.displace(),
            Err(End::Compacted) => match session.load(settings.load_timeout).await {
                Ok(picture) => {
                    revision = picture.revision;
                    session.hear();
                    let mut mirror = session.mirror();
                    mirror.regain();
                    mirror.resync(picture);
                    continue;
                }
                Err(fault) => fault.to_string(),
            },
            Err(End::Again(reason)) => reason,
            Ok(never) => match never {},
        };
        session.client.note_trouble(reason);
        if revision != before {
            backoff.reset();
        }
        sleep(backoff.next()).await;
    }
}

async fn watch(session: &Session, revision: &mut i64, backoff: &mut Backoff) -> Result<Infallible, End> {
    let opened = session.client.stream::<WatchRequest, WatchResponse>(path::WATCH);
    let (mut outgoing, mut incoming, line) = opened.await?;
    let (key, range_end) = session.keys.all();
    let create = WatchCreate {
        key,
        range_end,
        // The last one that is known, once more: from the one after it, etcd 3.4.23 leaves out what was deleted at
        // that revision if it has been compacted at it (etcd 18089), and doesn't say so.
        start_revision: *revision,
        progress_notify: true,
        prev_kv: true,
        fragment: true,
    };
    outgoing.send(&WatchRequest { create: Some(create) })?;
    let read = async {
        while let Some(message) = incoming.next().await? {
            take(session, revision, &message)?;
            backoff.reset();
            while !session.mirror().has_room() {
                session.room.notified().await;
            }
        }
        Err(End::Again("the watch has ended".to_owned()))
    };
    let end = tokio::select! {
        biased;
        end = read => end,
        fault = keep_asking(session, &line) => Err(fault.into()),
    };
    if matches!(end, Err(End::Again(_))) {
        session.client.failed(&line);
    }
    end
}

/// Reads something of no interest on the watch's connection, again and again, until that fails. It is read of a
/// majority, so the answer shows that the member has a leader and that the connection carries both ways, as the watch's
/// own progress does not in every version of etcd: some answer although they have no leader, some not while nothing
/// changes (etcd 15220, 20242).
async fn keep_asking(session: &Session, line: &Line) -> Fault {
    let settings = session.client.settings();
    let question = RangeRequest {
        key: session.keys.starts(),
        limit: 1,
        ..RangeRequest::default()
    };
    loop {
        let limit = settings.request_timeout.min(settings.patience / 2);
        let answer = session
            .client
            .ask_on::<_, RangeResponse>(line, path::RANGE, &question, limit);
        if let Err(fault) = answer.await {
            return fault;
        }
        session.hear();
        session.mirror().regain();
        sleep(settings.patience / 5).await;
    }
}

fn take(session: &Session, revision: &mut i64, message: &WatchResponse) -> Result<(), End> {
    if message.compact_revision != 0 {
        return Err(End::Compacted);
    }
    if message.canceled {
        if is_stale_token(code::INVALID_ARGUMENT, &message.cancel_reason) {
            return Err(End::Again("the token has run out".to_owned()));
        }
        return Err(End::Again(format!(
            "etcd has ended the watch: {}",
            message.cancel_reason
        )));
    }
    let is_whole = !message.fragment;
    let mut last = *revision;
    for event in &message.events {
        last = last.max(event.kv.as_ref().map_or(0, |kv| kv.mod_revision));
        take_event(session, event)?;
    }
    // Of etcd's own accord it tells how far it is after all the events that were before.
    if message.events.is_empty() && !message.created {
        last = last.max(message.header.as_ref().map_or(0, |header| header.revision));
    }
    // After the last fragment, since one revision may have many.
    if is_whole {
        *revision = last;
        session.saw(last);
    }
    Ok(())
}

fn take_event(session: &Session, event: &Event) -> Result<(), End> {
    let Some(kv) = &event.kv else { return Ok(()) };
    let is_deleted = event.kind == EventKind::Delete as i32;
    match session.keys.kind(&kv.key) {
        Kind::Proxy(name) if name == session.author.name => {
            let start = encoding::read_member(&kv.value).map_or(0, |member| member.start);
            let is_ours = !is_deleted && start == session.author.start;
            if !is_deleted && start > session.author.start {
                return Err(End::Displaced);
            }
            // Its lease has run out, or somebody has deleted it, or an old process has written it late.
            if !is_ours && kv.mod_revision > session.joined.load(Ordering::Relaxed) {
                session.rejoin.notify_one();
            }
        }
        _ if is_deleted => session
            .mirror()
            .deleted(&kv.key, kv.mod_revision, event.prev_kv.as_ref()),
        // A value that can't be read is told by the next load.
        _ => {
            let _ = session.mirror().put(kv, event.prev_kv.as_ref());
        }
    }
    Ok(())
}

/// Tells the caller once etcd has not been heard of for as long as that is waited for.
async fn notice_silence(session: &Session) {
    let patience = session.client.settings().patience;
    loop {
        let due = session.heard() + patience;
        if Instant::now() < due {
            sleep_until(due).await;
            continue;
        }
        let reason = session.client.trouble(patience);
        session.mirror().lose(reason);
        sleep(patience).await;
    }
}
