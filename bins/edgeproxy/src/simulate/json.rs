//! Reports for scripts. Times are in microseconds, and what it says is in the order of the documentation.

use edgeproxy_simulate::{
    BackendMoment, BackendReport, Failure, Histogram, Moment, Report, Told, TrafficReport,
};
use serde_json::{Map, Value, json};

/// One report, or a list of those that were compared.
pub(super) fn of(reports: &[Report]) -> String {
    let value = match reports {
        [report] => one(report),
        several => several.iter().map(one).collect(),
    };
    format!("{value:#}\n")
}

fn one(report: &Report) -> Value {
    let totals = &report.totals;
    let failed = Failure::ALL.into_iter().zip(totals.failed);
    let failed: Map<String, Value> = failed
        .map(|(failure, count)| (failure.as_str().to_owned(), count.into()))
        .collect();
    let tiers = report.tiers.iter().zip(0..).map(|(tier, number)| {
        json!({ "tier": number, "below_soft": tier.below_soft, "above_soft": tier.above_soft })
    });
    json!({
        "algorithm": report.algorithm,
        "seed": report.seed,
        "duration_us": micros(report.duration),
        "resolution_us": micros(report.resolution),
        "totals": {
            "arrivals": totals.arrivals,
            "answered": totals.answered,
            "errors": totals.errors,
            "failed": failed,
            "in_flight": totals.in_flight,
            "attempts": totals.attempts,
            "retries": totals.retries,
            "retries_refused": totals.retries_refused,
            "queued": totals.queued,
        },
        "latency": latency(&report.latency),
        "imbalance": { "mean": report.imbalance.mean, "worst": report.imbalance.worst },
        "tiers": tiers.collect::<Vec<_>>(),
        "bound": report.bound,
        "backends": report.backends.iter().map(backend).collect::<Vec<_>>(),
        "traffic": report.traffic.iter().map(traffic).collect::<Vec<_>>(),
        "series": report.series.iter().map(moment).collect::<Vec<_>>(),
        "events": report.events.iter().map(told).collect::<Vec<_>>(),
        "events_left_out": report.events_left_out,
    })
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn latency(latency: &Histogram) -> Value {
    let at = |permille| micros(latency.at_permille(permille));
    json!({
        "count": latency.len(),
        "mean_us": micros(latency.mean()),
        "p50_us": at(500),
        "p90_us": at(900),
        "p99_us": at(990),
        "p999_us": at(999),
        "max_us": at(1_000),
    })
}

fn backend(backend: &BackendReport) -> Value {
    let moment = |moment: &BackendMoment| {
        json!({
            "attempts": moment.attempts,
            "failed": moment.failed,
            "in_flight_milli": moment.in_flight_milli,
            "state": moment.state.map(edgeproxy_registry::State::as_str),
        })
    };
    json!({
        "id": backend.id.as_str(),
        "region": backend.region.as_str(),
        "weight": backend.weight,
        "attempts": backend.attempts,
        "fair_attempts": backend.fair,
        "failed": backend.failed,
        "most_in_flight": backend.most_in_flight,
        "out_us": micros(backend.out),
        "series": backend.series.iter().map(moment).collect::<Vec<_>>(),
    })
}

fn traffic(traffic: &TrafficReport) -> Value {
    json!({
        "name": traffic.name,
        "arrivals": traffic.arrivals,
        "answered": traffic.answered,
        "bad": traffic.bad,
        "latency": latency(&traffic.latency),
    })
}

fn moment(moment: &Moment) -> Value {
    json!({
        "arrivals": moment.arrivals,
        "answered": moment.answered,
        "bad": moment.bad,
        "retries": moment.retries,
        "p50_us": micros(moment.median),
        "p99_us": micros(moment.p99),
        "in_flight_milli": moment.in_flight_milli,
        "tiers": moment.tiers,
    })
}

fn told(told: &Told) -> Value {
    json!({
        "at_us": micros(told.at),
        "proxy": told.proxy + 1,
        "backend": told.id.as_str(),
        "event": told.kind.as_str(),
        "reason": told.reason,
    })
}
