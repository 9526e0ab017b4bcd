//! `[[listeners]]`: addresses that clients connect to, besides the one of `listen_addr`. Only the file has
//! them, since a variable or a flag is one value.

mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use edgeproxy_backend::AppName;
use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::Settings;
use crate::draft::Draft;
use crate::file::{blamed, told};
use crate::kinds::{NETWORKS, SOCKET, seconds};
use crate::problem::Document;
use crate::setting::Kind;
use crate::suggest::closest;
use crate::types::ProxyVersion;
use crate::value::{FromValue, Mismatch, Value, described, quoted};

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

/// One key of a listener's table.
struct Key {
    key: &'static str,
    kind: Kind,
    apply: fn(&mut Raw, &Value) -> Result<(), Mismatch>,
}

/// A table as it was read, each value by itself.
#[derive(Default)]
struct Raw {
    name: Option<Name>,
    addr: Option<SocketAddr>,
    protocol: Option<Protocol>,
    app: Option<AppName>,
    proxy_protocol: Option<bool>,
    proxy_protocol_from: Option<Vec<IpNet>>,
    send_proxy: Option<ProxyVersion>,
    idle_timeout: Option<Duration>,
}

macro_rules! keys {
    ($($key:literal => $field:ident, $kind:expr;)+) => {
        const KEYS: &[Key] = &[$(Key {
            key: $key,
            kind: $kind,
            apply: |raw, value| {
                raw.$field = Some(FromValue::from_value(value)?);
                Ok(())
            },
        },)+];
    };
}

keys! {
    "name" => name, Kind::Text { name: "NAME", expected: Name::EXPECTED };
    "addr" => addr, SOCKET;
    "protocol" => protocol, Kind::Text { name: "PROTOCOL", expected: "\"http\", \"tcp\" or \"sni\"" };
    "app" => app, Kind::Text { name: "APP", expected: "the name of an app, such as \"database\"" };
    "proxy_protocol" => proxy_protocol, Kind::Switch;
    "proxy_protocol_from" => proxy_protocol_from, NETWORKS;
    "send_proxy" => send_proxy, Kind::OneOf(ProxyVersion::NAMES);
    "idle_timeout_secs" => idle_timeout, seconds(1, 604_800);
}

struct Name(String);

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
enum Protocol {
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
    let wrong = |found: String| {
        let message = format!("{KEY} is {found}; expected tables, each under a line [[{KEY}]]");
        document.problem(
            &value.span(),
            message,
            Some(format!("write [[{KEY}]], with two brackets")),
        )
    };
    let DeValue::Array(tables) = value.get_ref() else {
        draft.fail_listeners();
        return draft.problem(wrong(described(value.get_ref())));
    };
    if tables.len() > Settings::MAX_LISTENERS {
        let message = format!(
            "there are {} {KEY}; expected at most {}",
            tables.len(),
            Settings::MAX_LISTENERS
        );
        draft.fail_listeners();
        return draft.problem(document.problem(&value.span(), message, None));
    }
    for (index, table) in tables.iter().enumerate() {
        let DeValue::Table(keys) = table.get_ref() else {
            draft.fail_listeners();
            return draft.problem(wrong("an array of other things than tables".to_owned()));
        };
        let mut reading = Reading {
            document,
            draft,
            table: table.span(),
            given: BTreeMap::new(),
            failed: false,
        };
        match reading.listener(index, keys) {
            Some(listener) if !reading.failed => {
                draft.settings.listeners.push(listener);
                draft.listener_spans.push(table.span());
            }
            _ => draft.fail_listeners(),
        }
    }
}

/// One table on its way to a listener.
struct Reading<'r, 'd> {
    document: &'r Document<'r>,
    draft: &'r mut Draft<'d>,
    table: Range<usize>,
    /// Where each key that was read stands.
    given: BTreeMap<&'static str, Range<usize>>,
    failed: bool,
}

impl Reading<'_, '_> {
    fn problem(&mut self, span: &Range<usize>, message: String, help: Option<String>) {
        self.failed = true;
        self.draft.problem(self.document.problem(span, message, help));
    }

    fn listener(&mut self, index: usize, keys: &DeTable<'_>) -> Option<Listener> {
        let (mut raw, mut tls) = (Raw::default(), None);
        for (key, value) in keys {
            if key.get_ref() == tls::KEY {
                self.given.insert(tls::KEY, key.span());
                tls = self.tls(&key.span(), value);
                // One that can't be used is never a listener without TLS.
                self.failed |= tls.is_none();
            } else {
                self.key(&mut raw, key, value);
            }
        }
        self.tls_fits(raw.protocol);
        let name = self.name(index, raw.name.take());
        let addr = self.required(raw.addr, "addr", SOCKET);
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

    fn key(&mut self, raw: &mut Raw, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let name: &str = key.get_ref();
        let Some(known) = KEYS.iter().find(|known| known.key == name) else {
            let message = format!("a listener has no setting {}", quoted(name));
            let keys = KEYS.iter().map(|known| known.key).chain([tls::KEY]);
            let help = match closest(name, keys) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("remove it; a listener has {}", names()),
            };
            return self.problem(&key.span(), message, Some(help));
        };
        self.given.insert(known.key, key.span());
        let read = known.kind.read_toml(value.get_ref());
        if let Err(mismatch) = read.and_then(|read| (known.apply)(raw, &read)) {
            let message = told(&format!("a listener's {}", known.key), known.kind, &mismatch);
            self.problem(&blamed(&mismatch, value), message, mismatch.help);
        }
    }

    fn required<T>(&mut self, value: Option<T>, key: &'static str, kind: Kind) -> Option<T> {
        if value.is_none() && !self.given.contains_key(key) {
            let message = format!("a listener has no {key}; expected {}", kind.expected_in_file());
            self.problem(&self.table.clone(), message, Some(format!("add `{key} = …`")));
        }
        value
    }

    fn name(&mut self, index: usize, name: Option<Name>) -> String {
        let Some(Name(name)) = name else {
            return format!("listener-{}", index + 1);
        };
        let settings = ["listen_addr", "tcp_listen_addr", "tls_listen_addr"];
        let others = self
            .draft
            .settings
            .listeners
            .iter()
            .map(|listener| listener.name.as_str());
        if others.chain(settings).any(|other| other == name) {
            let span = self.given.get("name").cloned().unwrap_or(self.table.clone());
            let message =
                format!("a listener's name is {name:?}, which another one has; expected a name of its own");
            self.problem(&span, message, None);
        }
        name
    }

    fn protocol(&mut self, raw: &Raw) -> Option<ListenerProtocol> {
        let kind = KEYS.iter().find(|known| known.key == "protocol")?.kind;
        match self.required(raw.protocol, "protocol", kind)? {
            Protocol::Http => {
                for key in ["app", "send_proxy", "idle_timeout_secs"] {
                    if let Some(span) = self.given.get(key).cloned() {
                        let message =
                            format!("a listener's {key} is for protocol \"tcp\"; this one's is \"http\"");
                        let help = match key {
                            "app" => "remove it: the app follows from each request's Host",
                            "idle_timeout_secs" => "remove it: the setting idle_timeout_secs is for HTTP",
                            _ => "remove it: backends get X-Forwarded-For",
                        };
                        self.problem(&span, message, Some(help.to_owned()));
                    }
                }
                Some(ListenerProtocol::Http)
            }
            Protocol::Sni => {
                if let Some(span) = self.given.get("app").cloned() {
                    let message =
                        "a listener's app is for protocol \"tcp\"; this one's is \"sni\"".to_owned();
                    let help = "remove it: the app follows from the server name that a client asks for";
                    self.problem(&span, message, Some(help.to_owned()));
                }
                Some(ListenerProtocol::Sni {
                    send_proxy: raw.send_proxy,
                    idle_timeout: raw.idle_timeout,
                })
            }
            Protocol::Tcp => {
                let kind = KEYS.iter().find(|known| known.key == "app")?.kind;
                let app = self.required(raw.app.clone(), "app", kind)?;
                Some(ListenerProtocol::Tcp {
                    app,
                    send_proxy: raw.send_proxy,
                    idle_timeout: raw.idle_timeout,
                })
            }
        }
    }

    /// Two keys, so that it can be switched off without losing the list.
    fn proxy_protocol_from(&mut self, on: Option<bool>, from: Option<Vec<IpNet>>) -> Vec<IpNet> {
        let from = from.unwrap_or_default();
        match on {
            Some(true) if from.is_empty() && !self.failed => {
                let span = self.given.get("proxy_protocol").cloned();
                self.problem(
                    &span.unwrap_or(self.table.clone()),
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

fn names() -> String {
    let names: Vec<&str> = KEYS.iter().map(|known| known.key).chain([tls::KEY]).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
