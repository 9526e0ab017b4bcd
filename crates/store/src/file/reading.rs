//! What a file says: its lines taken in, and what was wrong with them.

use std::borrow::Cow;
use std::num::NonZero;
use std::ops::Range;
use std::thread::Builder;

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::{Record, Write};
use serde::{Deserialize, Serialize};

use super::line::{Piece, Pieces, len_with, put};
use crate::form::{FormError, OverridesForm, RecordForm, member, parse_id, parse_incarnation};
use crate::kept::Kept;

/// The version of the form. Members and kinds of lines are added without a new one; it rises when an earlier version
/// would misunderstand what it reads.
const FORMAT: u32 = 1;

/// Lines that can't be used are named up to this many.
const NAMED: usize = 4;

/// Lines that take about as long to understand as it takes to start a thread, a hundred times over.
const WORTH_A_THREAD: usize = 4_096;

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
        Write::Overridden(overridden) => form.overridden = Some(overridden.into()),
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
        let mut lines = Vec::new();
        let mut end_of_damage = None;
        for piece in Pieces::of(bytes) {
            match piece {
                Piece::Line(json) => lines.push(json),
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
        reading.kept.reserve(lines.len());
        for line in understood(&lines) {
            reading.take(line);
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

    fn take(&mut self, line: Line) {
        self.format = self.format.or(line.format);
        if let Some(latest) = line.latest {
            self.kept.reach(latest);
        }
        match line.says {
            Ok(Says::Write(write)) => self.kept.apply(write, line.size),
            Ok(Says::Head) => {}
            Ok(Says::Unknown) => self.unknown_lines += 1,
            Err(error) => {
                self.unusable_lines += 1;
                if self.unusable.len() < NAMED {
                    self.unusable.push(error.to_string());
                }
            }
        }
    }
}

/// A line, understood as far as it can be.
struct Line {
    format: Option<u32>,
    /// An incarnation that was used, whether the rest can be used or not.
    latest: Option<Incarnation>,
    says: Result<Says, FormError>,
    size: u32,
}

enum Says {
    Head,
    Write(Write),
    Unknown,
}

impl Line {
    fn of(json: &[u8]) -> Self {
        let size = u32::try_from(len_with(json)).unwrap_or(u32::MAX);
        let form: LineForm<'_> = match serde_json::from_slice(json) {
            Ok(form) => form,
            Err(error) => {
                let says = Err(error.into());
                return Self {
                    format: None,
                    latest: None,
                    says,
                    size,
                };
            }
        };
        let registered = form.registered.as_ref().and_then(RecordForm::incarnation);
        Self {
            format: form.format,
            latest: form.latest_incarnation.and_then(Incarnation::new).max(registered),
            says: Says::of(form),
            size,
        }
    }
}

impl Says {
    fn of(form: LineForm<'_>) -> Result<Self, FormError> {
        Ok(if let Some(registered) = form.registered {
            Self::Write(Write::Registered(Record::try_from(registered)?))
        } else if let Some(gone) = form.gone {
            let id = parse_id(&gone.id)?;
            let incarnation = member(id.as_str(), "incarnation", parse_incarnation(gone.incarnation))?;
            Self::Write(Write::Gone { id, incarnation })
        } else if let Some(overridden) = form.overridden {
            Self::Write(Write::Overridden(overridden.try_into()?))
        } else if form.format.is_some() {
            Self::Head
        } else {
            Self::Unknown
        })
    }
}

/// All lines in their order. They say nothing about each other, and to understand them is most of what it takes to
/// start, so the cores share them.
fn understood(lines: &[&[u8]]) -> Vec<Line> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = lines.len().div_ceil(cores).max(WORTH_A_THREAD);
    let understand = |lines: &[&[u8]]| lines.iter().map(|json| Line::of(json)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let mut shares = lines.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|lines| {
                (
                    lines,
                    Builder::new().spawn_scoped(scope, move || understand(lines)),
                )
            })
            .collect();
        let mut all = understand(own);
        for (lines, thread) in others {
            // No thread to be had: then here.
            let theirs = thread.ok().and_then(|thread| thread.join().ok());
            all.extend(theirs.unwrap_or_else(|| understand(lines)));
        }
        all
    })
}

#[cfg(test)]
mod tests;
