//! Tables of the file. Each kind of table is a list of keys; what is wrong with one is told the same way
//! everywhere.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::draft::Draft;
use crate::file::{blamed, told};
use crate::problem::Document;
use crate::setting::Kind;
use crate::suggest::closest;
use crate::value::{Mismatch, Value, described, quoted};

/// A key as the reference has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// What it is where nothing is said, as a person would write it down.
    pub(crate) default: &'static str,
    pub(crate) doc_text: &'static str,
}

/// A key, and where its value goes.
#[derive(Debug)]
pub(crate) struct Key<R: 'static> {
    pub(crate) field: Field,
    pub(crate) apply: fn(&mut R, &Value) -> Result<(), Mismatch>,
}

/// The keys of a table that is read into options of that name.
macro_rules! keys {
    ($raw:ty { $( $(#[doc = $doc:literal])+ $field:ident, $key:literal, $kind:expr, $default:literal; )+ }) => {
        &[$( $crate::table::Key::<$raw> {
            field: $crate::table::Field {
                key: $key,
                kind: $kind,
                default: $default,
                doc_text: concat!($($doc),+),
            },
            apply: |raw, value| {
                raw.$field = Some($crate::value::FromValue::from_value(value)?);
                Ok(())
            },
        }, )+]
    };
}

pub(crate) use keys;

impl Field {
    pub(crate) fn doc(&self) -> &'static str {
        self.doc_text.trim()
    }
}

pub(crate) fn fields<R>(keys: &'static [Key<R>]) -> impl Iterator<Item = &'static Field> + Clone {
    keys.iter().map(|key| &key.field)
}

/// A table on its way to a value.
pub(crate) struct Table<'r, 'd> {
    pub(crate) document: &'r Document<'r>,
    pub(crate) draft: &'r mut Draft<'d>,
    /// What messages call it, such as `a route`, or `apps.shop`.
    pub(crate) name: String,
    /// What stands between its name and that of a key.
    pub(crate) joint: &'static str,
    /// Where it begins.
    pub(crate) at: Range<usize>,
    given: BTreeMap<&'static str, Range<usize>>,
    problems_before: usize,
}

impl<'r, 'd> Table<'r, 'd> {
    /// One of many that have no name: `a route's host`.
    pub(crate) fn one_of(
        document: &'r Document<'r>,
        draft: &'r mut Draft<'d>,
        name: &str,
        at: Range<usize>,
    ) -> Self {
        Self::new(document, draft, name.to_owned(), "'s ", at)
    }

    /// One that has a place: `apps.shop.spill`.
    pub(crate) fn at_path(
        document: &'r Document<'r>,
        draft: &'r mut Draft<'d>,
        path: String,
        at: Range<usize>,
    ) -> Self {
        Self::new(document, draft, path, ".", at)
    }

    fn new(
        document: &'r Document<'r>,
        draft: &'r mut Draft<'d>,
        name: String,
        joint: &'static str,
        at: Range<usize>,
    ) -> Self {
        let problems_before = draft.problem_count();
        Self {
            document,
            draft,
            name,
            joint,
            at,
            given: BTreeMap::new(),
            problems_before,
        }
    }

    /// A table inside of this one. Its problems are this one's, too.
    pub(crate) fn inside(&mut self, key: &str, at: Range<usize>) -> Table<'_, 'd> {
        let path = self.subject(key);
        Table::at_path(self.document, self.draft, path, at)
    }

    /// Whether nothing is wrong with it so far.
    pub(crate) fn is_sound(&self) -> bool {
        self.draft.problem_count() == self.problems_before
    }

    /// What messages call one of its keys.
    pub(crate) fn subject(&self, key: &str) -> String {
        format!("{}{}{key}", self.name, self.joint)
    }

    /// Where a key stands, if it is there and known.
    pub(crate) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.given.get(key).cloned()
    }

    /// The spans of all its known keys.
    pub(crate) fn spans(&self) -> BTreeMap<&'static str, Range<usize>> {
        self.given.clone()
    }

    pub(crate) fn problem(&mut self, span: &Range<usize>, message: String, help: Option<String>) {
        self.draft.problem(self.document.problem(span, message, help));
    }

    /// A problem with one of its keys, or with all of it if the key isn't there.
    pub(crate) fn problem_at(&mut self, key: &str, message: String, help: Option<String>) {
        let span = self.span(key).unwrap_or_else(|| self.at.clone());
        self.problem(&span, message, help);
    }

    /// Reads a table whose keys are all in one list, but for `others`, which are the caller's to read.
    pub(crate) fn read<R>(
        &mut self,
        table: &DeTable<'_>,
        keys: &'static [Key<R>],
        others: &'static [&'static str],
        raw: &mut R,
    ) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if let Some(other) = others.iter().find(|other| **other == name) {
                self.note(other, key.span());
            } else if let Some(known) = keys.iter().find(|known| known.field.key == name) {
                self.value(known, raw, key.span(), value);
            } else {
                let names = fields(keys).map(|field| field.key).chain(others.iter().copied());
                self.unknown(key, names);
            }
        }
    }

    /// Notes that a key is there.
    pub(crate) fn note(&mut self, key: &'static str, at: Range<usize>) {
        self.given.insert(key, at);
    }

    /// Reads the value of a key that is known. `None` where it can't be used, which has been told then.
    pub(crate) fn value<R>(
        &mut self,
        known: &'static Key<R>,
        raw: &mut R,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Value> {
        let field = &known.field;
        self.note(field.key, at);
        let read = field.kind.read_toml(value.get_ref());
        match read.and_then(|read| (known.apply)(raw, &read).map(|()| read)) {
            Ok(read) => Some(read),
            Err(mismatch) => {
                let message = told(&self.subject(field.key), field.kind, &mismatch);
                self.problem(&blamed(&mismatch, value), message, mismatch.help);
                None
            }
        }
    }

    /// A key that it doesn't have.
    pub(crate) fn unknown(
        &mut self,
        key: &Spanned<DeString<'_>>,
        names: impl Iterator<Item = &'static str> + Clone,
    ) {
        let name: &str = key.get_ref();
        let plain = name.replace('-', "_");
        // `interval` for `interval_secs` is nearer than any word that is spelt alike.
        let begins = |name: &&'static str| {
            name.strip_prefix(&*plain)
                .is_some_and(|rest| rest.starts_with('_'))
        };
        let alike = || closest(&plain, names.clone());
        let near = names
            .clone()
            .find(begins)
            .or_else(|| self.draft.guesses().then(alike).flatten());
        let help = match near {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("remove it; it has {}", names.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{} has no setting {}", self.name, quoted(name));
        self.problem(&key.span(), message, Some(help));
    }

    /// A key that must be there. `None` where it isn't or can't be used, which has been told then.
    pub(crate) fn required<T, R>(
        &mut self,
        value: Option<T>,
        keys: &'static [Key<R>],
        key: &'static str,
        example: &str,
    ) -> Option<T> {
        if value.is_none() && self.span(key).is_none() {
            let known = fields(keys).find(|field| field.key == key);
            let expected = known.map_or_else(String::new, |field| field.kind.expected_in_file());
            let message = format!("{} has no {key}; expected {expected}", self.name);
            let help = format!("add `{key} = {example}`");
            self.problem(&self.at.clone(), message, Some(help));
        }
        value
    }
}

/// The tables of `[[key]]`, with the place of each. What is none is told.
pub(crate) fn each<'v>(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    key: &str,
    most: usize,
    value: &'v Spanned<DeValue<'v>>,
) -> Vec<(Range<usize>, &'v DeTable<'v>)> {
    let help = Some(format!("write [[{key}]], with two brackets"));
    let expected = format!("expected tables, each under a line [[{key}]]");
    let DeValue::Array(tables) = value.get_ref() else {
        let message = format!("{key} is {}; {expected}", described(value.get_ref()));
        draft.problem(document.problem(&value.span(), message, help));
        return Vec::new();
    };
    if tables.len() > most {
        let message = format!("there are {} {key}; expected at most {most}", tables.len());
        draft.problem(document.problem(&value.span(), message, None));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(tables.len());
    for item in tables {
        match item.get_ref() {
            DeValue::Table(table) => found.push((item.span(), table)),
            other => {
                let message = format!("an item of {key} is {}; {expected}", described(other));
                draft.problem(document.problem(&item.span(), message, help.clone()));
            }
        }
    }
    found
}
