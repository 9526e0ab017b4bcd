//! A drain that is asked for at the new process waits for what the old one has in flight, too.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use edgeproxy_server::{Life, Predecessor, Successor};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Message;
use super::channel::Channel;

/// How often the old process is asked, while anything drains.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long it may take to answer. It does so within milliseconds, unless it is stopped or hangs: nothing waits for it then.
const ANSWER: Duration = Duration::from_secs(5);

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
            match ask(&mut channel, draining, ANSWER).await {
                Ok(done) => predecessor.is_done(&done),
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        tracing::warn!(
                            "the process before doesn't answer within {ANSWER:?}; drains wait for its requests no more"
                        );
                    }
                    break;
                }
            }
        }
    }
    predecessor.is_gone();
}

async fn ask(channel: &mut Channel, backends: Vec<Life>, limit: Duration) -> io::Result<Vec<Life>> {
    let answer = async {
        channel.send(&Message::Draining { backends }).await?;
        channel.receive().await
    };
    match timeout(limit, answer).await?? {
        (Message::Drained { backends }, _) => Ok(backends),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_before_that_hangs_is_not_waited_for() {
        let (mut channel, silent) = Channel::pair().unwrap();
        let error = ask(&mut channel, Vec::new(), Duration::from_millis(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }
}
