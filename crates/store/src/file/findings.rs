//! What is told about a file that was not as it was left.

use std::io;

use super::journal::LOG;
use super::reading::Reading;
use crate::Finding;

/// What became of a file with something wrong.
#[derive(Debug)]
pub(super) enum Fate {
    /// Nothing was wrong.
    Used,
    /// It has another name now, and what could be read is in a new one.
    SetAside(String),
    /// It could not be set aside, so it is used as it is.
    Left(io::Error),
    /// It could not be set aside, and nothing can be added to it.
    Waits(io::Error),
}

/// What is to be said about a file that could be read, with so many registrations.
pub(super) fn findings(reading: &Reading, records: usize, fate: &Fate) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut tell = |is_loss, what: String| {
        let message = format!("{LOG} {what}{}", fate.told());
        findings.push(Finding { message, is_loss });
    };
    let damage = reading.damage;
    if reading.is_of_later_version() {
        let format = reading.format.unwrap_or_default();
        tell(
            true,
            format!(
                "has the form {format}, of a later version of edgeproxy: nothing of it is used, and backends have to \
                 register again"
            ),
        );
        return findings;
    }
    if damage.places > 0 {
        let place = if damage.places == 1 { "place" } else { "places" };
        tell(
            true,
            format!(
                "has {} damaged {place}, {} bytes in all, the first at byte {}: {records} registrations could be \
                 read, others may be missing until they register again, and one that had left may be back for as \
                 long as its lease",
                damage.places, damage.bytes, damage.first
            ),
        );
    } else if reading.format.is_none() {
        tell(
            true,
            "doesn't begin as it was written: something of it is missing, and backends may have to register again"
                .to_owned(),
        );
    }
    if reading.unusable_lines > 0 {
        let others = match reading.unusable_lines - reading.unusable.len() {
            0 => String::new(),
            others => format!("; and {others} more"),
        };
        tell(
            true,
            format!(
                "has {} lines that can't be used: {}{others}: what they say is not in force",
                reading.unusable_lines,
                reading.unusable.join("; ")
            ),
        );
    }
    if reading.unknown_lines > 0 {
        tell(
            false,
            format!(
                "has {} lines of a kind that only a later version knows: they are left out",
                reading.unknown_lines
            ),
        );
    }
    if let Some(torn) = &reading.torn {
        findings.push(Finding {
            message: format!(
                "{LOG} ends within a line, at byte {}: the last write was interrupted before it was acknowledged, \
                 unless somebody has cut the file; those {} bytes are left out",
                torn.start,
                torn.len()
            ),
            is_loss: false,
        });
    }
    findings
}

/// There is no file, and none can be written.
pub(super) fn unwritable(error: &io::Error) -> Finding {
    Finding {
        message: format!("{LOG} can't be written now ({error}): it is tried again with each change"),
        is_loss: false,
    }
}

impl Fate {
    fn told(&self) -> String {
        match self {
            Self::Used => String::new(),
            Self::SetAside(name) => format!(". The file as it was is kept as {name}"),
            Self::Left(error) => format!(". It could not be set aside ({error}), and is used as it is"),
            Self::Waits(error) => format!(
                ". It could not be set aside ({error}): that is tried again with each change, and until then nothing \
                 is kept"
            ),
        }
    }
}

/// The folder is on a file system without locks.
pub(super) fn unlocked(error: &io::Error) -> Finding {
    Finding {
        message: format!(
            "it can't be locked ({error}): see to it that no second edgeproxy uses it, or put it on a local disk"
        ),
        is_loss: false,
    }
}
