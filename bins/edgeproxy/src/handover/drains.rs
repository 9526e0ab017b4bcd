//! A drain that is asked for at the new process waits for what the old one has in flight, too.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use edgeproxy_server::{Life, Predecessor, Successor};
use tokio::time::{MissedTickBehavior, interval};

use super::Message;
use super::channel::Channel;

/// How often the old process is asked, while anything drains.
const INTERVAL: Duration = Duration::from_millis(100);

/// The new process's side: has the registry told what the old one is done with, until that has ended.
pub(crate) async fn follow(channel: Option<Channel>, predecessor: Predecessor) {
    if let Some(mut channel) = channel {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // It says nothing unasked, so that is its end.
                () = channel.stirs() => break,
            }
            let Some(draining) = predecessor.ask() else {
                continue;
            };
            match ask(&mut channel, draining).await {
                Ok(done) => predecessor.is_done(&done),
                Err(_) => break,
            }
        }
    }
    predecessor.is_gone();
}

async fn ask(channel: &mut Channel, backends: Vec<Life>) -> io::Result<Vec<Life>> {
    channel.send(&Message::Draining { backends }).await?;
    match channel.receive().await?.0 {
        Message::Drained { backends } => Ok(backends),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The old process's side: answers for as long as it is asked.
pub(crate) async fn answer(mut channel: Channel, mut successor: Successor) -> Infallible {
    while let Ok((Message::Draining { backends }, _)) = channel.receive().await {
        let backends = successor.answer(backends);
        if channel.send(&Message::Drained { backends }).await.is_err() {
            break;
        }
    }
    drop(channel);
    std::future::pending().await
}
