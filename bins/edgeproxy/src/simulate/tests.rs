use std::fs;
use std::path::Path;

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn options(file: &str) -> SimulateOptions {
    SimulateOptions {
        file: root().join(file),
        json: false,
        svg: None,
        seed: None,
        duration: None,
        compare: Vec::new(),
    }
}

fn run(file: &str) -> Run {
    Run::of(&options(file)).unwrap()
}

/// The fleet files of a folder.
fn fleets(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = names
        .filter(|name| name.ends_with(".toml"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_ready_fleet_runs_and_tells_the_command_that_runs_it() {
    let files = fleets("examples/fleets");
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        assert!(text.contains(&format!("#   edgeproxy simulate {file}")), "{file}");
        let run = run(&file);
        assert!(
            run.reports.iter().all(|report| report.totals.arrivals > 10_000),
            "{file}"
        );
    }
}

#[test]
fn a_canary_gets_its_share_to_the_rounding_and_retries_hide_its_errors() {
    let Run { reports, fleet, .. } = run("examples/fleets/canary.toml");
    // The first 100 s, in moments of 5 s.
    let first = &reports[0].series[..20];
    let moments = |place: usize| {
        reports[0].backends[place].series[..20]
            .iter()
            .map(|moment| u64::from(moment.attempts))
            .sum::<u64>()
    };
    let canary: u64 = (4..8).map(moments).sum();
    let attempts: u64 = first.iter().map(|moment| moment.arrivals + moment.retries).sum();
    let share = 100.0 * canary as f64 / attempts as f64;
    assert!((share - 5.0).abs() < 0.1, "{share} %");
    assert!(fleet.app.requests.unhealthy == [503..=503]);
    assert!(
        reports[0].totals.retries > 100 && reports[0].totals.bad_ppm() < 200,
        "{:?}",
        reports[0].totals
    );
}

#[test]
fn the_clients_of_a_region_that_dies_are_served_by_the_next_one() {
    let Run { reports, .. } = run("examples/fleets/region-dies.toml");
    let report = &reports[0];
    assert!(report.totals.bad_ppm() < 1_000, "{:?}", report.totals);
    assert!(report.ejections() >= 8, "each of four at both proxies");
    let regions = report.regions();
    assert!(regions[1].attempts > 10_000 && regions[0].attempts > regions[1].attempts);
}

#[test]
fn who_is_slow_is_noticed_by_least_connections_and_at_once_by_ewma() {
    let mut options = options("examples/fleets/slow-backend.toml");
    options.compare = ["round_robin", "least_connections", "ewma"]
        .map(str::to_owned)
        .to_vec();
    let reports = Run::of(&options).unwrap().reports;
    let p99: Vec<u128> = reports
        .iter()
        .map(|report| report.latency.at_permille(990).as_millis())
        .collect();
    assert!(p99[0] > 2 * p99[1] && p99[1] > p99[2], "{p99:?}");
}

#[test]
fn a_deployment_with_a_slow_start_is_noticed_less_than_one_without() {
    let with = run("examples/fleets/deploy.toml");
    let mut without = with.fleet.clone();
    without.app.policy.slow_start = None;
    let without = simulate(&without).unwrap();
    assert_eq!(with.reports[0].totals.bad_ppm(), 0);
    let worst = |report: &Report| report.series.iter().map(|moment| moment.p99).max().unwrap();
    let worst = (worst(&with.reports[0]), worst(&without));
    assert!(worst.0 < worst.1, "{worst:?}");
}

#[test]
fn a_bound_on_ejections_keeps_a_fault_that_all_share_from_becoming_an_outage() {
    let bounded = run("examples/fleets/ejection-storm.toml");
    let mut panicking = bounded.fleet.clone();
    panicking.app.ledgers.max_ejection_percent = 100;
    let unbounded = panicking.clone();
    panicking.app.policy.panic_permille = 500;
    let bad = [
        bounded.reports[0].totals.bad_ppm(),
        simulate(&panicking).unwrap().totals.bad_ppm(),
        simulate(&unbounded).unwrap().totals.bad_ppm(),
    ];
    assert!(
        bad[0] < 1_000 && bad[1] < 1_000 && bad[2] > 50_000,
        "{bad:?} of a million"
    );
}

/// After a change run with `UPDATE_EXPECTED=1`, and look at them.
#[test]
fn the_pictures_of_the_documents_are_those_that_their_fleets_make() {
    let folder = "docs/pictures/balancing";
    let files = fleets(folder);
    let mut stale = Vec::new();
    for file in &files {
        let drawn = run(file).drawn();
        let picture = root().join(file).with_extension("svg");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&picture, &drawn).unwrap();
        }
        if fs::read_to_string(&picture).unwrap_or_default() != drawn {
            stale.push(file.as_str());
        }
        for forbidden in ["<script", "http://", "https://", "url("] {
            let elsewhere = drawn.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains(forbidden), "{file}: {forbidden}");
        }
        assert!(drawn.contains("prefers-color-scheme:dark"));
    }
    assert!(
        stale.is_empty(),
        "out of date, run this test with UPDATE_EXPECTED=1: {stale:?}"
    );
    let page = fs::read_to_string(root().join("docs/balancing.md")).unwrap();
    for file in files {
        let picture = file.trim_start_matches("docs/").replace(".toml", ".svg");
        assert!(page.contains(&picture), "docs/balancing.md shows no {picture}");
    }
}

#[test]
fn the_same_file_and_seed_give_the_same_bytes_and_another_seed_others() {
    let mut options = options("examples/fleets/deploy.toml");
    options.duration = Some(20);
    let bytes = |options: &SimulateOptions| {
        let run = Run::of(options).unwrap();
        (
            json::of(&run.reports),
            run.drawn(),
            text::of(Path::new("x"), &run.fleet, &run.reports),
        )
    };
    let one = bytes(&options);
    assert_eq!(one, bytes(&options));
    options.seed = Some(2);
    let other = bytes(&options);
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
}

#[test]
fn json_says_what_became_of_every_request() {
    let mut options = options("examples/fleets/region-dies.toml");
    options.duration = Some(170);
    let told: serde_json::Value =
        serde_json::from_str(&json::of(&Run::of(&options).unwrap().reports)).unwrap();
    let totals = &told["totals"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let failed: u64 = totals["failed"].as_object().unwrap().values().map(number).sum();
    let over = number(&totals["answered"]) + number(&totals["errors"]) + failed;
    assert_eq!(number(&totals["arrivals"]), over + number(&totals["in_flight"]));
    assert_eq!(told["backends"].as_array().unwrap().len(), 10);
    let ejected = told["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["event"] == "ejected")
        .unwrap();
    assert!(
        ejected["reason"]
            .as_str()
            .unwrap()
            .starts_with("3 consecutive requests failed")
    );
}

#[test]
fn a_table_for_people_says_who_got_what_and_why_who_was_taken_out() {
    let mut options = options("examples/fleets/region-dies.toml");
    options.duration = Some(170);
    let run = Run::of(&options).unwrap();
    let told = text::of(Path::new("region-dies.toml"), &run.fleet, &run.reports);
    for part in [
        "region-dies.toml: app shop, 10 backends, 2 proxies, 2m 50s, seed 1\n",
        "algorithm   region_affinity, least_connections inside\n",
        "BACKEND  REGION  WEIGHT  ATTEMPTS",
        "TIER",
        "ejected",
        "3 consecutive requests failed",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn what_can_t_be_compared_is_told_with_what_was_meant() {
    let refused = |name: &str| {
        let mut options = options("examples/fleets/deploy.toml");
        options.compare = vec![name.to_owned()];
        Run::of(&options).err().unwrap().to_string()
    };
    assert_eq!(
        refused("least_conections"),
        "--compare is \"least_conections\"; expected algorithms, such as round_robin,ewma; did you mean \
         \"least_connections\"?"
    );
    assert!(refused("ewma/hash").contains("only region_affinity has another one inside"));
}
