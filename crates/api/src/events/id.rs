use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// One life of the process. Numbers of events begin anew with each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run(u64);

impl Run {
    /// The one that began then, to the microsecond: no two processes with the same listener do.
    pub(super) fn begun(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// What an event is called by whoever has seen it: `RUN-NUMBER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EventId {
    pub(super) run: Run,
    pub(super) number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.run.0, self.number)
    }
}

/// It is none that was ever given.
pub(super) struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (run, number) = text.split_once('-').ok_or(NoEventId)?;
        // `from_str_radix` takes signs.
        if !run.bytes().all(|byte| byte.is_ascii_hexdigit())
            || !number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(NoEventId);
        }
        Ok(Self {
            run: Run(u64::from_str_radix(run, 16).map_err(|_| NoEventId)?),
            number: number.parse().map_err(|_| NoEventId)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = EventId {
            run: Run::begun(UNIX_EPOCH + std::time::Duration::from_micros(0x1f)),
            number: 12,
        };
        assert_eq!(id.to_string(), "1f-12");
        assert_eq!("1f-12".parse::<EventId>().ok(), Some(id));
        for bad in [
            "",
            "-",
            "1f",
            "1f-",
            "-12",
            "1g-1",
            "+1-1",
            "1-+1",
            "1-1-1",
            "11111111111111111-1",
            " 1-1",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad:?}");
        }
    }
}
