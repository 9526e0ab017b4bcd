//! `TargetServer`: a host with a name that balancers refer to.

use super::element::{Element, Spot};
use super::notes::{Known, Notes, shown};
use super::rules;
use super::tls::Tls;

/// What a target server says.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) enabled: bool,
    pub(super) tls: Option<Tls>,
    pub(super) at: Spot,
}

/// Where something listens, and what it speaks.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// An address or a name. `None`: what there was has been told.
    pub(super) name: Option<String>,
    pub(super) port: u16,
    pub(super) protocol: &'static str,
    pub(super) at: Spot,
}

const KNOWN: Known = Known::once(&["Host", "Port", "IsEnabled", "SSLInfo", "Protocol", "Description"]);

impl Server {
    pub(super) fn read(notes: &mut Notes<'_>, element: &Element) -> Option<Self> {
        notes.only(element, &KNOWN);
        let Some(name) = element.given_name() else {
            notes.tell(
                rules::SERVER_UNNAMED,
                &element.at,
                "the target server has no name, so nothing can refer to it: it was left out",
                "give it one, as in <TargetServer name=\"target1\">",
            );
            return None;
        };
        let tls = element.child("SSLInfo").map(|info| Tls::read(notes, info));
        let secure = tls.as_ref().and_then(|tls| tls.enabled) == Some(true);
        let protocol = protocol(notes, element.child("Protocol"), secure);
        let port = match notes.whole(element.child("Port"), u64::from(u16::MAX)) {
            None | Some(0) => {
                let port = if secure { 443 } else { 80 };
                let at = element.child("Port").map_or(&element.at, |port| &port.at);
                notes.tell(
                    rules::BAD_VALUE,
                    at,
                    format!(
                        "target server \"{}\" has no port; expected 1 to 65535; {port} was written",
                        shown(name)
                    ),
                    "add <Port>",
                );
                port
            }
            // `whole` has seen to the range.
            Some(port) => u16::try_from(port).unwrap_or(u16::MAX),
        };
        let host = element.child("Host");
        if host.is_none_or(|host| host.text.is_empty()) {
            notes.tell(
                rules::BAD_VALUE,
                &host.unwrap_or(element).at,
                format!(
                    "target server \"{}\" has no host; expected an address",
                    shown(name)
                ),
                "add <Host>",
            );
        }
        let at = host.map_or_else(|| element.at.clone(), |host| host.text_at.clone());
        let host_name = host.and_then(|host| notes.text(host)).map(str::to_owned);
        Some(Self {
            name: name.to_owned(),
            host: Host {
                name: host_name,
                port,
                protocol,
                at,
            },
            enabled: notes.flag(element.child("IsEnabled")).unwrap_or(true),
            tls,
            at: element.at.clone(),
        })
    }
}

/// What the newer files say of it. `https` negotiates HTTP/2 by itself.
fn protocol(notes: &mut Notes<'_>, element: Option<&Element>, secure: bool) -> &'static str {
    let plain = if secure { "https" } else { "http1" };
    let Some(element) = element else {
        return plain;
    };
    match element.text.to_ascii_uppercase().as_str() {
        "" | "HTTP" | "PROTOCOL_UNSPECIFIED" => plain,
        "HTTP2" | "GRPC_TARGET" | "GRPC" if secure => "https",
        "HTTP2" | "GRPC_TARGET" | "GRPC" => "h2c",
        _ => {
            notes.tell(
                rules::NO_COUNTERPART,
                &element.text_at,
                format!(
                    "the protocol {} has no counterpart; HTTP was taken",
                    shown(&element.text)
                ),
                "write what the backend speaks: http1, h2c or https",
            );
            plain
        }
    }
}
