//! `ProxyEndpoint`: under which path an API is offered, and which endpoint serves it.

use std::path::{Path, PathBuf};

use super::element::{Element, Spot};
use super::notes::{Known, Notes, shown};
use super::rules;
use crate::paths::PathPrefix;
use crate::value::{FromValue, Value};

/// A path, and the endpoint behind it.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) path: PathPrefix,
    pub(super) endpoint: String,
    pub(super) at: Spot,
}

const KNOWN: Known = Known {
    once: &[
        "Description",
        "PreFlow",
        "Flows",
        "PostFlow",
        "PostClientFlow",
        "FaultRules",
        "DefaultFaultRule",
        "HTTPProxyConnection",
    ],
    often: &["RouteRule"],
    attributes: &[],
};

impl Offer {
    /// The one rule without a condition, if it leads to an endpoint of the bundle.
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Option<Self> {
        const CONNECTION: Known = Known {
            once: &["BasePath", "Properties"],
            // The name of a host alias, which another file of another system says.
            often: &["VirtualHost"],
            attributes: &[],
        };
        notes.only(element, &KNOWN);
        let connection = element.child("HTTPProxyConnection")?;
        notes.only(connection, &CONNECTION);
        let mut endpoint = None;
        for rule in element.children("RouteRule") {
            let target = rule
                .child("TargetEndpoint")
                .filter(|target| !target.text.is_empty());
            match target {
                Some(target) if rule.child("Condition").is_none() && endpoint.is_none() => {
                    endpoint = Some(target.text.clone());
                }
                _ => notes.tell(
                    rules::NO_COUNTERPART,
                    &rule.at,
                    "a RouteRule with a condition, or without a TargetEndpoint, has no counterpart",
                    "write [[routes]] with a host, a path_prefix or headers that say the same",
                ),
            }
        }
        let base = connection.child("BasePath")?;
        let text = if base.text.is_empty() { "/" } else { &base.text };
        match PathPrefix::from_value(&Value::Text(text.to_owned())) {
            Ok(path) => Some(Self {
                path,
                endpoint: endpoint?,
                at: base.at.clone(),
            }),
            Err(_) => {
                let message = format!("the path {} has no counterpart as a route", shown(&base.text));
                notes.tell(
                    rules::NO_COUNTERPART,
                    &base.at,
                    message,
                    "write [[routes]] with a path_prefix",
                );
                None
            }
        }
    }
}

/// The folder of a proxy bundle that a file is one of.
pub(super) fn bundle(path: &Path) -> Option<PathBuf> {
    const FOLDERS: &[&str] = &["targets", "policies", "proxies"];
    let folder = path.parent()?;
    let name = folder.file_name()?.to_str()?;
    FOLDERS
        .contains(&name)
        .then(|| folder.parent().map(Path::to_path_buf))
        .flatten()
}
