//! The tables of a fleet file, key by key.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use edgeproxy_backend::{AppName, Country, Region};

use super::{Compared, Distribution, Happening, Spacing};
use crate::kinds::{number, seconds};
use crate::policy::Decimal;
use crate::setting::Kind;
use crate::table::{Key, keys};

/// The tables as they were read.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(super) simulation: Simulation,
    pub(super) proxies: Vec<Proxy>,
    pub(super) groups: Vec<Group>,
    pub(super) servers: Vec<Server>,
    pub(super) traffic: Vec<Traffic>,
    pub(super) events: Vec<Event>,
}

/// Where a table stands, and each of its keys.
#[derive(Debug, Default)]
pub(super) struct At {
    pub(super) whole: Range<usize>,
    pub(super) keys: BTreeMap<&'static str, Range<usize>>,
}

impl At {
    /// Where a key stands, or else the table.
    pub(super) fn key(&self, key: &str) -> Range<usize> {
        self.keys.get(key).unwrap_or(&self.whole).clone()
    }
}

#[derive(Debug, Default)]
pub(super) struct Simulation {
    pub(super) title: Option<String>,
    pub(super) app: Option<AppName>,
    pub(super) compare: Option<Compared>,
    pub(super) seed: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) at: Option<Range<usize>>,
}

#[derive(Debug, Default)]
pub(super) struct Proxy {
    pub(super) region: Option<Region>,
    pub(super) count: Option<usize>,
    pub(super) at: At,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: Option<String>,
    pub(super) count: Option<usize>,
    pub(super) region: Option<Region>,
    pub(super) country: Option<Country>,
    pub(super) weight: Option<u64>,
    pub(super) soft_limit: Option<u32>,
    pub(super) hard_limit: Option<u32>,
    pub(super) fallback: Option<bool>,
    pub(super) at: At,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) backend: Option<String>,
    pub(super) group: Option<String>,
    pub(super) region: Option<Region>,
    pub(super) latency_ms: Option<Decimal>,
    pub(super) distribution: Option<Distribution>,
    pub(super) sigma: Option<Decimal>,
    pub(super) parallel: Option<u32>,
    pub(super) warm_up: Option<Duration>,
    pub(super) warm_up_factor: Option<Decimal>,
    pub(super) error_percent: Option<Decimal>,
    pub(super) status: Option<u32>,
    pub(super) reset_percent: Option<Decimal>,
    pub(super) is_there: Option<bool>,
    pub(super) at: At,
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) name: Option<String>,
    pub(super) rate: Option<Decimal>,
    pub(super) to_rate: Option<Decimal>,
    pub(super) from: Option<Duration>,
    pub(super) until: Option<Duration>,
    pub(super) spacing: Option<Spacing>,
    pub(super) region: Option<Region>,
    pub(super) country: Option<Country>,
    pub(super) keys: Option<usize>,
    pub(super) zipf: Option<Decimal>,
    pub(super) idempotent: Option<bool>,
    pub(super) at: At,
}

#[derive(Debug, Default)]
pub(super) struct Event {
    pub(super) at_secs: Option<Duration>,
    pub(super) what: Option<Happening>,
    pub(super) backend: Option<String>,
    pub(super) group: Option<String>,
    pub(super) region: Option<Region>,
    pub(super) stagger: Option<Duration>,
    pub(super) lasts: Option<Duration>,
    pub(super) factor: Option<Decimal>,
    pub(super) percent: Option<Decimal>,
    pub(super) weight: Option<u64>,
    pub(super) down: Option<Duration>,
    pub(super) at: At,
}

const WEEK: u64 = 7 * 24 * 3_600;

const APP: Kind = Kind::Text {
    name: "APP",
    expected: "the name of an app, such as \"shop\"",
};
const REGION: Kind = Kind::Text {
    name: "REGION",
    expected: "the name of a region, such as \"eu\"",
};
const COUNTRY: Kind = Kind::Text {
    name: "CC",
    expected: "a country code, such as \"DE\"",
};
const BACKEND: Kind = Kind::Text {
    name: "ID",
    expected: "the id of a backend, such as \"eu-1\"",
};
const GROUP_NAME: Kind = Kind::Text {
    name: "NAME",
    expected: "the name of a group, such as \"eu\"",
};

/// In thousandths.
const fn decimal(min: u32, max: u32) -> Kind {
    Kind::Decimal { min, max }
}

pub(super) const SIMULATION: &[Key<Simulation>] = keys!(Simulation {
    /// What its picture is called.
    title, "title", Kind::Text { name: "TITLE", expected: "a text of 1 to 128 bytes" }, "the file's name";
    /// Algorithms that are compared, as by `--compare`; at most 8. Inside of `region_affinity` another one is written behind a
    /// slash, as `region_affinity/ewma`.
    compare, "compare", Kind::List { name: "ALGORITHM,…", expected: "an algorithm, such as \"ewma\"" }, "none: the app's own";
    /// The app. Everything else of the file is for it.
    app, "app", APP, "the only one";
    /// The same seed and file give the same result, to the byte.
    seed, "seed", number(0, u64::MAX >> 1), "`1`";
    /// How long it runs, in its own time.
    duration, "duration_secs", seconds(1, WEEK), "`60`";
});

pub(super) const PROXY: &[Key<Proxy>] = keys!(Proxy {
    /// Where it runs.
    region, "region", REGION, "required";
    /// How many run there.
    count, "count", number(1, 100), "`1`";
});

pub(super) const GROUP: &[Key<Group>] = keys!(Group {
    /// Its name.
    name, "name", GROUP_NAME, "required";
    /// How many backends.
    count, "count", number(1, 2_000), "required";
    /// The region that they run in.
    region, "region", REGION, "required";
    /// The country that they run in.
    country, "country", COUNTRY, "the region's";
    /// The weight of each.
    weight, "weight", number(0, 1_000), "`2`";
    /// How many requests at a time each is comfortable with; 0 is no limit.
    soft_limit, "soft_limit", number(0, u32::MAX as u64), "`100`";
    /// How many requests at a time each gets at most; 0 is no limit.
    hard_limit, "hard_limit", number(0, u32::MAX as u64), "`150`";
    /// Whether they are used only when every other one is out.
    fallback, "fallback", Kind::Switch, "`false`";
});

pub(super) const SERVER: &[Key<Server>] = keys!(Server {
    /// The backend of that id.
    backend, "backend", BACKEND, "–";
    /// The backends of that group.
    group, "group", GROUP_NAME, "–";
    /// The backends in that region.
    region, "region", REGION, "–";
    /// The mean time to an answer, in milliseconds.
    latency_ms, "latency_ms", decimal(1, 600_000_000), "`20`";
    /// How that is distributed.
    distribution, "distribution", Kind::OneOf(Distribution::NAMES), "`lognormal`";
    /// Of `lognormal`: the deviation of the logarithm. With 0.5 one of a hundred takes 2.8 times the mean.
    sigma, "sigma", decimal(0, 3_000), "`0.5`";
    /// How many requests it works at, at a time; the others wait inside of it. 0 is any number.
    parallel, "parallel", number(0, 1_000_000), "`0`";
    /// How long it takes from its start to its full speed.
    warm_up, "warm_up_secs", seconds(0, WEEK), "`0`";
    /// How many times as long it takes to answer right after its start.
    warm_up_factor, "warm_up_factor", decimal(1_000, 1_000_000), "`4`";
    /// How many of a hundred answers are errors.
    error_percent, "error_percent", decimal(0, 100_000), "`0`";
    /// Their status. Only what `unhealthy_responses` lists counts as a failed request.
    status, "status", number(400, 599), "`503`";
    /// How many of a hundred requests it closes the connection on, unanswered.
    reset_percent, "reset_percent", decimal(0, 100_000), "`0`";
    /// Whether it is there in the beginning. Else it comes with the event `join`.
    is_there, "starts", Kind::Switch, "`true`";
});

pub(super) const TRAFFIC: &[Key<Traffic>] = keys!(Traffic {
    /// What it is called in the report.
    name, "name", Kind::Text { name: "NAME", expected: "a text of 1 to 128 bytes" }, "the region, or `clients`";
    /// Requests each second.
    rate, "rate", decimal(0, 1_000_000_000), "required";
    /// Requests each second in the end: the rate goes there on a straight line.
    to_rate, "to_rate", decimal(0, 1_000_000_000), "`rate`";
    /// When it begins.
    from, "from_secs", seconds(0, WEEK), "`0`";
    /// When it ends.
    until, "until_secs", seconds(1, WEEK), "at the end";
    /// How requests are spaced: by chance, or evenly.
    spacing, "arrivals", Kind::OneOf(Spacing::NAMES), "`poisson`";
    /// The region of its clients. They come to a proxy there, or to any where there is none.
    region, "region", REGION, "not known";
    /// The country of its clients.
    country, "country", COUNTRY, "not known";
    /// How many clients there are, as `hash` and `sticky` tell them apart.
    keys, "keys", number(1, 1_000_000), "not known";
    /// The exponent of Zipf's law by which some of them ask more often than others.
    zipf, "zipf", decimal(0, 5_000), "`0`: all the same";
    /// Whether its requests may be repeated (RFC 9110 §9.2.2).
    idempotent, "idempotent", Kind::Switch, "`true`";
});

pub(super) const EVENT: &[Key<Event>] = keys!(Event {
    /// When.
    at_secs, "at_secs", seconds(0, WEEK), "required";
    /// What happens; see the table below.
    what, "what", Kind::OneOf(Happening::NAMES), "required";
    /// The backend of that id.
    backend, "backend", BACKEND, "–";
    /// The backends of that group.
    group, "group", GROUP_NAME, "–";
    /// The backends in that region.
    region, "region", REGION, "–";
    /// How long after one backend it happens to the next.
    stagger, "stagger_secs", seconds(0, WEEK), "`0`";
    /// After how long it is over.
    lasts, "for_secs", seconds(1, WEEK), "never";
    /// Of `slow`: how many times as long it takes.
    factor, "factor", decimal(1, 1_000_000), "`10`";
    /// Of `errors` and `resets`: how many of a hundred.
    percent, "percent", decimal(0, 100_000), "`100`";
    /// Of `weigh`: the weight.
    weight, "weight", number(0, 1_000), "`0`";
    /// Of `restart`: how long it is gone between its end and its start.
    down, "down_secs", seconds(0, WEEK), "`5`";
});
