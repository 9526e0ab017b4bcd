//! Which backends are shown, in which order, and from where on.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::top::fleet::{Backend, Fleet};

/// What somebody has chosen to see.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) order: Order,
    pub(crate) is_reversed: bool,
    /// Words that all have to be in what is known of a backend.
    pub(crate) filter: String,
    pub(crate) selected: Option<String>,
    /// Whether everything of the one that is selected is shown.
    pub(crate) detail: bool,
    /// From which line on, where there is no room for all of it.
    pub(crate) detail_from: usize,
    /// The first row that is in sight.
    pub(crate) offset: usize,
    /// Where the selection was, for when what was selected is gone.
    index: usize,
}

/// By what rows are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Those first that get nothing.
    #[default]
    Trouble,
    Name,
    /// The most requests a second first.
    Requests,
    /// The most failures a second first.
    Errors,
    /// The slowest first.
    Latency,
    /// The fullest first.
    Load,
}

impl Order {
    pub(crate) const ALL: [Self; 6] = [
        Self::Trouble,
        Self::Name,
        Self::Requests,
        Self::Errors,
        Self::Latency,
        Self::Load,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Load => "load",
        }
    }

    pub(crate) fn next(self) -> Self {
        self.further(1)
    }

    pub(crate) fn previous(self) -> Self {
        self.further(Self::ALL.len() - 1)
    }

    fn further(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|order| *order == self);
        let further = (at.unwrap_or_default() + by) % Self::ALL.len();
        Self::ALL.get(further).copied().unwrap_or_default()
    }

    fn compare(self, a: &Backend, b: &Backend) -> Ordering {
        let (x, y) = (&a.now, &b.now);
        match self {
            Self::Trouble => rank(&a.view.state).cmp(&rank(&b.view.state)),
            Self::Name => Ordering::Equal,
            Self::Requests => y.0.total_cmp(&x.0),
            Self::Errors => y.1.total_cmp(&x.1),
            Self::Latency => y.2.unwrap_or(0.0).total_cmp(&x.2.unwrap_or(0.0)),
            Self::Load => load(b).total_cmp(&load(a)),
        }
    }
}

/// How worrying a state is: the most first.
fn rank(state: &str) -> usize {
    [
        "ejected",
        "unhealthy",
        "suspect",
        "trial",
        "draining",
        "disabled",
        "routable",
    ]
    .iter()
    .position(|name| *name == state)
    .unwrap_or(usize::MAX)
}

/// How full one is, from 0 to 1: of the hard limit, or where there is none of what would be much for it.
#[allow(clippy::cast_precision_loss, reason = "it is a length on the screen")]
pub(crate) fn load(Backend { view, now, .. }: &Backend) -> f64 {
    (now.3 as f64 / whole(view.soft_limit, view.hard_limit, now.3)).min(1.0)
}

/// Where the soft limit is of that, if there is one below the hard one.
#[allow(clippy::cast_precision_loss, reason = "it is a place on the screen")]
pub(crate) fn soft_mark(Backend { view, now, .. }: &Backend) -> Option<f64> {
    let mark = view.soft_limit as f64 / whole(view.soft_limit, view.hard_limit, now.3);
    (view.soft_limit > 0 && mark < 1.0).then_some(mark)
}

#[allow(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
fn whole(soft: u64, hard: u64, in_flight: u64) -> f64 {
    match (soft, hard) {
        (_, 1..) => hard as f64,
        (1.., 0) => soft as f64 * 1.5,
        (0, 0) => in_flight.max(10) as f64,
    }
}

/// What an app's backends do together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct AppFigures {
    pub(crate) backends: usize,
    pub(crate) taking: usize,
    pub(crate) rate: f64,
    pub(crate) errors: f64,
    pub(crate) in_flight: u64,
    /// Sums of latencies weighted by their rates, and of those rates.
    slow: (f64, f64),
}

impl AppFigures {
    /// The mean, of those that answer just now.
    pub(crate) fn latency(&self) -> Option<f64> {
        (self.slow.1 > 0.0).then(|| self.slow.0 / self.slow.1)
    }
}

/// The apps by their names.
pub(crate) fn apps(fleet: &Fleet) -> BTreeMap<&str, AppFigures> {
    let mut apps: BTreeMap<&str, AppFigures> = BTreeMap::new();
    for Backend { view, now, .. } in fleet.backends() {
        let app = apps.entry(view.app.as_str()).or_default();
        app.backends += 1;
        app.taking += usize::from(view.takes_traffic());
        app.rate += now.0;
        app.errors += now.1;
        app.in_flight += now.3;
        if let Some(latency) = now.2 {
            app.slow.0 += latency * now.0;
            app.slow.1 += now.0;
        }
    }
    apps
}

impl View {
    /// Those that are asked for, in their order; equal ones by name.
    pub(crate) fn rows<'a>(&self, fleet: &'a Fleet) -> Vec<&'a Backend> {
        let words: Vec<String> = self
            .filter
            .to_lowercase()
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect();
        let mut rows: Vec<&Backend> = fleet
            .backends()
            .filter(|backend| matches(backend, &words))
            .collect();
        rows.sort_by(|a, b| {
            let order = self.order.compare(a, b).then_with(|| a.key.cmp(&b.key));
            if self.is_reversed { order.reverse() } else { order }
        });
        rows
    }

    /// Selects the row that is so many further.
    pub(crate) fn step(&mut self, rows: &[String], by: isize) {
        let last = rows.len().saturating_sub(1);
        self.index = self.index.saturating_add_signed(by).min(last);
        self.selected = rows.get(self.index).cloned();
    }

    /// Keeps the selection on something that is there, and in sight.
    pub(super) fn settle(&mut self, rows: &[String], height: usize) {
        let at = self
            .selected
            .as_ref()
            .and_then(|id| rows.iter().position(|row| row == id));
        match at {
            Some(at) => self.index = at,
            None => self.step(rows, 0),
        }
        if self.selected.is_none() {
            self.detail = false;
        }
        let most = rows.len().saturating_sub(height);
        let least = (self.index + 1).saturating_sub(height);
        self.offset = self.offset.clamp(least, self.index.max(least)).min(most);
    }
}

/// Whether all of these words are in what is known of one.
fn matches(Backend { view, .. }: &Backend, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut text = [
        view.id.as_str(),
        &view.app,
        &view.region,
        &view.country,
        &view.address(),
        &view.protocol,
        &view.state,
    ]
    .join(" ");
    for (key, value) in &view.metadata {
        text.push_str(&format!(" {key} {}", value.as_str().unwrap_or_default()));
    }
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_of_the_hard_limit_or_else_of_what_would_be_much() {
        assert_eq!(
            [
                whole(100, 150, 3),
                whole(100, 0, 3),
                whole(0, 0, 3),
                whole(0, 0, 30)
            ],
            [150.0, 150.0, 10.0, 30.0]
        );
    }
}
