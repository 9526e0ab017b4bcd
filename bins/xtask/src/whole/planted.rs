//! Rules of the product, each with a change of the source that breaks it.

/// A change that compiles, and breaks one rule. What is enforced in two places is broken in both.
pub(super) struct Mutant {
    /// What doesn't hold any more.
    pub(super) rule: &'static str,
    pub(super) changes: &'static [Change],
    /// By which of the simulation's rules it is noticed: the first that is broken in a run is the one that is told.
    pub(super) noticed_by: &'static [&'static str],
    /// Within how many histories.
    pub(super) within: u64,
}

/// Within which nearly each is found.
const USUAL: u64 = 1_000;
/// What is reached seldom: most of the time something else keeps the rule, too.
const SELDOM: u64 = 6_000;

/// In one file, of a text that is there once.
pub(super) struct Change {
    pub(super) file: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

pub(super) const MUTANTS: [Mutant; 16] = [
    Mutant {
        rule: "a backend is ejected at max_failures",
        changes: &[Change {
            file: "crates/backend/src/meter/in_flight.rs",
            from: "streak >= max_failures =>",
            to: "streak >= max_failures + 3 =>",
        }],
        noticed_by: &["Ejected"],
        within: USUAL,
    },
    Mutant {
        rule: "a lease ends with its TTL",
        changes: &[Change {
            file: "crates/registry/src/entry.rs",
            from: "Leases::Here => self.lease_end(),",
            to: "Leases::Here => Active::NEVER,",
        }],
        noticed_by: &["Expired"],
        within: USUAL,
    },
    Mutant {
        rule: "a fenced DELETE of an earlier life harms no later one",
        changes: &[Change {
            file: "crates/registry/src/registry/heartbeat.rs",
            from: "Some(found) if found != live =>",
            to: "Some(found) if found > live =>",
        }],
        noticed_by: &["Lost", "Returns", "Agreement"],
        within: USUAL,
    },
    Mutant {
        rule: "a mass expiry is distrusted",
        changes: &[Change {
            file: "crates/registry/src/registry/guard.rs",
            from: "missing >= MIN_MISSING && missing * 2 > seasoned",
            to: "missing >= MIN_MISSING && missing > seasoned",
        }],
        noticed_by: &["MassExpiry"],
        within: USUAL,
    },
    Mutant {
        rule: "a trial is one request",
        changes: &[Change {
            file: "crates/backend/src/meter.rs",
            from: "if trial && self.swap(word, word.with_gate(Gate::TrialBusy)).is_err() {",
            to: "if trial && self.swap(word, word.with_gate(Gate::Trial)).is_err() {",
        }],
        noticed_by: &["Trial"],
        within: USUAL,
    },
    Mutant {
        rule: "a hard limit is never exceeded",
        changes: &[
            Change {
                file: "crates/backend/src/meter.rs",
                from: "while count < hard {",
                to: "while count <= hard {",
            },
            Change {
                file: "crates/backend/src/numbers.rs",
                from: "self.hard == 0 || in_flight < self.hard",
                to: "self.hard == 0 || in_flight <= self.hard",
            },
        ],
        noticed_by: &["HardLimit"],
        within: USUAL,
    },
    Mutant {
        rule: "one that drains gets nothing new",
        changes: &[
            Change {
                file: "crates/registry/src/entry.rs",
                from: "State::Draining | State::Disabled => Gate::Closed,",
                to: "State::Draining => Gate::Open,\n        State::Disabled => Gate::Closed,",
            },
            Change {
                file: "crates/registry/src/state.rs",
                from: "matches!(self, Self::Routable | Self::Trial | Self::Suspect)",
                to: "matches!(self, Self::Routable | Self::Trial | Self::Suspect | Self::Draining)",
            },
        ],
        noticed_by: &["Draining"],
        within: USUAL,
    },
    Mutant {
        rule: "a resync removes who is gone",
        changes: &[Change {
            file: "crates/registry/src/registry/foreign.rs",
            from: "let missing = self.missing_from(&records);",
            to: "let missing: Vec<(BackendId, Incarnation)> = self.missing_from(&records).into_iter().take(0).collect();",
        }],
        noticed_by: &["Draining", "Expired", "Agreement"],
        within: USUAL,
    },
    Mutant {
        rule: "that an earlier life is gone removes no later one",
        changes: &[Change {
            file: "crates/registry/src/registry/foreign.rs",
            from: "if entry.endpoint.incarnation > incarnation {",
            to: "if entry.endpoint.incarnation < incarnation {",
        }],
        noticed_by: &[
            "Lost",
            "Agreement",
            "Returns",
            "Flapping",
            "Panic",
            "Excluded",
            "Expired",
            "Ejected",
        ],
        within: SELDOM,
    },
    Mutant {
        rule: "in flight comes to zero when a request is dropped, however it ended",
        changes: &[Change {
            file: "crates/backend/src/meter/in_flight.rs",
            from: "        self.meter().leave();",
            to: "        if !self.trial {\n            self.meter().leave();\n        }",
        }],
        noticed_by: &["Zero", "Returns", "GivenUp"],
        within: USUAL,
    },
    Mutant {
        rule: "a store that is back is asked to keep what it doesn't know",
        changes: &[Change {
            file: "crates/control/src/keeper.rs",
            from: "state.registry.handle_not_kept(&batch.writes);",
            to: "state.registry.handle_kept(&batch.writes);",
        }],
        noticed_by: &["Lost", "Agreement", "Draining"],
        within: USUAL,
    },
    Mutant {
        rule: "what one proxy has heard the owner of the lease is told",
        changes: &[Change {
            file: "crates/store/src/cluster.rs",
            from: "        for id in ids {\n            if let Some(entry) = self.backends.get_mut(id) {\n                entry.renew(now);",
            to: "        for id in ids.iter().take(0) {\n            if let Some(entry) = self.backends.get_mut(id) {\n                entry.renew(now);",
        }],
        noticed_by: &["Lost", "Flapping"],
        within: USUAL,
    },
    Mutant {
        rule: "a request goes to nobody who has had it, as long as somebody else is there",
        changes: &[Change {
            file: "crates/balance/src/admissions.rs",
            from: "if tried.contains(&endpoint.incarnation) {",
            to: "if tried.len() > 1 && tried.contains(&endpoint.incarnation) {",
        }],
        noticed_by: &["Repeated"],
        within: USUAL,
    },
    Mutant {
        rule: "a request that may be repeated is tried elsewhere when no response came in time",
        changes: &[Change {
            file: "crates/balance/src/retry.rs",
            from: "Failed::NoResponse | Failed::ResponseTimeout | Failed::Malformed",
            to: "Failed::NoResponse | Failed::Malformed",
        }],
        noticed_by: &["GivenUp"],
        within: USUAL,
    },
    Mutant {
        rule: "the budget of retries holds what ten seconds bring",
        changes: &[Change {
            file: "crates/balance/src/retry/budget.rs",
            from: "const HELD_SECS: u64 = 10;",
            to: "const HELD_SECS: u64 = 1;",
        }],
        noticed_by: &["GivenUp"],
        within: USUAL,
    },
    Mutant {
        rule: "nobody is full who has a place left",
        changes: &[Change {
            file: "crates/backend/src/meter.rs",
            from: "while count < hard {",
            to: "while count + 1 < hard {",
        }],
        noticed_by: &["GivenUp"],
        within: USUAL,
    },
];
