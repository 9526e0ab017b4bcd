use std::time::Duration;

use crate::{Api, Edgeproxy, PATIENCE, eventually};

/// What a proxy holds at one moment, and what has to be as it was when the traffic is over.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// Open files and sockets.
    pub descriptors: usize,
    /// Memory, in bytes.
    pub resident: u64,
}

impl Vitals {
    /// Of the process that serves now.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn of(edgeproxy: &Edgeproxy) -> Self {
        let folder = format!("/proc/{}", edgeproxy.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("edgeproxy is running");
        let kib: u64 = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .expect("/proc/PID/status says how much memory is resident");
        let descriptors = std::fs::read_dir(format!("{folder}/fd")).expect("edgeproxy is running");
        Self {
            descriptors: descriptors.count(),
            resident: kib * 1024,
        }
    }
}

/// Requests in flight by the API's count, over all backends.
async fn in_flight(api: &mut Api) -> u64 {
    let page = api.get("/api/v1/backends").await.expect(200).json();
    page["backends"]
        .as_array()
        .expect("a page has backends")
        .iter()
        .map(|backend| backend["in_flight"].as_u64().expect("a number"))
        .sum()
}

/// How long idle connections to backends are kept, and some more.
const IDLE: Duration = Duration::from_secs(10);

/// Waits until nothing is in flight and no more is open than before.
///
/// # Panics
/// If that does not come.
pub async fn settled(edgeproxy: &Edgeproxy, before: Vitals) -> Vitals {
    // One of its own, since the API closes what has been idle for long; gone before descriptors are counted.
    let mut api = edgeproxy.api();
    eventually(PATIENCE, "nothing is in flight", async || {
        match in_flight(&mut api).await {
            0 => Ok(()),
            count => Err(format!("{count} in flight")),
        }
    })
    .await;
    drop(api);
    closed(edgeproxy, before.descriptors).await;
    Vitals::of(edgeproxy)
}

/// Waits until no more descriptors are open than before.
///
/// # Panics
/// If that does not come.
pub async fn closed(edgeproxy: &Edgeproxy, before: usize) {
    eventually(
        PATIENCE + IDLE,
        "as many descriptors as before",
        async || match Vitals::of(edgeproxy).descriptors {
            now if now <= before => Ok(()),
            now => Err(format!("{now}, {before} before")),
        },
    )
    .await;
}
