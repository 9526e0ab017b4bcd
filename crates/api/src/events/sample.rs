use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use edgeproxy_backend::{AppName, BackendId, Incarnation};
use edgeproxy_control::Handle;
use edgeproxy_metrics::{BUCKETS, Buckets};
use edgeproxy_registry::Status;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tokio::time::Instant;

use super::filter::Filter;
use super::quantile::quantile_ms;
use super::view::time;
use crate::access::caller::Caller;
use crate::dto::latency_ms;
use crate::{Metrics, Phase, Readiness};

/// What a look at the meters has seen, with the rates since the look before. There is one at most about once a second,
/// however many follow. Nobody follows: nobody looks.
#[derive(Clone, Default)]
pub(super) struct Sample {
    taken: Option<Instant>,
    number: u64,
    rows: HashMap<BackendId, Row>,
    total: usize,
}

/// Two who follow share a look that is no older than this.
const FRESH: Duration = Duration::from_millis(900);
/// Over a longer time an average says nothing about now.
const LONGEST: Duration = Duration::from_secs(10);
/// Backends that are looked at. A page with more is nobody's to read, and each costs about 40 bytes a second.
pub(super) const MOST_BACKENDS: usize = 5_000;

/// How much of what was seen at a look counts at the next, for percentiles: half of them is of the last three seconds.
/// Those of one second jump about where there are few requests.
const FADES: f32 = 0.8;

/// One backend at the last look.
#[derive(Clone)]
struct Row {
    app: AppName,
    incarnation: Incarnation,
    requests: u64,
    failures: u64,
    shown: Shown,
    /// The look that found it otherwise than the one before.
    changed: u64,
    /// The latest look that found it.
    seen: u64,
    /// How often an answer had taken how long.
    noted: Option<Buckets>,
    /// The same of late.
    lately: [f32; BUCKETS],
}

/// What is told of it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Shown {
    requests_per_sec: f64,
    failures_per_sec: f64,
    latency_ms: Option<f64>,
    in_flight: u32,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (
            self.requests_per_sec,
            self.failures_per_sec,
            self.latency_ms,
            self.in_flight,
        )
            .serialize(serializer)
    }
}

impl Sample {
    /// Whether it is as good as another look.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.taken.is_some_and(|taken| now.duration_since(taken) < FRESH)
    }

    /// Grows by one with each look.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Looks again.
    pub(super) fn next(&self, handle: &Handle, metrics: Option<&dyn Metrics>, now: Instant) -> Self {
        let mut next = self.clone();
        next.look(handle, metrics, now);
        next
    }

    fn look(&mut self, handle: &Handle, metrics: Option<&dyn Metrics>, now: Instant) {
        let since = self.taken.map(|taken| now.duration_since(taken));
        self.taken = Some(now);
        self.number += 1;
        let over = since.filter(|since| *since <= LONGEST);
        let page = handle.list(0, MOST_BACKENDS, |_, _| true);
        self.total = page.total;
        for status in &page.items {
            self.note(status, over);
        }
        let number = self.number;
        self.rows.retain(|_, row| row.seen == number);
        if let Some(metrics) = metrics {
            self.note_times(metrics, over.is_some());
        }
    }

    fn note(&mut self, status: &Status, over: Option<Duration>) {
        let endpoint = &status.endpoint;
        let (requests, failures) = endpoint.meter.totals();
        let number = self.number;
        let known = self.rows.get_mut(&endpoint.id);
        let known = known.filter(|row| row.incarnation == endpoint.incarnation);
        // One that has come since the last look began at zero.
        let is_new = over.is_some_and(|over| status.registered <= over);
        let rate = |now: u64, then: fn(&Row) -> u64| match (&known, over) {
            (Some(row), Some(over)) => per_sec(now.saturating_sub(then(row)), over),
            (None, Some(over)) if is_new => per_sec(now, over),
            _ => 0.0,
        };
        let shown = Shown {
            requests_per_sec: rate(requests, |row| row.requests),
            failures_per_sec: rate(failures, |row| row.failures),
            latency_ms: latency_ms(endpoint.meter.latency()),
            in_flight: endpoint.meter.in_flight(),
        };
        if let Some(row) = known {
            if row.shown != shown {
                row.changed = number;
            }
            (row.requests, row.failures, row.shown, row.seen) = (requests, failures, shown, number);
            return;
        }
        let row = Row {
            app: endpoint.app.clone(),
            incarnation: endpoint.incarnation,
            requests,
            failures,
            shown,
            changed: number,
            seen: number,
            noted: None,
            lately: [0.0; BUCKETS],
        };
        self.rows.insert(endpoint.id.clone(), row);
    }

    /// How long answers took lately, at each backend.
    fn note_times(&mut self, metrics: &dyn Metrics, goes_on: bool) {
        for app in metrics.traffic() {
            for backend in app.backends {
                let Some(row) = self.rows.get_mut(&backend.id).filter(|row| row.app == app.app) else {
                    continue;
                };
                let now = backend.figures.latency;
                let then = row.noted.replace(now).filter(|_| goes_on).unwrap_or(now);
                let counts = now.counts.iter().zip(then.counts);
                for (lately, (now, then)) in row.lately.iter_mut().zip(counts) {
                    // What a scrape of percentiles can lose to rounding beyond 16 million a second is nothing.
                    *lately = *lately * FADES + now.saturating_sub(then) as f32;
                }
            }
        }
    }

    /// What has changed since that look, and the sums over all, of what somebody wants.
    pub(super) fn since<'a>(&'a self, look: u64, filter: &'a Filter, server: Server) -> StatsView<'a> {
        let mut totals = Totals::default();
        let mut weighted = 0.0;
        let mut lately = [0.0; BUCKETS];
        for (id, row) in &self.rows {
            if !filter.takes_of(&row.app, id) {
                continue;
            }
            let shown = row.shown;
            totals.backends += 1;
            totals.requests_per_sec += shown.requests_per_sec;
            totals.failures_per_sec += shown.failures_per_sec;
            totals.in_flight += u64::from(shown.in_flight);
            for (sum, one) in lately.iter_mut().zip(row.lately) {
                *sum += f64::from(one);
            }
            weighted += shown.latency_ms.unwrap_or_default() * shown.requests_per_sec;
        }
        if totals.requests_per_sec > 0.0 {
            let mean = weighted / totals.requests_per_sec;
            totals.latency_ms = Some((mean * 1_000.0).round() / 1_000.0);
        }
        totals.p50_ms = quantile_ms(&lately, 0.5);
        totals.p99_ms = quantile_ms(&lately, 0.99);
        totals.requests_per_sec = tenth(totals.requests_per_sec);
        totals.failures_per_sec = tenth(totals.failures_per_sec);
        StatsView {
            time: time(SystemTime::now()),
            server,
            totals,
            partial: self.total > self.rows.len(),
            backends: Changed {
                rows: &self.rows,
                look,
                filter,
            },
        }
    }
}

fn per_sec(number: u64, over: Duration) -> f64 {
    tenth(number as f64 / over.as_secs_f64())
}

fn tenth(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// The figures of one second.
#[derive(Serialize)]
pub(super) struct StatsView<'a> {
    time: String,
    server: Server,
    totals: Totals,
    /// There are more backends than are looked at.
    partial: bool,
    /// By id: requests per second, failures per second, the latency average in ms, requests in flight.
    backends: Changed<'a>,
}

/// How the process is.
#[derive(Serialize)]
pub(super) struct Server {
    uptime_secs: u64,
    phase: &'static str,
    store: &'static str,
    degraded: Option<Degraded>,
}

/// That the store can't be written to.
#[derive(Serialize)]
#[serde(untagged)]
enum Degraded {
    /// Why: to whoever may see all apps, since it can name paths, addresses and backends.
    Because(String),
    /// `true`, to the others.
    Somehow(bool),
}

impl Degraded {
    fn told(reason: &str, caller: &Caller) -> Self {
        if caller.is_for_all() {
            Self::Because(reason.to_owned())
        } else {
            Self::Somehow(true)
        }
    }
}

impl Server {
    pub(super) fn of(handle: &Handle, readiness: &Readiness, caller: &Caller) -> Self {
        let store = handle.store_status();
        Self {
            uptime_secs: handle.uptime().as_secs(),
            phase: Phase::as_str(readiness.phase()),
            store: store.name,
            degraded: store
                .degraded
                .map(|degraded| Degraded::told(&degraded.reason, caller)),
        }
    }
}

#[derive(Serialize, Default)]
struct Totals {
    backends: usize,
    requests_per_sec: f64,
    failures_per_sec: f64,
    in_flight: u64,
    /// The mean of the backends' averages, by their requests; `null` while there are none.
    latency_ms: Option<f64>,
    /// What half of the latest answers' heads took at the most, of about ten seconds; `null` where nobody counts.
    p50_ms: Option<f64>,
    /// What all but one in a hundred took at the most.
    p99_ms: Option<f64>,
}

struct Changed<'a> {
    rows: &'a HashMap<BackendId, Row>,
    look: u64,
    filter: &'a Filter,
}

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (id, row) in self.rows {
            if row.changed > self.look && self.filter.takes_of(&row.app, id) {
                map.serialize_entry(id, &row.shown)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgeproxy_access::{Grants, Role};
    use serde_json::json;

    use super::*;
    use crate::router::tests::granted::{entries, token};

    #[test]
    fn why_the_store_is_degraded_is_told_to_tokens_for_all_apps_alone() {
        let grants = Grants::parse(&entries(&[
            ("all", Role::Read, "*"),
            ("one", Role::Operate, "shop"),
        ]))
        .unwrap();
        let told = |caller: &Caller| serde_json::to_value(Degraded::told("/data is full", caller)).unwrap();
        let granted = |name: &str| {
            Caller::Granted(Arc::clone(
                grants.of_token(token(name).reveal().as_bytes()).unwrap(),
            ))
        };
        assert_eq!(told(&Caller::Network), json!("/data is full"));
        assert_eq!(told(&granted("all")), json!("/data is full"));
        assert_eq!(told(&granted("one")), json!(true));
    }
}
