use std::fmt;
use std::time::Duration;

/// Whether a backend gets requests, in one word. Where several reasons hold, the one that is listed last
/// here wins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// It gets requests.
    Routable,
    /// Its lease ran out in a mass expiry, or among several registries; it gets requests while a TCP probe reaches it.
    Suspect,
    /// It gets one request at a time, until one succeeds.
    Trial,
    /// Too many consecutive requests failed.
    Ejected,
    /// Too many consecutive probes failed, or it awaits its first.
    Unhealthy,
    /// It is leaving: no new request, what is in flight goes on.
    Draining,
    /// Switched off by an operator, or its weight is 0.
    Disabled,
}

impl State {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Routable,
        Self::Trial,
        Self::Ejected,
        Self::Unhealthy,
        Self::Draining,
        Self::Disabled,
        Self::Suspect,
    ];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routable => "routable",
            Self::Trial => "trial",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Suspect => "suspect",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// What keeps a backend in this state from getting requests; `None`: nothing does.
    #[must_use]
    pub const fn excluded_by(self) -> Option<Cause> {
        match self {
            Self::Routable | Self::Suspect | Self::Trial => None,
            Self::Ejected | Self::Unhealthy => Some(Cause::Health),
            Self::Disabled => Some(Cause::Operator),
            Self::Draining => Some(Cause::Lease),
        }
    }

    /// Whether a backend in this state may get a request.
    #[must_use]
    pub const fn takes_traffic(self) -> bool {
        matches!(self, Self::Routable | Self::Trial | Self::Suspect)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of reason keeps a backend out: whether it can't, may not, or doesn't want to get requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// Failed requests, or failed probes. It may be better than none.
    Health,
    /// Somebody switched it off, or its weight is 0.
    Operator,
    /// It is leaving, by its own wish or after its deregistration.
    Lease,
}

/// Why a backend is in its [`State`]. `Display` is a sentence for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing is against it.
    Well,
    /// It was restored after a restart, and has not been heard of since.
    Restored,
    /// It was restored, and a probe didn't reach it.
    Absent,
    /// Its lease ran out together with most of its app's.
    MassExpiry {
        /// Since when.
        since: Duration,
        /// When it is removed at the latest.
        removed_in: Duration,
    },
    /// Its lease has run out, as far as is known here, and nobody has ended it yet.
    Overdue {
        /// Since when.
        since: Duration,
    },
    /// As before, and a probe didn't reach it.
    Unreached,
    /// It was ejected and is being tried.
    Trial,
    /// Consecutive requests failed.
    Failures {
        /// How many.
        streak: u32,
        /// When it gets its trial at the latest.
        trial_in: Duration,
    },
    /// Consecutive probes failed.
    Probes {
        /// How many, since it was last healthy.
        streak: u32,
    },
    /// It awaits its first passing probe.
    FirstProbe,
    /// It, or someone for it, deregistered it.
    Deregistered {
        /// When what is in flight is cut.
        cut_in: Duration,
    },
    /// It said so itself, in a heartbeat.
    SelfDraining,
    /// An operator switched it off.
    Operator,
    /// Its weight is 0.
    WeightZero,
}

impl Reason {
    /// A state and why it is that: `ejected: 3 consecutive requests failed; …`. A reason that begins with the state's word
    /// stands alone.
    #[must_use]
    pub fn told_of(self, state: State) -> String {
        let (state, reason) = (state.to_string(), self.to_string());
        if reason.starts_with(&state) {
            reason
        } else {
            format!("{state}: {reason}")
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("takes traffic"),
            Self::Restored => {
                f.write_str("takes traffic; restored after a restart, until a probe or a heartbeat tells more")
            }
            Self::Absent => f.write_str(
                "restored after a restart, but no TCP connection to it could be made; back with its next heartbeat, \
                 or as soon as a probe reaches it",
            ),
            Self::MassExpiry { since, removed_in } => write!(
                f,
                "its lease ran out {} s ago together with most of its app's; kept while a TCP probe reaches it, \
                 for {} s more at the most",
                since.as_secs(),
                removed_in.as_secs()
            ),
            Self::Overdue { since } => write!(
                f,
                "its lease ran out {} s ago; kept while a TCP probe reaches it: until it is known that no other proxy \
                 has heard it, and for three TTLs where most of its app fell silent with it",
                since.as_secs()
            ),
            Self::Unreached => f.write_str(
                "its lease ran out, and no TCP connection to it could be made; back with its next heartbeat, or as soon \
                 as a probe reaches it",
            ),
            Self::Trial => f.write_str("on trial: one request at a time until one succeeds"),
            Self::Failures { streak, trial_in } => {
                failed(f, *streak, "request")?;
                write!(f, "; on trial in {} s at the latest", trial_in.as_secs())
            }
            Self::Probes { streak } => failed(f, *streak, "health check"),
            Self::FirstProbe => f.write_str("awaits its first passing health check"),
            Self::Deregistered { cut_in } => {
                write!(
                    f,
                    "deregistered; requests in flight have {} s to end",
                    cut_in.as_secs()
                )
            }
            Self::SelfDraining => f.write_str("it said so in its heartbeat"),
            Self::Operator => f.write_str("disabled by an operator"),
            Self::WeightZero => f.write_str("its weight is 0: it takes no new traffic"),
        }
    }
}

fn failed(f: &mut fmt::Formatter<'_>, streak: u32, what: &str) -> fmt::Result {
    match streak {
        1 => write!(f, "1 {what} failed"),
        _ => write!(f, "{streak} consecutive {what}s failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_and_its_reason_say_no_word_twice() {
        for (state, reason, told) in [
            (
                State::Draining,
                Reason::SelfDraining,
                "draining: it said so in its heartbeat",
            ),
            (State::Disabled, Reason::Operator, "disabled by an operator"),
            (
                State::Unhealthy,
                Reason::FirstProbe,
                "unhealthy: awaits its first passing health check",
            ),
        ] {
            assert_eq!(reason.told_of(state), told);
        }
    }

    #[test]
    fn a_single_failure_is_not_said_to_be_consecutive() {
        let failures = |streak| {
            let trial_in = Duration::from_secs(30);
            Reason::Failures { streak, trial_in }.to_string()
        };
        assert_eq!(failures(1), "1 request failed; on trial in 30 s at the latest");
        assert_eq!(
            failures(3),
            "3 consecutive requests failed; on trial in 30 s at the latest"
        );
        let probes = |streak| Reason::Probes { streak }.to_string();
        assert_eq!(probes(1), "1 health check failed");
        assert_eq!(probes(2), "2 consecutive health checks failed");
    }
}
