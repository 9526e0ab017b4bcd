//! What is done to the backends, and what a client may see of it.

use std::fmt;
use std::time::Duration;

use crate::ledger::Form;

/// Whom a request goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum App {
    /// By HTTP.
    Shop,
    /// By TCP.
    Database,
}

impl App {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Database => "database",
        }
    }
}

/// A kind of fault, or of change that is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Gone at once with all its sockets, and back some seconds later.
    Killed,
    /// Takes no new connection for some seconds.
    Refuses,
    /// Closes instead of answering.
    HangsUp,
    /// Resets instead of answering.
    Resets,
    /// Answers what is not HTTP.
    TalksNonsense,
    /// Drains for a second, is cut, and returns.
    Cut,
    /// Drains for as long as anything needs, and returns.
    Drains,
    /// Is deregistered and registers again.
    Leaves,
    /// One more is there for some seconds.
    Joins,
    /// An operator takes it out and lets it in again.
    Disabled,
    /// Its weight changes and changes back.
    Reweighted,
}

impl Kind {
    /// Those of one app, the harmless ones as well.
    pub(crate) const fn of(app: App) -> &'static [Self] {
        match app {
            App::Shop => &[
                Self::Killed,
                Self::Refuses,
                Self::HangsUp,
                Self::Resets,
                Self::TalksNonsense,
                Self::Cut,
                Self::Drains,
                Self::Leaves,
                Self::Joins,
                Self::Disabled,
                Self::Reweighted,
            ],
            App::Database => &[
                Self::Killed,
                Self::Refuses,
                Self::Cut,
                Self::Drains,
                Self::Leaves,
                Self::Joins,
            ],
        }
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Refuses => "refuses",
            Self::HangsUp => "hangs up",
            Self::Resets => "resets",
            Self::TalksNonsense => "talks nonsense",
            Self::Cut => "cut after a drain of 1 s",
            Self::Drains => "drains",
            Self::Leaves => "leaves",
            Self::Joins => "joins",
            Self::Disabled => "disabled",
            Self::Reweighted => "reweighted",
        }
    }

    /// Whether it may look like that to a client. Nothing excuses wrong bytes, a hang, or a proxy that does not
    /// accept; and what a well-behaved backend does excuses nothing at all.
    fn may_look_like(self, app: App, form: &Form) -> bool {
        let bad_gateway =
            |words: &[&str]| matches!(form, Form::Status(502, word) if words.contains(&word.as_str()));
        match self {
            Self::Killed => {
                *form == Form::Cut || bad_gateway(&["no_response", "bad_response", "connect_failed"])
            }
            // A TCP client is told nothing but that it is over.
            Self::Refuses => bad_gateway(&["connect_failed"]) || (app == App::Database && *form == Form::Cut),
            // A connection that is closed or reset may be so while the next request is on its way to it.
            Self::HangsUp | Self::Resets => bad_gateway(&["no_response"]),
            Self::TalksNonsense => bad_gateway(&["no_response", "bad_response"]),
            Self::Cut => matches!(form, Form::Cut | Form::NoAnswer),
            Self::Drains | Self::Leaves | Self::Joins | Self::Disabled | Self::Reweighted => false,
        }
    }
}

/// One that was committed; times are since the beginning.
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) app: App,
    pub(crate) backend: String,
    pub(crate) begun: Duration,
    /// `None`: not yet mended.
    pub(crate) over: Option<Duration>,
}

/// How long after its end a fault may still be felt: what was on its way, and the clients' own delay in noting it.
const AFTERMATH: Duration = Duration::from_millis(500);

impl Fault {
    /// Whether something of that app that began and ended then can have failed so because of it.
    pub(crate) fn explains(&self, app: App, begun: Duration, ended: Duration, form: &Form) -> bool {
        let over = self.over.map_or(Duration::MAX, |over| over + AFTERMATH);
        self.app == app && begun <= over && ended >= self.begun && self.kind.may_look_like(app, form)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.begun.as_secs_f64())?;
        match self.over {
            Some(over) => write!(f, " to {:.3} s", over.as_secs_f64())?,
            None => f.write_str(" on")?,
        }
        write!(f, ": {} {}", self.backend, self.kind.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: Kind) -> Fault {
        Fault {
            kind,
            app: App::Shop,
            backend: "b".to_owned(),
            begun: Duration::from_secs(10),
            over: Some(Duration::from_secs(12)),
        }
    }

    fn at(fault: &Fault, from: u64, to: u64, form: &Form) -> bool {
        fault.explains(
            App::Shop,
            Duration::from_secs(from),
            Duration::from_secs(to),
            form,
        )
    }

    #[test]
    fn a_fault_explains_what_it_overlaps_and_what_it_looks_like() {
        let killed = fault(Kind::Killed);
        assert!(at(&killed, 9, 11, &Form::Cut));
        assert!(at(&killed, 11, 14, &Form::Status(502, "no_response".into())));
        assert!(!at(&killed, 8, 9, &Form::Cut), "before");
        assert!(!at(&killed, 13, 14, &Form::Cut), "after");
        assert!(!at(&killed, 11, 12, &Form::Status(503, "no_backend".into())));
        assert!(!killed.explains(
            App::Database,
            Duration::from_secs(11),
            Duration::from_secs(11),
            &Form::Cut
        ));
    }

    #[test]
    fn nothing_excuses_wrong_bytes_and_a_change_excuses_nothing() {
        for app in [App::Shop, App::Database] {
            for kind in Kind::of(app) {
                for form in [Form::Wrong, Form::Late, Form::Unreachable] {
                    assert!(!kind.may_look_like(app, &form), "{kind:?} {form:?}");
                }
            }
        }
        for kind in [
            Kind::Drains,
            Kind::Leaves,
            Kind::Joins,
            Kind::Disabled,
            Kind::Reweighted,
        ] {
            assert!(!kind.may_look_like(App::Database, &Form::Cut), "{kind:?}");
        }
    }
}
