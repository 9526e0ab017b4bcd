//! `edgeproxy.toml`: its syntax, its keys, and where each of them stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::draft::Draft;
use crate::problem::{Document, Problem};
use crate::setting::{CONFIG_ENV, CONFIG_FLAG, ENV_PREFIX, Kind, Setting};
use crate::suggest::closest;
use crate::value::{Mismatch, Value};
use crate::{Settings, app, backend, fleet, listeners, region, route, unclosed};

pub(crate) type Section = fn(&Document<'_>, &mut Draft<'_>, &Spanned<DeValue<'_>>);

/// What only the file has, since a variable or a flag is one value.
const SECTIONS: &[(&str, Section)] = &[
    (listeners::KEY, listeners::read),
    (app::KEY, app::read),
    (route::KEY, route::read),
    (backend::KEY, backend::read),
];

/// Reads the file into the draft.
///
/// A file that is not TOML is only told so: what could be made of the rest of it would be guesses.
pub(crate) fn read(document: &Document<'_>, draft: &mut Draft<'_>) {
    let (table, errors) = DeTable::parse_recoverable(document.text);
    let end = document.text.len();
    let unclosed = unclosed::bracket(document.text).filter(|_| !errors.is_empty());
    // Behind a bracket that is never closed, whatever is right is wrong.
    let meant = unclosed.as_ref().map_or(end, |(open, _)| open.start);
    if let Some((open, close)) = unclosed {
        let message = syntax(&format!("what begins here is never closed; expected `{close}`"));
        let help = Some(format!("add `{close}` where it ends"));
        draft.problem(document.problem(&open, message, help));
    }
    for error in &errors {
        let span = error.span().unwrap_or(end..end);
        if span.start > meant {
            continue;
        }
        let help = quotes(
            error.message(),
            document.text.get(span.clone()).unwrap_or_default(),
        );
        draft.problem(document.problem(&span, syntax(error.message()), help));
    }
    if !errors.is_empty() {
        Settings::ALL.iter().for_each(|setting| draft.fail(setting));
        draft.fail_listeners();
        return;
    }
    for (key, value) in table.get_ref() {
        let of_fleets = draft.fleet.as_ref().map_or(&[][..], |_| fleet::SECTIONS);
        if let Some((_, read)) = SECTIONS
            .iter()
            .chain(of_fleets)
            .find(|(name, _)| key.get_ref() == name)
        {
            read(document, draft, value);
            continue;
        }
        match Setting::by_key(key.get_ref()) {
            Some(setting) if setting.key == region::KEY => {
                let before = draft.problem_count();
                let pairs = region::read(document, draft, value);
                if draft.problem_count() > before {
                    // Some are missing, so nothing can be held against who names one.
                    draft.fail(setting);
                } else {
                    set_read(document, draft, setting, key, value, pairs);
                }
            }
            Some(setting) => set(document, draft, setting, key, value),
            None => draft.problem(unknown(document, draft, key, value)),
        }
    }
}

fn syntax(message: &str) -> String {
    format!("not valid TOML: {message}")
}

/// What to write in place of a word without quotes, which is what most files that are not TOML have.
fn quotes(message: &str, found: &str) -> Option<String> {
    let word = !found.is_empty() && found.len() <= 64 && !found.contains(['"', '\\', '\n']);
    (word && message.contains("must be quoted")).then(|| format!("write \"{found}\", in quotes"))
}

fn set(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    setting: &'static Setting,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) {
    let read = setting.kind.read_toml(value.get_ref());
    set_read(document, draft, setting, key, value, read);
}

/// Takes what has been read of a value.
fn set_read(
    document: &Document<'_>,
    draft: &mut Draft<'_>,
    setting: &'static Setting,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    read: Result<Value, Mismatch>,
) {
    let Err(mismatch) = read.and_then(|read| draft.set_from_file(setting, &read, key.span())) else {
        return;
    };
    let span = blamed(&mismatch, value);
    let message = told(setting.key, setting.kind, &mismatch);
    draft.fail(setting);
    draft.problem(document.problem(&span, message, mismatch.help));
}

/// What was found at a key and what was expected.
pub(crate) fn told(key: &str, kind: Kind, mismatch: &Mismatch) -> String {
    let subject = match mismatch.item {
        Some(_) => format!("an item of {key}"),
        None => key.to_owned(),
    };
    let expected = match mismatch.item {
        Some(_) => kind.expected_item(),
        None => kind.expected_in_file(),
    };
    format!("{subject} is {}; expected {expected}", mismatch.found)
}

/// The item at fault where there is one, else the whole value.
pub(crate) fn blamed(mismatch: &Mismatch, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    let item = match (value.get_ref(), mismatch.item) {
        (DeValue::Array(array), Some(item)) => array.get(item).map(Spanned::span),
        (DeValue::Table(table), Some(item)) => table
            .iter()
            .nth(item)
            .map(|(key, value)| key.span().start..value.span().end),
        _ => None,
    };
    item.unwrap_or_else(|| value.span())
}

fn unknown(
    document: &Document<'_>,
    draft: &Draft<'_>,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Problem {
    let name: &str = key.get_ref();
    let kind = if matches!(value.get_ref(), DeValue::Table(_)) {
        "table"
    } else {
        "setting"
    };
    let message = format!("there is no {kind} {}", crate::value::quoted(name));
    document.problem(
        &key.span(),
        message,
        draft
            .guesses()
            .then(|| meant(name, value.get_ref(), draft.fleet.is_some())),
    )
}

fn meant(name: &str, value: &DeValue<'_>, is_fleet: bool) -> String {
    if name == CONFIG_FLAG {
        return format!("a file can't name itself; use --{CONFIG_FLAG} or {CONFIG_ENV}");
    }
    // Tables that group settings are what other proxies have; here a key has one name everywhere.
    if let DeValue::Table(table) = value {
        let joined = table
            .keys()
            .find_map(|inner| Setting::by_key(&format!("{name}_{}", inner.get_ref())));
        if let Some(setting) = joined {
            return format!(
                "write `{} = …` at the top of the file, outside any table",
                setting.key
            );
        }
    }
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let plain = plain
        .strip_prefix(&ENV_PREFIX.to_ascii_lowercase())
        .unwrap_or(&plain);
    match Setting::by_key(plain)
        .map(|setting| setting.key)
        .or_else(|| closest(plain, keys(is_fleet)))
    {
        Some(key) => format!("did you mean {key:?}?"),
        None => "remove it; `edgeproxy run --help` lists every setting".to_owned(),
    }
}

fn keys(is_fleet: bool) -> impl Iterator<Item = &'static str> {
    let of_fleets = if is_fleet { fleet::SECTIONS } else { &[] };
    Settings::ALL
        .iter()
        .map(|setting| setting.key)
        .chain(SECTIONS.iter().chain(of_fleets).map(|(name, _)| *name))
}

#[cfg(test)]
mod tests;
