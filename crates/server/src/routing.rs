//! From the configuration's routes and apps to the data plane's.

use edgeproxy_config as config;
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::PathPrefixError;

/// What the configuration takes for a route, and the data plane doesn't.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutingError {
    /// No path begins with that.
    #[error("{key} {path}: {source}")]
    Path {
        /// The key that says it.
        key: &'static str,
        /// The path.
        path: String,
        /// What is wrong with it.
        source: PathPrefixError,
    },
    /// No field is like that.
    #[error("headers: {name} with {value:?} is no field of a request")]
    Field {
        /// The name.
        name: String,
        /// The value. `None`: any.
        value: Option<String>,
    },
}

/// How the requests of an app are treated.
///
/// # Errors
/// When `add_prefix` is none that a path can begin with.
pub(crate) fn app_settings(
    app: &config::AppSettings,
    add_prefix: Option<&config::PathPrefix>,
) -> Result<proxy::AppSettings, RoutingError> {
    Ok(proxy::AppSettings {
        max_failures: app.max_failures,
        last_resort: app.last_backend == config::LastBackend::Keep,
        unhealthy_responses: app.unhealthy_responses.ranges().iter().cloned().collect(),
        retry_enabled: app.retry_enabled,
        max_attempts: app.max_attempts,
        replay_max_bytes: app.replay_max_bytes,
        retry_non_idempotent: app.retry_non_idempotent,
        retry_budget_percent: app.retry_budget_percent,
        retry_budget_per_sec: app.retry_budget_per_sec,
        queue_max: app.queue_max,
        queue_timeout: app.queue_timeout,
        connect_timeout: app.connect_timeout,
        response_header_timeout: app.response_header_timeout,
        response_body_timeout: app.response_body_timeout,
        tunnel_idle_timeout: app.tunnel_idle_timeout,
        tcp_idle_timeout: app.tcp_idle_timeout,
        max_body_bytes: app.max_body_bytes,
        add_prefix: add_prefix
            .map(|path| prefix("add_prefix", path))
            .transpose()?
            .unwrap_or_else(proxy::PathPrefix::root),
    })
}

/// The routes, made quick to look up.
///
/// # Errors
/// When a path is none that requests can begin with.
pub(crate) fn routes(routes: &[config::Route]) -> Result<proxy::Routes, RoutingError> {
    let routes: Result<Vec<_>, _> = routes.iter().map(route).collect();
    Ok(proxy::Routes::new(routes?))
}

fn route(route: &config::Route) -> Result<proxy::Route, RoutingError> {
    let fields: Result<Vec<_>, _> = route.headers.iter().map(field).collect();
    Ok(proxy::Route {
        host: match &route.host {
            config::HostMatch::Any => proxy::HostPattern::Any,
            config::HostMatch::Below(name) => proxy::HostPattern::Below(name.as_str().to_owned()),
            config::HostMatch::Exact(name) => proxy::HostPattern::Exact(name.as_str().to_owned()),
        },
        path: prefix("path_prefix", &route.path)?,
        fields: fields?,
        apps: route.apps.clone(),
        replace_prefix: route
            .replace_prefix
            .as_ref()
            .map(|path| prefix("replace_prefix", path))
            .transpose()?,
        max_body: match route.max_body {
            config::BodyLimit::OfApp => proxy::BodyLimit::OfApp,
            config::BodyLimit::Unlimited => proxy::BodyLimit::Unlimited,
            config::BodyLimit::Bytes(bytes) => proxy::BodyLimit::Bytes(bytes),
        },
    })
}

fn field(field: &config::HeaderMatch) -> Result<proxy::FieldPattern, RoutingError> {
    let (name, value) = (field.name.as_str(), field.value.as_deref());
    match (name.parse(), value.map(str::parse).transpose()) {
        (Ok(name), Ok(value)) => Ok(proxy::FieldPattern { name, value }),
        _ => Err(RoutingError::Field {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        }),
    }
}

fn prefix(key: &'static str, path: &config::PathPrefix) -> Result<proxy::PathPrefix, RoutingError> {
    proxy::PathPrefix::parse(path.as_str()).map_err(|source| RoutingError::Path {
        key,
        path: path.to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeproxy_backend::AppName;

    use crate::plan::tests::plan;

    #[test]
    fn what_an_app_says_is_what_its_requests_go_by_and_the_rest_is_as_the_settings_say() {
        let plan = plan(
            "queue_max = 5\nconnect_timeout_secs = 7\nmax_body_bytes = 9\n[apps.shop]\nadd_prefix = \"/base/\"\n\
             unhealthy_responses = [500, \"502-504\"]\nqueue_max = 6\nlast_backend = \"eject\"\nmax_body_bytes = \
             \"unlimited\"\n",
        );
        let shop = &plan.app(&AppName::parse("shop").unwrap()).settings;
        assert_eq!(
            (shop.queue_max, shop.connect_timeout),
            (6, Duration::from_secs(7))
        );
        assert_eq!((shop.max_body_bytes, shop.last_resort), (None, false));
        assert_eq!(shop.add_prefix.to_string(), "/base");
        assert!(shop.unhealthy_responses.contains(503) && !shop.unhealthy_responses.contains(501));
        let other = &plan.others().settings;
        assert_eq!((other.queue_max, other.max_body_bytes), (5, Some(9)));
        assert!(other.last_resort && other.add_prefix.is_root() && other.unhealthy_responses.is_empty());
    }

    #[test]
    fn every_path_that_the_configuration_takes_the_data_plane_takes() {
        for path in ["/", "/a", "/a/", "/a/%61;b,c=d&e!$'()*+@:-._~"] {
            let path = path.replace('*', "");
            let plan = plan(&format!(
                "[apps.shop]\nadd_prefix = \"{path}\"\n[[routes]]\npath_prefix = \"{path}\"\nreplace_prefix = \"{path}\"\n\
                 headers = {{ X-A = \"b c\", X-D = \"*\" }}\napp = \"shop\"\n"
            ));
            assert_eq!(plan.routes.len(), 1, "{path}");
        }
    }
}
