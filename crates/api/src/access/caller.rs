use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use edgeproxy_access::{AppPattern, Grant, Role};
use edgeproxy_backend::{AppName, BackendId, Incarnation};
use edgeproxy_control::Handle;
use http::Extensions;
use http::request::Parts;

use crate::endpoint::{Endpoint, Need};
use crate::extract::if_match::IfMatch;
use crate::problem::{Kind, Problem};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Somebody whose network is trusted, or anybody where everybody is: there are no tokens, and nobody is told from
    /// another.
    Network,
    /// Who has shown a token or a certificate.
    Granted(Arc<Grant>),
    /// Somebody who hasn't shown anything, and is answered where nothing is needed.
    Stranger,
}

impl Caller {
    /// The one of a request that has passed the guard.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self::Stranger)
    }

    /// Whether an endpoint is for this caller at all.
    pub(crate) fn check(&self, endpoint: Endpoint) -> Result<(), Problem> {
        let (role, everywhere) = match endpoint.need {
            Need::Nothing => return Ok(()),
            Need::Role(role) => (role, false),
            Need::Everywhere(role) => (role, true),
        };
        let grant = match self {
            Self::Network => return Ok(()),
            Self::Granted(grant) => grant,
            // The guard lets nobody come so far.
            Self::Stranger => return Err(Problem::new(Kind::TokenRequired, "this needs a token")),
        };
        let Endpoint { method, path, .. } = endpoint;
        if !grant.role.includes(role) {
            return Err(Problem::new(
                Kind::RoleTooLow,
                format!(
                    "{method} {path} takes the role {role}; {} has {}",
                    told(grant),
                    grant.role
                ),
            ));
        }
        if everywhere && !self.is_for_all() {
            return Err(Problem::new(
                Kind::OtherApp,
                format!(
                    "{method} {path} is about all apps; {} is for {}",
                    told(grant),
                    grant.apps
                ),
            ));
        }
        Ok(())
    }

    /// Whether it may see that app.
    pub(crate) fn covers(&self, app: &AppName) -> bool {
        match self {
            Self::Network => true,
            Self::Granted(grant) => grant.apps.covers(app),
            Self::Stranger => false,
        }
    }

    /// Refuses what is about an app that isn't the caller's, and that the caller has named.
    pub(crate) fn check_app(&self, app: &AppName) -> Result<(), Problem> {
        match self {
            Self::Granted(grant) if !grant.apps.covers(app) => Err(Problem::new(
                Kind::OtherApp,
                format!(
                    "{} is for app {}, not for {app:?}",
                    told(grant),
                    grant.apps,
                    app = app.as_str()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses what is about a backend of an app that isn't the caller's. Which app it is, is not told: it was looked up here,
    /// and the caller may not see it.
    pub(crate) fn check_backend(&self, id: &BackendId, app: &AppName) -> Result<(), Problem> {
        match self {
            Self::Granted(grant) if !grant.apps.covers(app) => {
                let (told, apps) = (told(grant), &grant.apps);
                let error = format!("{told} is for app {apps}, and backend {id} belongs to another");
                Err(Problem::new(Kind::OtherApp, error).with_id(id))
            }
            _ => Ok(()),
        }
    }

    /// The incarnation that a change of that backend may go to, where the backend is one of the caller's.
    ///
    /// Who may change some apps only is held to the incarnation that was looked at: the id could be another app's by the
    /// time that the change is made.
    pub(crate) fn fence(
        &self,
        handle: &Handle,
        id: &BackendId,
        if_match: &IfMatch,
        unknown: fn(&BackendId) -> Problem,
    ) -> Result<Option<Incarnation>, Problem> {
        if self.is_for_all() {
            return if_match.fence(handle, id, unknown);
        }
        let status = handle.get(id).ok_or_else(|| unknown(id))?;
        self.check_backend(id, &status.endpoint.backend.app)?;
        let fence = if_match.fence(handle, id, unknown)?;
        Ok(fence.or(Some(status.endpoint.incarnation)))
    }

    pub(crate) fn is_for_all(&self) -> bool {
        match self {
            Self::Network => true,
            Self::Granted(grant) => grant.apps == AppPattern::Any,
            Self::Stranger => false,
        }
    }

    /// What it may do, as far as that differs.
    pub(crate) fn role(&self) -> Option<Role> {
        match self {
            Self::Granted(grant) => Some(grant.role),
            Self::Network | Self::Stranger => None,
        }
    }
}

/// Who it is in a sentence.
pub(crate) fn told(grant: &Grant) -> String {
    format!("the {} {:?}", grant.kind.as_str(), grant.name())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Where a request comes from, as far as the socket tells.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) Option<SocketAddr>);

impl Peer {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let connected = extensions.get::<ConnectInfo<SocketAddr>>();
        Self(connected.map(|ConnectInfo(peer)| *peer))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
