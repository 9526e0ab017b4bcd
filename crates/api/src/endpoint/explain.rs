use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use edgeproxy_backend::{AppName, BackendId, Country, Region};
use serde::Serialize;

use crate::access::caller::Caller;
use crate::extract::fields::excerpt;
use crate::extract::query::Params;
use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// Who knows how the next request would be balanced. Implemented where the routing table is.
pub trait Explain: Send + Sync {
    /// What would be picked now for that client, and why; `None` if there is no such app.
    fn explain(&self, app: &AppName, client: &ClientQuery) -> Option<Explanation>;

    /// How the app is balanced, for its policy; `None` leaves it out.
    fn balancing(&self, app: &AppName) -> Option<Balancing> {
        let _ = app;
        None
    }
}

/// The client that an explanation is for. Whatever is unknown is derived from the address, as for a real
/// request, or stays unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientQuery {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its country, in place of what the address says.
    pub country: Option<Country>,
    /// Its region, in place of what the address says.
    pub region: Option<Region>,
    /// The value that it brings of the header or cookie that the app hashes.
    pub hash: Option<String>,
    /// The value that it brings of the header or cookie by which the app knows clients again.
    pub sticky: Option<String>,
}

/// How an app is balanced, by the names of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Balancing {
    /// Such as `region_affinity`.
    pub algorithm: String,
    /// `hard` or `soft`.
    pub spill: String,
}

/// Which backend would be picked, and for every other one, why not.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// The app.
    pub app: AppName,
    /// Its algorithm, by the name of the configuration.
    pub algorithm: String,
    /// The client, as the balancer saw it.
    pub client: ExplainedClient,
    /// The backend that it is bound to, whether that may be picked or not.
    pub bound: Option<BackendId>,
    /// Whether the backends' health is ignored, since too few are well (`panic_threshold`).
    pub ignores_health: bool,
    /// The tiers for this client, nearest first.
    pub tiers: Vec<ExplainedTier>,
    /// Every backend of the app.
    pub candidates: Vec<ExplainedCandidate>,
    /// The one that would be picked.
    pub picked: Option<BackendId>,
    /// Why none would be.
    pub error: Option<String>,
}

/// The client of an [`Explanation`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ExplainedClient {
    /// Its address, if one was given.
    pub ip: Option<IpAddr>,
    /// Its country, if known.
    pub country: Option<Country>,
    /// Its region, if known.
    pub region: Option<Region>,
}

/// A tier of an [`Explanation`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ExplainedTier {
    /// 0, the nearest, to 3. The last may come several times, once for each region in its order.
    pub tier: usize,
    /// What its backends share, such as `country DE`.
    pub name: String,
    /// How many candidates it has.
    pub candidates: usize,
    /// What became of it, such as `all at their hard limit`.
    pub why: String,
}

/// A backend of an [`Explanation`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ExplainedCandidate {
    /// The backend.
    pub id: BackendId,
    /// Its tier, unless it is in none.
    pub tier: Option<usize>,
    /// Its state, by the name that a listing has for it.
    pub state: String,
    /// Its weight.
    pub weight: u16,
    /// Its weight now, with what slow start and its own load reports make of it.
    pub effective_weight: f64,
    /// Its requests under way.
    pub in_flight: u32,
    /// What it has under way for others, by what it reports.
    pub elsewhere: u32,
    /// Its soft limit; 0 is none.
    pub soft_limit: u32,
    /// Its hard limit; 0 is none.
    pub hard_limit: u32,
    /// What the algorithm compares, where it compares.
    pub score: Option<f64>,
    /// Whether it is the one.
    pub picked: bool,
    /// Why it is, or is not.
    pub why: String,
}

/// `GET /api/v1/explain`.
pub(crate) async fn explain(
    State(shared): State<Shared>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, Problem> {
    let app = params.required("app", |text| {
        AppName::parse(text).map_err(|error| error.to_string())
    });
    let ip = params.optional("client_ip", |text| {
        let literal = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
        literal.map_err(|_| format!("is {:?}; expected an IPv4 or IPv6 address", excerpt(text)))
    });
    let country = params.optional("country", |text| {
        Country::parse(text).map_err(|error| error.to_string())
    });
    let terms = shared.terms.in_force();
    let region = params.optional("region", |text| {
        terms.admission.region(text).map(|(region, _)| region)
    });
    let hash = params.optional("hash", |text| Ok(text.to_owned()));
    let sticky = params.optional("sticky", |text| Ok(text.to_owned()));
    params.finish()?;
    app.as_ref().map_or(Ok(()), |app| caller.check_app(app))?;
    // A bad or missing app has been refused above.
    let explanation = app
        .as_ref()
        .and_then(|app| {
            let query = ClientQuery {
                ip,
                country,
                region,
                hash,
                sticky,
            };
            shared.explain.explain(app, &query)
        })
        .ok_or_else(|| {
            let app = app.as_ref().map_or("", AppName::as_str);
            Problem::new(Kind::UnknownApp, format!("no app {app:?} has a backend"))
        })?;
    Ok(Json(explanation).into_response())
}
