//! From one configuration to the next: what changes, and what can't while the process runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::Settings;
use crate::app::App;
use crate::backend::StaticBackend;
use crate::layers::Loaded;
use crate::listeners::Listener;
use crate::problem::Place;
use crate::region::Geography;
use crate::route::Route;
use crate::setting::Reload;
use crate::shown::{Show, Shown};

/// Something that would be different and can't be before a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// A setting's key, or `listeners`.
    pub key: &'static str,
    /// Where the new value is said; [`Place::Defaults`] where it is not said any more.
    pub place: Place,
    /// What is in force.
    pub old: Shown,
    /// What would be.
    pub new: Shown,
}

/// What is different in another configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Settings by their keys, with the old value and the new one.
    pub settings: Vec<(&'static str, Shown, Shown)>,
    /// `[[listeners]]`, by their names.
    pub listeners: Moved,
    /// `[apps.NAME]`, by their names.
    pub apps: Moved,
    /// `[[routes]]`, by what they are for.
    pub routes: Moved,
    /// `[[backends]]`, by their ids.
    pub backends: Moved,
    /// What `[regions]` says besides which regions there are.
    pub regions: bool,
}

/// What is different among tables that have names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moved {
    /// Those that are new.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those that say something else.
    pub changed: Vec<String>,
}

impl Loaded {
    /// What would take a restart to go over to `next`: each setting of [`Reload::Restart`] that is different, and
    /// each listener that comes or goes.
    #[must_use]
    pub fn frozen(&self, next: &Self) -> Vec<Frozen> {
        let settings = Settings::ALL
            .iter()
            .filter(|setting| setting.reload == Reload::Restart)
            .filter(|setting| (setting.show)(&self.settings) != (setting.show)(&next.settings))
            .map(|setting| Frozen {
                key: setting.key,
                place: next.place(setting.key).cloned().unwrap_or(Place::Defaults),
                old: setting.shown(&self.settings),
                new: setting.shown(&next.settings),
            });
        settings.chain(self.moved_listeners(next)).collect()
    }

    fn moved_listeners(&self, next: &Self) -> Vec<Frozen> {
        // With port 0 several may have the same address.
        let addrs = |loaded: &Self| -> Vec<SocketAddr> {
            let listeners = loaded.settings.listeners.iter();
            listeners.map(|listener| listener.addr).collect()
        };
        let (mut old, mut moved) = (addrs(self), Vec::new());
        for (index, addr) in addrs(next).into_iter().enumerate() {
            if let Some(same) = old.iter().position(|known| *known == addr) {
                old.remove(same);
                continue;
            }
            moved.push(Frozen {
                key: "listeners",
                place: next
                    .listener_places
                    .get(index)
                    .cloned()
                    .unwrap_or(Place::Defaults),
                old: Shown::Nothing,
                new: addr.show(),
            });
        }
        let gone = old.into_iter().map(|addr| Frozen {
            key: "listeners",
            place: next.file.clone().map_or(Place::Defaults, Place::File),
            old: addr.show(),
            new: Shown::Nothing,
        });
        moved.extend(gone);
        moved
    }

    /// What is different in `next`. Where something stands makes no difference.
    #[must_use]
    pub fn changes(&self, next: &Self) -> Changes {
        let settings = Settings::ALL
            .iter()
            .filter(|setting| (setting.show)(&self.settings) != (setting.show)(&next.settings))
            .map(|setting| {
                let (old, new) = (setting.shown(&self.settings), setting.shown(&next.settings));
                (setting.key, old, new)
            });
        let (old, new) = (&self.topology, &next.topology);
        Changes {
            settings: settings.collect(),
            listeners: moved(&self.settings.listeners, &next.settings.listeners),
            apps: moved(&old.apps, &new.apps),
            routes: moved(&old.routes, &new.routes),
            backends: moved(&old.backends, &new.backends),
            regions: old.geography.elsewhere() != new.geography.elsewhere(),
        }
    }
}

/// A table with a name.
trait Named: PartialEq + Sized {
    fn name(&self) -> String;
    /// The same, wherever it stands.
    fn elsewhere(&self) -> Self;
}

impl Named for Listener {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn elsewhere(&self) -> Self {
        self.clone()
    }
}

impl Named for App {
    fn name(&self) -> String {
        self.name.to_string()
    }

    fn elsewhere(&self) -> Self {
        Self {
            place: Place::Defaults,
            places: BTreeMap::new(),
            ..self.clone()
        }
    }
}

impl Named for Route {
    fn name(&self) -> String {
        self.title()
    }

    fn elsewhere(&self) -> Self {
        Self {
            place: Place::Defaults,
            ..self.clone()
        }
    }
}

impl Named for StaticBackend {
    fn name(&self) -> String {
        self.backend.id.to_string()
    }

    fn elsewhere(&self) -> Self {
        Self {
            place: Place::Defaults,
            ..self.clone()
        }
    }
}

impl Geography {
    fn elsewhere(&self) -> Self {
        let mut same = self.clone();
        same.place = None;
        same
    }
}

fn moved<T: Named>(old: &[T], new: &[T]) -> Moved {
    let mut before: BTreeMap<String, &T> = old.iter().map(|table| (table.name(), table)).collect();
    let mut moved = Moved::default();
    for table in new {
        match before.remove(&table.name()) {
            None => moved.added.push(table.name()),
            Some(same) if same.elsewhere() != table.elsewhere() => moved.changed.push(table.name()),
            Some(_) => {}
        }
    }
    moved.removed.extend(before.into_keys());
    moved
}

impl Moved {
    fn lines<'m>(&'m self, what: &'m str) -> impl Iterator<Item = String> + 'm {
        let line = move |names: &'m [String], how: &'m str| {
            names.iter().map(move |name| format!("{what} {name} {how}"))
        };
        line(&self.added, "is new")
            .chain(line(&self.removed, "is gone"))
            .chain(line(&self.changed, "has changed"))
    }
}

impl Changes {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each in a few words, such as `max_failures: 0 -> 5`, or `app shop is new`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let settings = self.settings.iter();
        settings
            .map(|(key, old, new)| format!("{key}: {old} -> {new}"))
            .chain(self.listeners.lines("listener"))
            .chain(self.apps.lines("app"))
            .chain(self.routes.lines("route"))
            .chain(self.backends.lines("backend"))
            .chain(self.regions.then(|| "regions have changed".to_owned()))
    }
}

/// On one line. Thousands of backends may have changed, of which a few are named.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 20;
        if self.is_empty() {
            return f.write_str("nothing has changed");
        }
        for (index, line) in self.lines().take(NAMED).enumerate() {
            write!(f, "{}{line}", if index == 0 { "" } else { "; " })?;
        }
        match self.lines().count().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl Frozen {
    /// What was found and what is in force, on one line.
    #[must_use]
    pub fn message(&self) -> String {
        let Self { key, old, new, .. } = self;
        match (old, new) {
            (Shown::Nothing, new) if *key == "listeners" => {
                format!("a listener on {new} is new, and it takes a restart to bind it")
            }
            (old, Shown::Nothing) if *key == "listeners" => {
                format!("the listener on {old} is gone, and it takes a restart to close it")
            }
            _ => format!("{key} is {new}; {old} is in force, and it takes a restart to change it"),
        }
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message())
    }
}

#[cfg(test)]
mod tests;
