//! `[apps.NAME]`: what an app has differently from the others.

mod effect;
mod health;
mod picking;
mod probe;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use edgeproxy_backend::{AppName, BackendId};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::draft::Draft;
use crate::paths::PathPrefix;
use crate::problem::{Document, Place};
use crate::setting::{Kind, Setting};
use crate::settings::AppSettings;
use crate::suggest::closest;
use crate::table::{self, Key, Table, fields};
use crate::value::{FromValue, Mismatch, Value, described, quoted};

pub(crate) use health::{OWN_HEADERS, RawHealth, keys};
pub use picking::{Picker, Picking};
pub use probe::{GrpcProbe, Health, HttpProbe, Probe, ProbeTls, TcpProbe};

/// The key of the tables.
pub(crate) const KEY: &str = "apps";

/// An app of the file, with everything that it doesn't say itself as the settings have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// How a backend is picked. Unless the app or the setting `algorithm` says so: in turn.
    pub picking: Picking,
    /// Backends that get traffic only when every other one of the app is out, whatever they registered with.
    pub fallback: Vec<BackendId>,
    /// What is put before the path of each request.
    pub add_prefix: Option<PathPrefix>,
    /// How its backends are probed. `None`: not at all.
    pub health: Option<Health>,
    /// The rest.
    pub settings: AppSettings,
    /// Where it stands.
    pub place: Place,
    pub(crate) places: BTreeMap<&'static str, Place>,
}

impl App {
    /// Where it says a setting itself; `None` where it doesn't.
    #[must_use]
    pub fn says(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }
}

/// A table without a fault of its own, before the settings are known.
#[derive(Debug)]
pub(crate) struct RawApp {
    name: AppName,
    at: Range<usize>,
    own: Own,
    shared: Vec<(&'static Key<AppSettings>, Value)>,
    health: Option<RawHealth>,
    spans: BTreeMap<&'static str, Range<usize>>,
}

/// Keys that only an app has.
#[derive(Debug, Default)]
pub(crate) struct Own {
    algorithm: Option<Word>,
    inner: Option<Word>,
    fallback: Option<Vec<BackendId>>,
    add_prefix: Option<PathPrefix>,
}

#[derive(Debug)]
struct Word(String);

pub(crate) const OWN: &[Key<Own>] = table::keys!(Own {
    /// How a backend is picked.
    algorithm, "algorithm", Kind::OneOf(Picking::NAMES),
        "the proxy's `algorithm` if that is set, else `round_robin`";
    /// How a backend is picked among those of the nearest tier, with region_affinity.
    inner, "inner", Kind::OneOf(Picking::INSIDE), "`least_connections`";
    /// Backends that get traffic only when every other one of the app is out, whatever they registered with.
    fallback, "fallback", Kind::List { name: "ID,…", expected: "the id of a backend, such as \"backup-1\"" }, "none";
    /// What is put before the path of each request on its way to a backend.
    add_prefix, "add_prefix", Kind::Text { name: "PATH", expected: PathPrefix::EXPECTED }, "nothing";
});

impl FromValue for Word {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_text().map(|text| Self(text.to_owned()))
    }
}

impl FromValue for Vec<BackendId> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        let id = |(index, item): (usize, &String)| {
            BackendId::parse(item)
                .map_err(|error| Mismatch::text(item).help(format!("it {error}")).item(index))
        };
        items.iter().enumerate().map(id).collect()
    }
}

/// The most apps in a file.
const MOST: usize = 10_000;

/// Reads the tables into the draft.
pub(crate) fn read(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
    let DeValue::Table(apps) = value.get_ref() else {
        let message = format!(
            "apps is {}; expected tables, each under a line such as [apps.shop]",
            described(value.get_ref())
        );
        let help = Some("write [apps.NAME] with the app's name in place of [[apps]]".to_owned());
        return draft.problem(document.problem(&value.span(), message, help));
    };
    if apps.len() > MOST {
        let message = format!("there are {} apps; expected at most {MOST}", apps.len());
        return draft.problem(document.problem(&value.span(), message, None));
    }
    let mut lines = HashMap::new();
    for (key, value) in apps {
        let Some(name) = name(document, draft, key, value) else {
            continue;
        };
        match lines.entry(name.clone()) {
            Entry::Occupied(line) => {
                twice(document, draft, key, *line.get());
                continue;
            }
            Entry::Vacant(line) => line.insert(document.line(&key.span())),
        };
        let app = one(document, draft, name, key, value);
        draft.sections.apps.extend(app);
    }
}

fn name(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Option<AppName> {
    let found: &str = key.get_ref();
    let error = match AppName::parse(found) {
        // `[apps]` with a setting under it: the value is told, and more to the point.
        Err(_) if Setting::by_key(found).is_some() => {
            no_table(document, draft, found, key, value);
            return None;
        }
        Ok(name) => return Some(name),
        Err(error) => error,
    };
    let message = format!("{} is no name of an app: it {error}", quoted(found));
    draft.problem(document.problem(&key.span(), message, None));
    None
}

fn one(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    name: AppName,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Option<RawApp> {
    let DeValue::Table(keys) = value.get_ref() else {
        no_table(document, draft, name.as_str(), key, value);
        return None;
    };
    Table::at_path(document, draft, format!("apps.{name}"), key.span()).app(name, keys)
}

fn twice(document: &Document<'_>, draft: &mut Draft<'_>, key: &Spanned<DeString<'_>>, line: usize) {
    let message = format!(
        "app {} is on line {line} already, since the case of a name plays no part",
        quoted(key.get_ref())
    );
    let help = Some("join the two tables".to_owned());
    draft.problem(document.problem(&key.span(), message, help));
}

/// Whoever writes `[apps]` and then a setting wants it for all apps.
fn no_table(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    name: &str,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) {
    let found = described(value.get_ref());
    let message = format!("apps.{name} is {found}; expected a table with an app's settings");
    let (span, help) = match Setting::by_key(name) {
        Some(_) => (
            key.span(),
            "for all apps write it at the top of the file, outside any table".to_owned(),
        ),
        None => (
            value.span(),
            format!("write [apps.{name}], and its settings under it"),
        ),
    };
    draft.problem(document.problem(&span, message, Some(help)));
}

impl Table<'_, '_> {
    fn app(&mut self, name: AppName, keys: &DeTable<'_>) -> Option<RawApp> {
        let (mut own, mut shared, mut health) = (Own::default(), Vec::new(), None);
        let mut scratch = AppSettings::of(&self.draft.settings);
        for (key, value) in keys {
            let found: &str = key.get_ref();
            if found == keys::KEY {
                self.note(keys::KEY, key.span());
                health = self.health(key.span(), value);
            } else if let Some(known) = OWN.iter().find(|known| known.field.key == found) {
                self.value(known, &mut own, key.span(), value);
            } else if let Some(known) = AppSettings::KEYS.iter().find(|known| known.field.key == found) {
                let read = self.value(known, &mut scratch, key.span(), value);
                shared.extend(read.map(|read| (known, read)));
            } else {
                self.no_such_key(key, value);
            }
        }
        self.is_sound().then(|| RawApp {
            name,
            at: self.at.clone(),
            own,
            shared,
            health,
            spans: self.spans(),
        })
    }

    fn no_such_key(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let found: &str = key.get_ref();
        let help = match found {
            "health_monitor" | "health_interval_secs" => {
                format!("write it as a table: [{}.health]", self.name)
            }
            _ if Setting::by_key(found).is_some() => {
                "it is for the whole proxy: write it at the top of the file, outside any table".to_owned()
            }
            _ if matches!(value.get_ref(), DeValue::Table(_)) && closest(found, [keys::KEY]).is_none() => {
                let name = self.name.trim_start_matches("apps.");
                format!("a name with dots stands in quotes: [apps.\"{name}.{found:.64}\"]")
            }
            _ => {
                let names = fields(OWN)
                    .chain(fields(AppSettings::KEYS))
                    .map(|field| field.key);
                return self.unknown(key, names.chain([keys::KEY]));
            }
        };
        let message = format!("{} has no setting {}", self.name, quoted(found));
        self.problem(&key.span(), message, Some(help));
    }
}

/// Gives each app what it doesn't say itself.
pub(crate) fn resolve(draft: &mut Draft<'_>, apps: Vec<RawApp>) -> Vec<App> {
    let mut resolved = Vec::with_capacity(apps.len());
    for raw in apps {
        let mut settings = AppSettings::of(&draft.settings);
        for (key, value) in &raw.shared {
            // It has been taken once, when it was read.
            let _ = (key.apply)(&mut settings, value);
        }
        let of_proxy = draft
            .is_given("algorithm")
            .then(|| draft.settings.algorithm.as_str());
        let algorithm = raw.own.algorithm.as_ref().map(|word| word.0.as_str());
        let app = App {
            picking: Picking::named(
                algorithm.or(of_proxy).unwrap_or("round_robin"),
                raw.own.inner.as_ref().map(|word| word.0.as_str()),
                &settings.hash_key,
            ),
            health: health::resolve(&draft.settings, settings.max_failures, raw.health),
            place: draft.place(&raw.at),
            name: raw.name,
            fallback: raw.own.fallback.unwrap_or_default(),
            add_prefix: raw.own.add_prefix.filter(|prefix| *prefix != PathPrefix::root()),
            settings,
            places: raw
                .spans
                .iter()
                .map(|(key, span)| (*key, draft.place(span)))
                .collect(),
        };
        effect::check(draft, &app, &raw.spans);
        resolved.push(app);
    }
    resolved.sort_by(|a, b| a.name.cmp(&b.name));
    resolved
}

#[cfg(test)]
mod tests;
