//! A fleet file: what `edgeproxy simulate` reads. It is a configuration file, with tables that say besides how backends
//! behave, what clients ask for, and what happens.

mod keys;
mod resolve;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, Country, Region, Weight};
use toml::Spanned;
use toml::de::DeValue;

use crate::draft::Draft;
use crate::file::{self, Section};
use crate::layers::{ConfigFile, Loaded};
use crate::policy::Decimal;
use crate::problem::{ConfigError, Document};
use crate::shape::{Form, Shape};
use crate::suggest::closest;
use crate::table::{self, Table, fields};
use crate::types::{Algorithm, words};
use crate::value::{FromValue, Mismatch, Value};
use crate::{reference, source, together};

pub(crate) use keys::Raw;

/// What a fleet file says.
#[derive(Clone, PartialEq, Debug)]
pub struct Fleet {
    /// What it says as a configuration file.
    pub loaded: Loaded,
    /// What its picture is called.
    pub title: Option<String>,
    /// Algorithms that are compared, where that is wanted: those of [`Algorithm`], and inside of `region_affinity` another.
    pub compare: Vec<(Algorithm, Option<Algorithm>)>,
    /// The app that is simulated.
    pub app: AppName,
    /// The seed.
    pub seed: u64,
    /// How long it runs.
    pub duration: Duration,
    /// The regions of the proxies, one for each.
    pub proxies: Vec<Region>,
    /// The backends: the app's `[[backends]]`, then those of each group.
    pub machines: Vec<FleetMachine>,
    /// The clients.
    pub traffic: Vec<FleetTraffic>,
    /// What happens.
    pub events: Vec<FleetEvent>,
}

/// A backend of a fleet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetMachine {
    /// What it is.
    pub backend: Backend,
    /// Whether it stands in `[[backends]]`; else it registers.
    pub listed: bool,
    /// Whether it is there in the beginning.
    pub is_there: bool,
    /// How it behaves.
    pub behaviour: Behaviour,
}

/// How a backend behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behaviour {
    /// The mean time to an answer, in milliseconds.
    pub latency_ms: Decimal,
    /// How that is distributed.
    pub distribution: Distribution,
    /// The deviation of its logarithm, where it is lognormal.
    pub sigma: Decimal,
    /// How many requests are worked at, at a time; 0 is any number.
    pub parallel: u32,
    /// How long it takes to get to its full speed.
    pub warm_up: Duration,
    /// By how much it is slower in the beginning.
    pub warm_up_factor: Decimal,
    /// Answers that are errors, of a hundred.
    pub error_percent: Decimal,
    /// Their status.
    pub status: u32,
    /// Requests that are closed unanswered, of a hundred.
    pub reset_percent: Decimal,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency_ms: Decimal::from_thousandths(20_000),
            distribution: Distribution::Lognormal,
            sigma: Decimal::from_thousandths(500),
            parallel: 0,
            warm_up: Duration::ZERO,
            warm_up_factor: Decimal::from_thousandths(4_000),
            error_percent: Decimal::from_thousandths(0),
            status: 503,
            reset_percent: Decimal::from_thousandths(0),
        }
    }
}

/// A stream of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetTraffic {
    /// Its name.
    pub name: String,
    /// Requests each second, in the beginning.
    pub rate: Decimal,
    /// Requests each second, in the end.
    pub to_rate: Decimal,
    /// When it begins.
    pub from: Duration,
    /// When it ends; `None`: with the simulation.
    pub until: Option<Duration>,
    /// How requests are spaced.
    pub spacing: Spacing,
    /// Where its clients are.
    pub region: Option<Region>,
    /// Where its clients are.
    pub country: Option<Country>,
    /// How many clients there are, and the exponent of Zipf's law by which they ask.
    pub keys: Option<(usize, Decimal)>,
    /// Whether its requests may be repeated.
    pub idempotent: bool,
}

/// Something that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetEvent {
    /// When.
    pub at: Duration,
    /// To which of [`Fleet::machines`].
    pub machines: Vec<usize>,
    /// How long after one it happens to the next.
    pub stagger: Duration,
    /// What.
    pub happening: Happening,
    /// After how long it is over.
    pub lasts: Option<Duration>,
    /// By how much a slow one is slower.
    pub factor: Decimal,
    /// How many of a hundred.
    pub percent: Decimal,
    /// The weight that is set.
    pub weight: Weight,
    /// How long one that is restarted is gone.
    pub down: Duration,
}

words! {
    /// How times to an answer are distributed.
    Distribution {
        /// All the same.
        Constant = "constant",
        /// Exponentially: as of a machine that any moment may be done.
        Exponential = "exponential",
        /// Lognormally: mostly near the mean, and sometimes far above it.
        Lognormal = "lognormal",
    }
}

words! {
    /// How requests are spaced.
    Spacing {
        /// Independently of each other, as those of many clients are.
        Poisson = "poisson",
        /// Evenly.
        Even = "even",
    }
}

words! {
    /// What can happen to a backend.
    Happening {
        /// Its process dies.
        Crash = "crash",
        /// It accepts, and never answers.
        Hang = "hang",
        /// No packet reaches it.
        Unreachable = "unreachable",
        /// It is slower.
        Slow = "slow",
        /// It answers with errors.
        Errors = "errors",
        /// It closes connections unanswered.
        Resets = "resets",
        /// Its heartbeats get lost.
        Silent = "silent",
        /// It is deployed anew.
        Restart = "restart",
        /// It starts.
        Join = "join",
        /// It leaves.
        Leave = "leave",
        /// An operator switches it off.
        Disable = "disable",
        /// An operator sets its weight.
        Weigh = "weigh",
    }
}

/// The tables that a fleet file has besides those of a configuration.
pub(crate) const SECTIONS: &[(&str, Section)] = &[
    ("simulation", simulation),
    ("proxies", proxies),
    ("groups", groups),
    ("servers", servers),
    ("traffic", traffic),
    ("events", events),
];

/// The most of each kind of table.
const MOST: usize = 1_000;

/// Reads a fleet file.
///
/// # Errors
/// Every problem at once, as of a configuration file; one that can't be read is one of them.
pub fn load_fleet(path: &Path) -> Result<Fleet, ConfigError> {
    let file = source::named(path).map_err(|problem| ConfigError {
        problems: vec![problem],
    })?;
    fleet(&file)
}

/// Makes a fleet of a file. Flags and variables play no part, so that it is the same everywhere.
///
/// # Errors
/// Every problem at once.
pub fn fleet(file: &ConfigFile) -> Result<Fleet, ConfigError> {
    let document = Document::new(&file.path, &file.text);
    let mut draft = Draft::of(Some(&document));
    draft.fleet = Some(Raw::default());
    file::read(&document, &mut draft);
    together::check(&mut draft);
    let raw = draft.fleet.take().unwrap_or_default();
    let resolved = resolve::resolve(&mut draft, &raw);
    let loaded = draft.finish()?;
    // Without an app there was a problem.
    resolved
        .map(|fleet| Fleet { loaded, ..fleet })
        .ok_or(ConfigError { problems: Vec::new() })
}

fn simulation(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
    let DeValue::Table(keys) = value.get_ref() else {
        let found = crate::value::described(value.get_ref());
        let message = format!("simulation is {found}; expected a table, under a line [simulation]");
        draft.problem(document.problem(&value.span(), message, None));
        return;
    };
    let mut raw = keys::Simulation::default();
    let mut table = Table::at_path(document, draft, "simulation".to_owned(), value.span());
    table.read(keys, keys::SIMULATION, &[], &mut raw);
    raw.at = Some(table.span("app").unwrap_or_else(|| value.span()));
    if let Some(fleet) = &mut draft.fleet {
        fleet.simulation = raw;
    }
}

/// Reads each of a kind of table, and keeps those without a fault.
macro_rules! many {
    ($name:ident, $key:literal, $one:literal, $raw:ty, $keys:expr, [$($required:ident: $example:literal),*]) => {
        fn $name(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
            for (at, found) in table::each(document, draft, $key, MOST, value) {
                let mut raw = <$raw>::default();
                let mut table = Table::one_of(document, draft, $one, at.clone());
                table.read(found, $keys, &[], &mut raw);
                $( table.required(raw.$required.as_ref(), $keys, stringify!($required), $example); )*
                let (is_sound, spans) = (table.is_sound(), table.spans());
                raw.at = crate::fleet::keys::At { whole: at, keys: spans };
                if let (Some(fleet), true) = (&mut draft.fleet, is_sound) {
                    fleet.$name.push(raw);
                }
            }
        }
    };
}

many!(proxies, "proxies", "a proxy", keys::Proxy, keys::PROXY, [region: "\"eu\""]);
many!(groups, "groups", "a group", keys::Group, keys::GROUP, [name: "\"eu\"", count: "3", region: "\"eu\""]);
many!(servers, "servers", "a server", keys::Server, keys::SERVER, []);
many!(traffic, "traffic", "traffic", keys::Traffic, keys::TRAFFIC, [rate: "100"]);
many!(events, "events", "an event", keys::Event, keys::EVENT, [at_secs: "30", what: "\"crash\""]);

/// Algorithms side by side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compared(pub(crate) Vec<(Algorithm, Option<Algorithm>)>);

/// The most.
const MOST_COMPARED: usize = 8;

impl FromValue for Compared {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        if items.len() > MOST_COMPARED {
            return Err(
                Mismatch::new(format!("a list of {}", items.len())).help(format!("at most {MOST_COMPARED}"))
            );
        }
        let read = |(index, item): (usize, &String)| compared(item).map_err(|mismatch| mismatch.item(index));
        items
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// One algorithm, and what is inside of it.
fn compared(text: &str) -> Result<(Algorithm, Option<Algorithm>), Mismatch> {
    let known = |name: &str| {
        Algorithm::from_value(&Value::Text(name.to_owned())).map_err(|_| {
            let help = format!("known are {}", Algorithm::NAMES.join(", "));
            match closest(name, Algorithm::NAMES.iter().copied()) {
                Some(meant) => Mismatch::text(text).help(format!("did you mean {meant:?}?")),
                None => Mismatch::text(text).help(help),
            }
        })
    };
    match text.split_once('/') {
        None => Ok((known(text)?, None)),
        Some((outer, inner)) => match (known(outer)?, known(inner)?) {
            (Algorithm::RegionAffinity, inner) if inner != Algorithm::RegionAffinity => {
                Ok((Algorithm::RegionAffinity, Some(inner)))
            }
            _ => Err(Mismatch::text(text)
                .help("only region_affinity has another one inside, as region_affinity/ewma")),
        },
    }
}

/// Reads what `--compare` says.
///
/// # Errors
/// What was found, and what was expected.
pub fn compare(items: &[String]) -> Result<Vec<(Algorithm, Option<Algorithm>)>, String> {
    let told = |mismatch: Mismatch| {
        let help = mismatch.help.map_or_else(String::new, |help| format!("; {help}"));
        format!(
            "--compare is {}; expected algorithms, such as round_robin,ewma{help}",
            mismatch.found
        )
    };
    Compared::from_value(&Value::List(items.to_vec()))
        .map(|compared| compared.0)
        .map_err(told)
}

/// Names of groups and of streams, and ids.
impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            text if text.is_empty() || text.len() > 128 => Err(Mismatch::text(text)),
            text => Ok(text.to_owned()),
        }
    }
}

/// The part of `docs/simulate.md` that is made of the lists.
#[must_use]
pub fn fleet_reference() -> String {
    let shape = |heading, about, form, fields| Shape {
        key: "",
        heading,
        about,
        form,
        fields,
        inner: Vec::new(),
    };
    let shapes = [
        shape(
            "[simulation]",
            "What is simulated, and for how long.",
            Form::One,
            fields(keys::SIMULATION).collect(),
        ),
        shape(
            "[[proxies]]",
            "Where proxies run. Each has ledgers, health checks and a retry budget of its own. Without any: one, in the \
             file's `region`.",
            Form::Many,
            fields(keys::PROXY).collect(),
        ),
        shape(
            "[[groups]]",
            "Backends that are alike and register themselves: `NAME-1`, `NAME-2` and so on.",
            Form::Many,
            fields(keys::GROUP).collect(),
        ),
        shape(
            "[[servers]]",
            "How backends behave: those that `backend`, `group` or `region` names, or all of them. Of several tables that \
             say something of a backend the last one counts, key by key.",
            Form::Many,
            fields(keys::SERVER).collect(),
        ),
        shape(
            "[[traffic]]",
            "A stream of requests. Several add up, so that a burst or a second kind of client is another table.",
            Form::Many,
            fields(keys::TRAFFIC).collect(),
        ),
        shape(
            "[[events]]",
            "What happens to the backends that `backend`, `group` or `region` names, or to all of them.",
            Form::Many,
            fields(keys::EVENT).collect(),
        ),
    ];
    let mut page = String::new();
    shapes
        .iter()
        .for_each(|shape| reference::of_shape(&mut page, shape));
    page
}
