//! Heartbeats, as from agents as simple as can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgeproxy_tests::Client;
use tokio::task::JoinHandle;

use crate::load::Aim;

/// One each second for each of these backends, until it is dropped.
pub(crate) struct Beats {
    task: JoinHandle<()>,
    forgotten: Arc<AtomicU64>,
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Beats {
    pub(crate) fn of(ids: Vec<String>, api: &Aim) -> Self {
        let forgotten = Arc::<AtomicU64>::default();
        let (count, api) = (Arc::clone(&forgotten), api.clone());
        let task = tokio::spawn(async move {
            let mut turns = tokio::time::interval(Duration::from_secs(1));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let addr = api.get();
                let mut client = Client::new(addr);
                for id in &ids {
                    let path = format!("/api/v1/heartbeat/{id}");
                    // Who is away is asked again in a second.
                    let Ok(reply) = client.post(&addr.to_string(), &path, "").await else {
                        break;
                    };
                    if reply.status == 404 {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { task, forgotten }
    }

    /// How often a lease had ended although its heartbeats came.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}
