use edgeproxy_backend::{AppName, BackendId};
use edgeproxy_registry::EventKind;

use crate::access::caller::Caller;
use crate::extract::fields::excerpt;
use crate::extract::query::Params;

/// Which events somebody wants, of those that are theirs.
pub(super) struct Filter {
    pub(super) caller: Caller,
    pub(super) app: Option<AppName>,
    pub(super) backend: Option<BackendId>,
    /// `None`: all.
    kinds: Option<Vec<EventKind>>,
}

impl Filter {
    pub(super) fn read(caller: Caller, params: &mut Params) -> Self {
        let app = params.optional("app", |text| {
            AppName::parse(text).map_err(|error| error.to_string())
        });
        let backend = params.optional("backend", |text| {
            BackendId::parse(text).map_err(|error| error.to_string())
        });
        let kinds = params.optional("type", |text| text.split(',').map(kind).collect());
        Self {
            caller,
            app,
            backend,
            kinds,
        }
    }

    pub(super) fn takes(&self, kind: EventKind, app: &AppName, backend: &BackendId) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind)) && self.takes_of(app, backend)
    }

    /// Whether anything of that backend.
    pub(super) fn takes_of(&self, app: &AppName, backend: &BackendId) -> bool {
        self.app.as_ref().is_none_or(|wanted| wanted == app)
            && self.backend.as_ref().is_none_or(|wanted| wanted == backend)
            && self.caller.covers(app)
    }
}

fn kind(text: &str) -> Result<EventKind, String> {
    EventKind::from_name(text).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::as_str).join(", ");
        format!("has {:?}; expected some of {known}, with commas", excerpt(text))
    })
}
