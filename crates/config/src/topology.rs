//! What the file says of apps, routes and backends, and what only shows once all of it has been read.

use edgeproxy_backend::AppName;

use crate::app::{self, App, RawApp};
use crate::backend::{self, RawBackend, StaticBackend};
use crate::draft::Draft;
use crate::region::{self, Geography, RawRegion};
use crate::route::{self, RawRoute, Route};

/// The apps, routes and backends of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// The `[apps.NAME]`, by name. An app that isn't here is as the settings say.
    pub apps: Vec<App>,
    /// The `[[routes]]`, the one that is asked first at the front: see [`Route`].
    pub routes: Vec<Route>,
    /// The `[[backends]]`, as they stand in the file.
    pub backends: Vec<StaticBackend>,
    /// What `[regions]` says besides which regions there are.
    pub geography: Geography,
}

impl Topology {
    /// The table of that app, where it has one.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&App> {
        let index = self.apps.binary_search_by(|app| app.name.cmp(name)).ok()?;
        self.apps.get(index)
    }

    /// The backends of that app that stand in the file.
    pub fn backends_of(&self, app: &AppName) -> impl Iterator<Item = &StaticBackend> {
        self.backends
            .iter()
            .filter(move |found| found.backend.app == *app)
    }
}

/// The tables that have been read and have no fault of their own.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) apps: Vec<RawApp>,
    pub(crate) routes: Vec<RawRoute>,
    pub(crate) backends: Vec<RawBackend>,
    pub(crate) regions: Vec<RawRegion>,
}

/// Joins the sections with the settings, once every layer has been read.
pub(crate) fn resolve(draft: &mut Draft<'_>) {
    let sections = std::mem::take(&mut draft.sections);
    draft.topology = Topology {
        apps: app::resolve(draft, sections.apps),
        routes: route::resolve(draft, sections.routes),
        backends: backend::resolve(draft, sections.backends),
        geography: region::resolve(draft, sections.regions),
    };
}
