//! `[regions]`: besides which regions there are, whose countries belong to them and how far they are apart. Only
//! the file can say more of a region than its country.

mod known;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use edgeproxy_backend::{Country, Region};
use toml::Spanned;
use toml::de::DeValue;

use crate::draft::Draft;
use crate::problem::{Document, Place};
use crate::setting::{Kind, Setting};
use crate::table::{Key, Table, keys};
use crate::value::{FromValue, Mismatch, Value, described};

pub use known::RegionTable;

/// The key of the table, which is a setting besides.
pub(crate) const KEY: &str = "regions";

/// Where countries and regions are.
///
/// ```
/// use edgeproxy_backend::{Country, Region};
/// use edgeproxy_config::{ConfigFile, Layers};
///
/// let text = "[regions]\nmx = { country = \"MX\", countries = [\"GT\"], rtt_ms = { us = 60, sa = 140 } }\n";
/// let file = ConfigFile { path: "edgeproxy.toml".into(), text: text.to_owned() };
/// let geography = Layers { file: Some(file), ..Layers::default() }.load()?.topology.geography;
/// let (mx, us, sa) = (Region::parse("mx")?, Region::parse("us")?, Region::parse("sa")?);
/// assert_eq!(geography.region_of(Country::parse("GT")?), Some(mx));
/// assert_eq!(geography.nearest(mx), [us, sa]);
/// assert_eq!(geography.rtt(us, mx), geography.rtt(mx, us));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Geography {
    countries: BTreeMap<Country, Region>,
    /// Both ways.
    rtts: BTreeMap<(Region, Region), Duration>,
    pub(crate) place: Option<Place>,
}

impl Geography {
    /// The region that a country was put into. `None`: where it lies.
    #[must_use]
    pub fn region_of(&self, country: Country) -> Option<Region> {
        self.countries.get(&country).copied()
    }

    /// The round-trip time between two regions, where it is known: 1 ms to 10 s.
    #[must_use]
    pub fn rtt(&self, one: Region, other: Region) -> Option<Duration> {
        self.rtts.get(&(one, other)).copied()
    }

    /// The round-trip times from that region that are known, in no order.
    pub fn rtts_from(&self, from: Region) -> impl Iterator<Item = (Region, Duration)> {
        let known = self.rtts.iter().filter(move |((start, _), _)| *start == from);
        known.map(|((_, end), rtt)| (*end, *rtt))
    }

    /// The regions whose round-trip time from that one is known, nearest first.
    #[must_use]
    pub fn nearest(&self, from: Region) -> Vec<Region> {
        let known = self.rtts_from(from);
        let mut others: Vec<(Duration, Region)> = known.map(|(end, rtt)| (rtt, end)).collect();
        others.sort_unstable();
        others.into_iter().map(|(_, region)| region).collect()
    }
}

/// What a region's table says, before it is known which regions there are.
#[derive(Debug)]
pub(crate) struct RawRegion {
    name: Region,
    raw: Raw,
    place: Place,
    countries_at: Range<usize>,
    rtts_at: Range<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Raw {
    country: Option<Country>,
    countries: Option<Vec<Country>>,
    rtts: Option<Rtts>,
}

pub(crate) const KEYS: &[Key<Raw>] = keys!(Raw {
    /// The country that a backend there has unless it says otherwise.
    country, "country", Kind::Text { name: "CC", expected: "a country code, such as \"MX\"" },
        "required, but for a built-in region";
    /// Countries whose clients belong there, wherever they lie.
    countries, "countries", Kind::List { name: "CC,…", expected: "a country code, such as \"MX\"" }, "where each lies";
    /// The round-trip time to other regions, in milliseconds from 1 to 10000. It counts both ways; where
    /// none is known, connections are measured.
    rtts, "rtt_ms", Kind::Numbers {
        name: "REGION:MS,…",
        expected: "a table of regions and milliseconds from 1 to 10000, such as { us = 60, sa = 140 }",
    }, "not known";
});

impl FromValue for Country {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        Self::parse(text).map_err(|error| Mismatch::text(text).help(error.to_string()))
    }
}

impl FromValue for Vec<Country> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        let country = |(index, item): (usize, &String)| {
            Country::parse(item).map_err(|error| Mismatch::text(item).help(error.to_string()).item(index))
        };
        items.iter().enumerate().map(country).collect()
    }
}

#[derive(Debug, Default)]
struct Rtts(Vec<(Region, Duration)>);

impl FromValue for Rtts {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Pairs(pairs) = value else {
            return Err(value.unfit());
        };
        let rtt = |(index, (name, rtt)): (usize, &(String, String))| {
            let refused = || Mismatch::new(format!("{name:.32} = {rtt:.32}")).item(index);
            let region = Region::parse(name).map_err(|error| refused().help(error.to_string()))?;
            match rtt.parse() {
                Ok(millis) if (1..=10_000).contains(&millis) => Ok((region, Duration::from_millis(millis))),
                _ => Err(refused()),
            }
        };
        pairs
            .iter()
            .enumerate()
            .map(rtt)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Reads the table, and gives back what the setting of that name takes: each region with its country.
pub(crate) fn read(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Value, Mismatch> {
    let DeValue::Table(regions) = value.get_ref() else {
        let kind = Setting::by_key(KEY).map(|setting| setting.kind);
        let read = kind.map(|kind| kind.read_toml(value.get_ref()));
        return read.unwrap_or_else(|| Err(Mismatch::new(described(value.get_ref()))));
    };
    let mut pairs = Vec::with_capacity(regions.len());
    for (index, (key, value)) in regions.iter().enumerate() {
        let name: &str = key.get_ref();
        let country = match value.get_ref() {
            DeValue::String(country) => country.to_string(),
            DeValue::Table(_) => {
                let table = Table::at_path(document, draft, format!("regions.{name:.32}"), key.span());
                match table.region(name, value) {
                    Some(country) => country,
                    // It has been told, and more to the point than the setting could.
                    None => continue,
                }
            }
            other => return Err(Mismatch::new(described(other)).item(index)),
        };
        pairs.push((name.to_owned(), country));
    }
    Ok(Value::Pairs(pairs))
}

impl Table<'_, '_> {
    /// The region's country; `None` where the table has a fault.
    fn region(mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let DeValue::Table(keys) = value.get_ref() else {
            return None;
        };
        let mut raw = Raw::default();
        self.read(keys, KEYS, &[], &mut raw);
        let built_in = RegionTable::built_in(name);
        let country = match (raw.country, built_in) {
            (Some(country), _) => country.to_string(),
            (None, Some(country)) => country.to_owned(),
            (None, None) => {
                self.required(None::<()>, KEYS, "country", "\"MX\"");
                return None;
            }
        };
        let Ok(region) = Region::parse(name) else {
            let message = format!("{name:.32?} is no name of a region: 1 to 15 of a-z 0-9 -");
            self.problem(&self.at.clone(), message, None);
            return None;
        };
        self.is_sound().then_some(())?;
        let at = |key: &str| self.span(key).unwrap_or_else(|| self.at.clone());
        let found = RawRegion {
            name: region,
            place: self.document.place(&self.at),
            countries_at: at("countries"),
            rtts_at: at("rtt_ms"),
            raw,
        };
        self.draft.sections.regions.push(found);
        Some(country)
    }
}

/// Joins what the regions say, and refuses what contradicts itself.
pub(crate) fn resolve(draft: &mut Draft<'_>, regions: Vec<RawRegion>) -> Geography {
    let mut geography = Geography::default();
    let mut country_lines: BTreeMap<Country, usize> = BTreeMap::new();
    let mut rtt_lines: BTreeMap<(Region, Region), usize> = BTreeMap::new();
    for region in regions {
        let name = region.name;
        let (countries, rtts) = (
            region.raw.countries.unwrap_or_default(),
            region.raw.rtts.unwrap_or_default(),
        );
        if !countries.is_empty() || !rtts.0.is_empty() {
            geography.place = geography.place.or(Some(region.place));
        }
        let line = draft.line(&region.countries_at);
        for country in countries {
            if let Some(other) = country_lines.insert(country, line) {
                let message =
                    format!("country {country} is in region {name} and, on line {other}, in another place");
                draft.conflict_at(&region.countries_at, message, Some("keep one of them".to_owned()));
            }
            geography.countries.insert(country, name);
        }
        let line = draft.line(&region.rtts_at);
        for (other, rtt) in rtts.0 {
            if let Some((message, help)) = rtt_problem(draft, &geography, (name, other, rtt), &rtt_lines) {
                draft.conflict_at(&region.rtts_at, message, Some(help));
            }
            for pair in [(name, other), (other, name)] {
                geography.rtts.insert(pair, rtt);
                rtt_lines.insert(pair, line);
            }
        }
    }
    geography
}

fn rtt_problem(
    draft: &Draft<'_>,
    geography: &Geography,
    (name, other, rtt): (Region, Region, Duration),
    lines: &BTreeMap<(Region, Region), usize>,
) -> Option<(String, String)> {
    if name == other {
        let message = format!("regions.{name}.rtt_ms names {name} itself");
        return Some((message, "remove it: nothing is nearer".to_owned()));
    }
    let known = &draft.settings.regions;
    if draft.all_valid(&["regions"]) && known.country(other).is_none() {
        let message = format!(
            "regions.{name}.rtt_ms names \"{other}\", which is not a configured region; known are {}",
            known.names()
        );
        return Some((
            message,
            format!("add it with its country, as `{other} = \"CC\"` in [regions]"),
        ));
    }
    let (before, line) = (geography.rtt(name, other)?, lines.get(&(name, other))?);
    (before != rtt).then(|| {
        let message = format!(
            "between {name} and {other} there are {} ms here and {} ms on line {line}",
            rtt.as_millis(),
            before.as_millis()
        );
        (message, "it counts both ways: keep one of them".to_owned())
    })
}

#[cfg(test)]
mod tests;
