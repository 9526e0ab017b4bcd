//! What systemd, or who speaks as it does, is told (sd_notify(3)). Without one, nothing.

use std::convert::Infallible;
use std::time::Duration;

use edgeproxy_server::Running;
use sd_notify::NotifyState;

/// It serves.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// It reads its configuration again; [`ready`] ends that.
pub(crate) fn reloading(status: &str) {
    match NotifyState::monotonic_usec_now() {
        // A manager that waits for the reload tells by the time that this is the one that it asked for.
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status(status)]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of a reload: no clock"),
    }
}

/// It ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Another process is the one from now on.
pub(crate) fn handed_over(to: u32) {
    tell(&[NotifyState::MainPid(to), NotifyState::Ready]);
}

/// Tells it every so often that all threads go round, if it wants to know. Never resolves.
pub(crate) async fn watchdog(running: &Running) -> Infallible {
    let Some(every) = interval() else {
        return std::future::pending().await;
    };
    loop {
        let answered = tokio::time::timeout(every, running.pulse());
        if answered.await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                ?every,
                "a thread hangs: the service manager is not told that all is well, and will end the process"
            );
        }
        tokio::time::sleep(every).await;
    }
}

/// Tells it that the process is there, while the threads end. Never resolves.
pub(crate) async fn last_watch() -> Infallible {
    let Some(every) = interval() else {
        return std::future::pending().await;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(every).await;
    }
}

/// A third of what it allows, so that one answer may be late.
fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 3)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told how it is");
    }
}
