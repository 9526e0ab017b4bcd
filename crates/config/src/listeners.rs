//! `[[listeners]]`: addresses that clients connect to, besides the one of `listen_addr`. Only the file has
//! them, since a variable or a flag is one value.

pub(crate) mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_backend::AppName;
use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Settings;
use crate::draft::Draft;
use crate::kinds::{NETWORKS, SOCKET, seconds};
use crate::problem::Document;
use crate::setting::Kind;
use crate::suggest::closest;
use crate::table::{self, Key, Table, keys};
use crate::types::ProxyVersion;
use crate::value::{FromValue, Mismatch, Value};

pub use tls::{Certificate, ListenerTls};

/// The key of the tables.
pub(crate) const KEY: &str = "listeners";

/// An address that clients connect to, and what they find there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// What messages call it: a name of its own, or the setting that it is from.
    pub name: String,
    /// Where. Port 0 lets the system choose.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Peers that say by a PROXY protocol header for whom they connect. None: nobody does.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How TLS ends here. `None`: it doesn't.
    pub tls: Option<ListenerTls>,
}

/// What a listener does with a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenerProtocol {
    /// HTTP/1 and HTTP/2; the app follows from each request.
    Http,
    /// Bytes, to one backend of an app for each connection.
    Tcp {
        /// The app.
        app: AppName,
        /// The PROXY protocol header that backends get. `None`: none.
        send_proxy: Option<ProxyVersion>,
        /// How long both directions may be silent. `None`: as
        /// [`tcp_idle_timeout`](Settings::tcp_idle_timeout) says.
        idle_timeout: Option<Duration>,
    },
    /// TLS that is passed on unopened, to one backend for each connection; the app follows from the server name.
    Sni {
        /// The PROXY protocol header that backends get. `None`: none.
        send_proxy: Option<ProxyVersion>,
        /// How long both directions may be silent. `None`: as
        /// [`tcp_idle_timeout`](Settings::tcp_idle_timeout) says.
        idle_timeout: Option<Duration>,
    },
}

impl Settings {
    /// The most `[[listeners]]` in a file.
    pub const MAX_LISTENERS: usize = 64;

    /// Every listener: that of `listen_addr` unless it is off, those of `[[listeners]]`, that of
    /// `tcp_listen_addr` unless it is off, and that of `tls_listen_addr` if `tls_enabled`.
    ///
    /// `[[listeners]]` add to `listen_addr` rather than replace it, so that whoever adds a TCP listener doesn't
    /// switch off HTTP by it; `listen_addr = "off"` does.
    #[must_use]
    pub fn every_listener(&self) -> Vec<Listener> {
        let of_setting = |name: &str, addr, protocol| Listener {
            name: name.to_owned(),
            addr,
            protocol,
            proxy_protocol_from: Vec::new(),
            tls: None,
        };
        let http = self
            .listen_addr
            .map(|addr| of_setting("listen_addr", addr, ListenerProtocol::Http));
        let tcp = self.tcp_listen_addr.zip(self.tcp_app.clone()).map(|(addr, app)| {
            let protocol = ListenerProtocol::Tcp {
                app,
                send_proxy: None,
                idle_timeout: None,
            };
            of_setting("tcp_listen_addr", addr, protocol)
        });
        let tls = tls::of_settings(self).map(|(addr, tls)| Listener {
            tls: Some(tls),
            ..of_setting("tls_listen_addr", addr, ListenerProtocol::Http)
        });
        http.into_iter()
            .chain(self.listeners.iter().cloned())
            .chain(tcp)
            .chain(tls)
            .collect()
    }
}

/// A table as it was read, each value by itself.
#[derive(Default)]
pub(crate) struct Raw {
    name: Option<Name>,
    addr: Option<SocketAddr>,
    protocol: Option<Protocol>,
    app: Option<AppName>,
    proxy_protocol: Option<bool>,
    proxy_protocol_from: Option<Vec<IpNet>>,
    send_proxy: Option<ProxyVersion>,
    idle_timeout: Option<Duration>,
}

pub(crate) const KEYS: &[Key<Raw>] = keys!(Raw {
    /// What messages call it.
    name, "name", Kind::Text { name: "NAME", expected: Name::EXPECTED }, "`listener-1`, by its place";
    /// Where clients connect. Port 0 lets the system choose one.
    addr, "addr", SOCKET, "required";
    /// What is spoken there.
    protocol, "protocol", Kind::Text { name: "PROTOCOL", expected: "\"http\", \"tcp\" or \"sni\"" }, "required";
    /// With tcp: whose backends take the connections.
    app, "app", Kind::Text { name: "APP", expected: "the name of an app, such as \"database\"" }, "required with `tcp`";
    /// Whether those of proxy_protocol_from begin every connection with a PROXY protocol header.
    proxy_protocol, "proxy_protocol", Kind::Switch, "`true` if there is a `proxy_protocol_from`";
    /// The networks of the proxies before it.
    proxy_protocol_from, "proxy_protocol_from", NETWORKS, "none";
    /// With tcp and sni: a PROXY protocol header that backends get first.
    send_proxy, "send_proxy", Kind::OneOf(ProxyVersion::NAMES), "none";
    /// With tcp and sni: how long both directions may be silent.
    idle_timeout, "idle_timeout_secs", seconds(1, 604_800), "`tcp_idle_timeout_secs`";
});

pub(crate) struct Name(String);

impl Name {
    const EXPECTED: &'static str = "a name of 1 to 64 of A-Z a-z 0-9 . _ -, such as \"database\"";
}

impl FromValue for Name {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(permitted) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mismatch::text(text))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Tcp,
    Sni,
}

impl FromValue for Protocol {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "http" => Ok(Self::Http),
            "tcp" => Ok(Self::Tcp),
            "sni" => Ok(Self::Sni),
            "https" | "tls" => Err(Mismatch::text(value.as_text()?)
                .help("write \"http\", and give it `tls`; or \"sni\" to pass TLS on unopened")),
            other => Err(match closest(other, ["http", "tcp", "sni"]) {
                Some(meant) => Mismatch::text(other).help(format!("did you mean {meant:?}?")),
                None => Mismatch::text(other),
            }),
        }
    }
}

/// Reads the tables into the draft.
pub(crate) fn read(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
    let before = draft.problem_count();
    let tables = table::each(document, draft, KEY, Settings::MAX_LISTENERS, value);
    for (index, (at, keys)) in tables.into_iter().enumerate() {
        let mut table = Table::one_of(document, draft, "a listener", at.clone());
        if let Some(listener) = table.listener(index, keys).filter(|_| table.is_sound()) {
            draft.settings.listeners.push(listener);
            draft.listener_spans.push(at);
        }
    }
    if draft.problem_count() > before {
        draft.fail_listeners();
    }
}

impl Table<'_, '_> {
    fn listener(&mut self, index: usize, keys: &DeTable<'_>) -> Option<Listener> {
        let mut raw = Raw::default();
        self.read(keys, KEYS, &[tls::KEY], &mut raw);
        // One that can't be used has been told, so this is never a listener without TLS.
        let tls = keys.get(tls::KEY).and_then(|value| self.tls(value));
        self.tls_fits(raw.protocol);
        let name = self.name(index, raw.name.take());
        let addr = self.required(raw.addr, KEYS, "addr", "\"0.0.0.0:8080\"");
        let protocol = self.protocol(&raw);
        let proxy_protocol_from = self.proxy_protocol_from(raw.proxy_protocol, raw.proxy_protocol_from);
        Some(Listener {
            name,
            addr: addr?,
            protocol: protocol?,
            proxy_protocol_from,
            tls,
        })
    }

    fn name(&mut self, index: usize, name: Option<Name>) -> String {
        let Some(Name(name)) = name else {
            return format!("listener-{}", index + 1);
        };
        if matches!(name.as_str(), "api" | "api_listen_addr") {
            let message = format!(
                "a listener's name is {name:?}, which the API's own is called; expected another name"
            );
            self.problem_at("name", message, None);
            return name;
        }
        let settings = ["listen_addr", "tcp_listen_addr", "tls_listen_addr"];
        let others = self
            .draft
            .settings
            .listeners
            .iter()
            .map(|listener| listener.name.as_str());
        if others.chain(settings).any(|other| other == name) {
            let message =
                format!("a listener's name is {name:?}, which another one has; expected a name of its own");
            self.problem_at("name", message, None);
        }
        name
    }

    fn protocol(&mut self, raw: &Raw) -> Option<ListenerProtocol> {
        match self.required(raw.protocol, KEYS, "protocol", "\"http\"")? {
            Protocol::Http => {
                let (app, idle) = ("app", "idle_timeout_secs");
                self.not_with("http", app, "remove it: the app follows from each request's Host");
                self.not_with("http", "send_proxy", "remove it: backends get X-Forwarded-For");
                self.not_with(
                    "http",
                    idle,
                    "remove it: the setting idle_timeout_secs is for HTTP",
                );
                Some(ListenerProtocol::Http)
            }
            Protocol::Sni => {
                let help = "remove it: the app follows from the server name that a client asks for";
                self.not_with("sni", "app", help);
                Some(ListenerProtocol::Sni {
                    send_proxy: raw.send_proxy,
                    idle_timeout: raw.idle_timeout,
                })
            }
            Protocol::Tcp => Some(ListenerProtocol::Tcp {
                app: self.required(raw.app.clone(), KEYS, "app", "\"database\"")?,
                send_proxy: raw.send_proxy,
                idle_timeout: raw.idle_timeout,
            }),
        }
    }

    fn not_with(&mut self, protocol: &str, key: &str, help: &str) {
        if let Some(span) = self.span(key) {
            let message = format!("a listener's {key} is for protocol \"tcp\"; this one's is {protocol:?}");
            self.problem(&span, message, Some(help.to_owned()));
        }
    }

    /// Two keys, so that it can be switched off without losing the list.
    fn proxy_protocol_from(&mut self, on: Option<bool>, from: Option<Vec<IpNet>>) -> Vec<IpNet> {
        let from = from.unwrap_or_default();
        match on {
            Some(true) if from.is_empty() && self.is_sound() => {
                self.problem_at(
                    "proxy_protocol",
                    "a listener's proxy_protocol is true and its proxy_protocol_from names nobody; expected the \
                     networks of the proxies before it"
                        .to_owned(),
                    Some("add `proxy_protocol_from = [\"10.0.0.0/8\"]` with their networks: anybody else's header would be a forgery".to_owned()),
                );
                from
            }
            Some(false) => Vec::new(),
            _ => from,
        }
    }
}

#[cfg(test)]
mod tests;
