//! Routes for the same host and path, told apart by fields.

use std::cmp::Reverse;

use hashbrown::HashMap;
use http::header::HeaderName;

use super::path::Rewrite;
use super::rule::{BodyLimit, FieldPattern};
use super::shares::Shares;
use crate::PathPrefix;

/// The fields of a request, as far as routes look at them.
pub(crate) trait Lines {
    /// The values of the lines that have that name, in any case, without the spaces around them.
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;

    /// Whether there is such a line.
    fn have(&self, wanted: &FieldPattern) -> bool {
        let is_it = |found: &[u8]| {
            let value = wanted.value.as_ref();
            value.is_none_or(|value| value.as_bytes() == found)
        };
        self.values(&wanted.name).any(is_it)
    }
}

/// A route, found by its host and its path.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) fields: Box<[FieldPattern]>,
    pub(super) path: PathPrefix,
    pub(super) replace_prefix: Option<PathPrefix>,
    pub(super) max_body: BodyLimit,
    /// Places among the apps of all routes.
    pub(super) apps: Shares<usize>,
}

/// All of one host and path. Those that ask for a value are looked up by it, so that thousands of them, one for each
/// tenant, cost no more than one.
#[derive(Debug)]
pub(super) struct Rules {
    /// The narrowest first.
    rules: Box<[Rule]>,
    /// By the first field that each asks for by value.
    by_value: Box<[(HeaderName, ByValue)]>,
    /// Those that ask for none, in order.
    others: Box<[usize]>,
}

/// The rules that ask for a value, in order.
type ByValue = HashMap<Box<[u8]>, Vec<usize>, foldhash::fast::RandomState>;

impl Rules {
    pub(super) fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| {
            let by_value = rule.fields.iter().filter(|field| field.value.is_some()).count();
            Reverse((by_value, rule.fields.len()))
        });
        let mut by_value: Vec<(HeaderName, ByValue)> = Vec::new();
        let mut others = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let key = rule
                .fields
                .iter()
                .find_map(|field| Some((&field.name, field.value.as_ref()?)));
            let Some((name, value)) = key else {
                others.push(place);
                continue;
            };
            let at = by_value
                .iter()
                .position(|(known, _)| known == name)
                .unwrap_or_else(|| {
                    by_value.push((name.clone(), ByValue::default()));
                    by_value.len() - 1
                });
            if let Some((_, places)) = by_value.get_mut(at) {
                places.entry(value.as_bytes().into()).or_default().push(place);
            }
        }
        Self {
            rules: rules.into(),
            by_value: by_value.into(),
            others: others.into(),
        }
    }

    /// The narrowest one that is for a request with those fields.
    pub(super) fn find(&self, lines: &impl Lines) -> Option<&Rule> {
        let of_values = self.by_value.iter().flat_map(|(name, places)| {
            let listed = lines.values(name).filter_map(|value| places.get(value));
            listed.filter_map(|places| self.first(places, lines))
        });
        let of_others = self.first(&self.others, lines);
        let place = of_values.chain(of_others).min()?;
        self.rules.get(place)
    }

    /// The first of some rules that is for a request with those fields.
    fn first(&self, places: &[usize], lines: &impl Lines) -> Option<usize> {
        let mut places = places.iter().copied();
        places.find(|place| {
            let rule = self.rules.get(*place);
            rule.is_some_and(|rule| rule.fields.iter().all(|field| lines.have(field)))
        })
    }
}

impl Rule {
    /// Which of its apps gets a request, as its place among those of all routes.
    pub(super) fn draw(&self, random: impl FnMut() -> u64) -> Option<usize> {
        self.apps.draw(random)
    }

    /// How long a body may be, of an app that has this limit of its own.
    pub(super) fn max_body(&self, of_app: Option<u64>) -> Option<u64> {
        self.max_body.or(of_app)
    }

    /// What becomes of a path, to an app that puts that before it.
    pub(super) fn rewrite<'t>(&'t self, add: &'t PathPrefix) -> Option<Rewrite<'t>> {
        Rewrite::of(&self.path, self.replace_prefix.as_ref(), add)
    }
}
