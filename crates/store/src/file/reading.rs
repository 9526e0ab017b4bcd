//! What a file says: its lines taken in, and what was wrong with them.

use std::borrow::Cow;
use std::ops::Range;

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::{Record, Write};
use serde::{Deserialize, Serialize};

use super::line::{Piece, Pieces, len_with, put};
use crate::form::{FormError, OverridesForm, RecordForm, parse_id};
use crate::kept::Kept;

/// The version of the form. Members and kinds of lines are added without a new one; it rises when an earlier version
/// would misunderstand what it reads.
const FORMAT: u32 = 1;

/// Lines that can't be used are named up to this many.
const NAMED: usize = 4;

/// A line. Each has one of these, the first line the first two.
#[derive(Default, Serialize, Deserialize)]
struct LineForm<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    /// The latest incarnation that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest_incarnation: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    registered: Option<RecordForm<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    gone: Option<GoneForm<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    overridden: Option<OverridesForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct GoneForm<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    incarnation: u64,
}

/// Puts the first line of a file.
pub(super) fn put_head(latest: Option<Incarnation>, bytes: &mut Vec<u8>) {
    let form = LineForm {
        format: Some(FORMAT),
        latest_incarnation: latest.map(Incarnation::get),
        ..LineForm::default()
    };
    put_form(&form, bytes);
}

/// Puts a line, and says how long it is.
pub(super) fn put_write(write: &Write, bytes: &mut Vec<u8>) -> u32 {
    let mut form = LineForm::default();
    match write {
        Write::Registered(record) => form.registered = Some(record.into()),
        Write::Gone { id, incarnation } => {
            let incarnation = incarnation.get();
            form.gone = Some(GoneForm {
                id: id.as_str().into(),
                incarnation,
            });
        }
        Write::Overridden { id, overrides } => form.overridden = Some(OverridesForm::of(id, overrides)),
    }
    let before = bytes.len();
    put_form(&form, bytes);
    u32::try_from(bytes.len() - before).unwrap_or(u32::MAX)
}

fn put_form(form: &LineForm<'_>, bytes: &mut Vec<u8>) {
    // Texts and numbers are JSON, whatever they are.
    let json = serde_json::to_vec(form).unwrap_or_default();
    put(&json, bytes);
}

/// All that a file says.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What is kept.
    pub(super) kept: Kept,
    /// The version of the form, where the first line could be read.
    pub(super) format: Option<u32>,
    /// Places that are no lines.
    pub(super) damage: Damage,
    /// A line that ends with the file.
    pub(super) torn: Option<Range<usize>>,
    /// Why lines can't be used; the first few.
    pub(super) unusable: Vec<String>,
    /// How many can't be used.
    pub(super) unusable_lines: usize,
    /// Lines of a later version, which mean nothing to this one.
    pub(super) unknown_lines: usize,
}

/// Where a file is no lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Damage {
    /// How many places.
    pub(super) places: usize,
    /// How many bytes are in them.
    pub(super) bytes: usize,
    /// Where the first begins.
    pub(super) first: usize,
}

impl Reading {
    /// Reads a file to its end, whatever stands in it.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut reading = Self::default();
        let mut end_of_damage = None;
        for piece in Pieces::of(bytes) {
            match piece {
                Piece::Line(json) => reading.take(json),
                Piece::Damage(range) => {
                    // Line feeds within a damaged place divide nothing.
                    if end_of_damage != Some(range.start) {
                        reading.damage.places += 1;
                    }
                    if reading.damage.bytes == 0 {
                        reading.damage.first = range.start;
                    }
                    reading.damage.bytes += range.len();
                    end_of_damage = Some(range.end);
                }
                Piece::Torn(range) => reading.torn = Some(range),
            }
        }
        if reading.is_of_later_version() {
            reading.kept = Kept::default();
        }
        reading
    }

    /// Whether there is nothing wrong with it but for a line that may end with the file.
    pub(super) fn is_sound(&self) -> bool {
        self.damage == Damage::default()
            && self.unusable_lines == 0
            && self.unknown_lines == 0
            && self.format.is_some()
            && !self.is_of_later_version()
    }

    /// Whether this version can't know what it says.
    pub(super) fn is_of_later_version(&self) -> bool {
        self.format.is_some_and(|format| format > FORMAT)
    }

    fn take(&mut self, json: &[u8]) {
        if let Err(error) = self.try_take(json) {
            self.unusable_lines += 1;
            if self.unusable.len() < NAMED {
                self.unusable.push(error.to_string());
            }
        }
    }

    fn try_take(&mut self, json: &[u8]) -> Result<(), FormError> {
        let form: LineForm<'_> = serde_json::from_slice(json)?;
        let size = u32::try_from(len_with(json)).unwrap_or(u32::MAX);
        let latest = form.latest_incarnation.and_then(Incarnation::new);
        if let Some(latest) = latest {
            self.kept.reach(latest);
        }
        let mut is_known = form.format.is_some() || latest.is_some();
        self.format = self.format.or(form.format);
        if let Some(registered) = form.registered {
            is_known = true;
            if let Some(incarnation) = registered.incarnation() {
                // Used, whether the rest of it can be used or not.
                self.kept.reach(incarnation);
            }
            self.kept
                .apply(Write::Registered(Record::try_from(registered)?), size);
        }
        if let Some(gone) = form.gone {
            is_known = true;
            let id = parse_id(&gone.id)?;
            if let Some(incarnation) = Incarnation::new(gone.incarnation) {
                self.kept.apply(Write::Gone { id, incarnation }, size);
            }
        }
        if let Some(overridden) = form.overridden {
            is_known = true;
            let (id, overrides) = overridden.read()?;
            self.kept.apply(Write::Overridden { id, overrides }, size);
        }
        self.unknown_lines += usize::from(!is_known);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
