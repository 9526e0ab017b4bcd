//! `GET /api/v1/config`: what is in force, where each value comes from, and what became of the last reload.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// Who knows the configuration in force. Implemented where it is read.
pub trait Configured: Send + Sync {
    /// It, as of now.
    fn configuration(&self) -> Arc<Configuration>;
}

/// The configuration in force.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Configuration {
    /// 1 at the start, and one more with each reload that was applied.
    pub version: u64,
    /// When it came into force, in seconds since 1970.
    pub unix_secs: u64,
    /// The file that was read, if there is one.
    pub file: Option<String>,
    /// Every setting, in the order of the reference.
    pub settings: Vec<SettingInForce>,
    /// The `[[listeners]]` of the file.
    pub listeners: Vec<Map<String, Value>>,
    /// The `[apps.NAME]` of the file, with what they don't say themselves as it holds for them.
    pub apps: Vec<Map<String, Value>>,
    /// The `[[routes]]`, the one that is asked first at the front.
    pub routes: Vec<Map<String, Value>>,
    /// The `[[backends]]` of the file.
    pub backends: Vec<Map<String, Value>>,
    /// Every region by its name.
    pub regions: Map<String, Value>,
    /// How many times a reload was asked for, by whatever means.
    pub reloads: u64,
    /// The last time that one was. `None`: never.
    pub last_reload: Option<LastReload>,
}

/// A setting as it is in force.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SettingInForce {
    /// Its key in the file.
    pub key: &'static str,
    /// Its value, by the file's types. `null` is none; what is secret is `"***"`.
    pub value: Value,
    /// Which layer said it.
    pub from: Layer,
    /// Where in the file it is said, as `path:line:column`.
    pub place: Option<String>,
    /// Its variable.
    pub variable: String,
    /// Its flag.
    pub flag: String,
    /// Whether a reload can change it. Otherwise it takes a restart.
    pub live: bool,
}

/// Which layer a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// None said anything.
    Default,
    /// The file.
    File,
    /// A variable.
    Environment,
    /// A flag.
    Flag,
}

/// What became of a reload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LastReload {
    /// When it ended, in seconds since 1970.
    pub unix_secs: u64,
    /// What asked for it: `signal` or `file`.
    pub by: &'static str,
    /// Whether it is in force.
    #[serde(rename = "result", serialize_with = "result")]
    pub applied: bool,
    /// What it changed, each in a few words; the first hundred.
    pub changes: Vec<String>,
    /// Why it was refused.
    pub problems: Vec<ReloadProblem>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn result<S: Serializer>(applied: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *applied { "applied" } else { "refused" })
}

/// Something that is wrong with what was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReloadProblem {
    /// Where, such as `edgeproxy.toml:3:9`, if it has a place.
    pub place: Option<String>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
}

/// `GET /api/v1/config`. The entity tag changes with each reload, refused ones included.
pub(crate) async fn get(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(configured) = &shared.configuration else {
        let error = "this server was not made from a configuration that could be shown";
        return Err(Problem::new(Kind::NothingToShow, error));
    };
    let configuration = configured.configuration();
    let tag = format!("\"{}.{}\"", configuration.version, configuration.reloads);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    Ok(([(ETAG, tag)], Json(&*configuration)).into_response())
}

/// `If-None-Match` (RFC 9110 §13.1.2), by the weak comparison.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
