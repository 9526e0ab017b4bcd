//! `edgeproxy.toml`, with a comment for each piece that says where it came from.

use super::ImportOptions;
use super::join::{Addr, App, Backend, Joined, Route};
use super::notes::{Notes, shown};
use super::toml_text::{key, line, string};

/// A file in the making.
struct Page<'n, 'd> {
    notes: &'n Notes<'d>,
    region: String,
    text: String,
}

/// Writes what was joined.
pub(super) fn write(notes: &Notes<'_>, joined: &Joined, options: &ImportOptions) -> String {
    let mut page = Page {
        notes,
        region: string(options.region.as_str()),
        text: String::new(),
    };
    page.head(joined);
    joined.apps.iter().for_each(|app| page.app(app));
    joined.routes.iter().for_each(|route| page.route(route));
    page.text
}

impl Page<'_, '_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn head(&mut self, joined: &Joined) {
        self.line("# Made of Apigee's files by `edgeproxy import apigee`. What could not be taken over was told then.");
        self.line("# `edgeproxy check` says what is risky in it.");
        self.line("");
        self.line("# Apigee has no regions: proxy and backends are in one.");
        self.line(&line("region", self.region.clone()));
        if let Some(addr) = joined.listen_addr() {
            self.line("");
            self.line("# A backend on this machine has the port that the proxy listens on otherwise.");
            self.line(&line("listen_addr", string(&addr.to_string())));
        }
        if let Some(name) = &joined.server_name {
            self.line("");
            self.line("# The name that the certificates of https backends are for.");
            self.line(&line("backend_tls_server_name", string(name)));
        }
    }

    fn app(&mut self, app: &App) {
        let endpoint = &app.endpoint;
        self.line("");
        self.line(&format!(
            "# {} \"{}\", {}",
            endpoint.kind,
            shown(&endpoint.name),
            shown(&self.notes.place(&endpoint.at).to_string())
        ));
        if let Some(description) = &endpoint.description {
            self.line(&format!("# {description}"));
        }
        self.line(&format!("[apps.{}]", key(&app.name)));
        if let Some(algorithm) = app.algorithm {
            self.line(&line("algorithm", string(algorithm)));
        }
        endpoint.lines.iter().for_each(|line| self.line(line));
        if let Some(monitor) = &endpoint.monitor {
            self.line("");
            self.line(&format!("[apps.{}.health]", key(&app.name)));
            if !monitor.enabled {
                self.line(&line("enabled", false));
            }
            monitor.lines.iter().for_each(|line| self.line(line));
        }
        app.backends.iter().for_each(|backend| self.backend(app, backend));
    }

    fn backend(&mut self, app: &App, backend: &Backend) {
        self.line("");
        let place = shown(&self.notes.place(&backend.at).to_string());
        self.line(&format!("# {}, {place}", backend.title));
        let (ip, mark) = match &backend.addr {
            Addr::Ip(ip) => (string(&ip.to_string()), ""),
            Addr::Unknown(name) => {
                let name = if name.is_empty() { "its host" } else { name };
                self.line(&format!(
                    "# Its address is not known here: write that of {} as ip, and take away the # before each line.",
                    shown(name)
                ));
                (string(""), "# ")
            }
        };
        let mut lines = vec![
            "[[backends]]".to_owned(),
            line("id", string(&backend.id)),
            line("app", string(&app.name)),
            line("region", self.region.clone()),
            line("ip", ip),
            line("port", backend.port),
        ];
        lines.extend((backend.protocol != "http1").then(|| line("protocol", string(backend.protocol))));
        lines.extend(backend.weight.map(|weight| line("weight", weight)));
        lines.extend(backend.fallback.then(|| line("fallback", true)));
        // Apigee sends a server as many requests at a time as there are.
        lines.push(line("soft_limit", 0));
        lines.push(line("hard_limit", 0));
        for line in lines {
            self.line(&format!("{mark}{line}"));
        }
    }

    fn route(&mut self, route: &Route) {
        self.line("");
        let place = shown(&self.notes.place(&route.at).to_string());
        self.line(&format!("# BasePath, {place}"));
        self.line("[[routes]]");
        if route.path != crate::paths::PathPrefix::root() {
            self.line(&line("path_prefix", string(route.path.as_str())));
            self.line(&line("replace_prefix", string("/")));
        }
        self.line(&line("app", string(&route.app)));
    }
}
