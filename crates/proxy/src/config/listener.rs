use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_backend::AppName;
use ipnet::IpNet;

use crate::Tls;

/// One address that clients connect to, and what they find there.
///
/// Make it with [`Listener::http`], [`Listener::tcp`] or [`Listener::sni`] and change what is to be different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// What messages and logs call it. Any text; different for every listener, if they are to help.
    pub name: String,
    /// Where. Port 0 lets the system choose.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Peers that begin every connection with a PROXY protocol header (v1 or v2), which names the client that
    /// they connect for. One of them that sends none, or garbage, is refused. Anybody else is a client, and a
    /// header of theirs is a part of what they say. None.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How TLS ends here. `None`: it doesn't. Meaningless where it is passed on.
    pub tls: Option<Tls>,
}

/// What a listener does with a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1 and HTTP/2, told apart by their first bytes. The app follows from each request.
    Http,
    /// Bytes that nobody looks at, both ways, to one backend for each connection. The backend may have
    /// registered any protocol: whoever set this listener up decided what is spoken over it, and an `https`
    /// backend behind it simply sees its client's own TLS; or what was inside, where TLS ends at this listener.
    Tcp {
        /// The app whose backends take the connections.
        app: AppName,
        /// The PROXY protocol header that a backend gets before anything else. `None`: none.
        send_proxy: Option<ProxyVersion>,
        /// How long both directions may be silent. `None`: [`AppSettings::tcp_idle_timeout`](crate::AppSettings).
        idle_timeout: Option<Duration>,
    },
    /// TLS that is passed on as it comes, to one backend for each connection. The server name that a client asks
    /// for (RFC 6066 §3) names the app, as a `Host` would. Backends may have registered any protocol.
    Sni {
        /// The PROXY protocol header that a backend gets before anything else. `None`: none.
        send_proxy: Option<ProxyVersion>,
        /// How long both directions may be silent. `None`: [`AppSettings::tcp_idle_timeout`](crate::AppSettings).
        idle_timeout: Option<Duration>,
    },
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Listener {
    /// A listener for HTTP without TLS, called `http`.
    #[must_use]
    pub fn http(addr: SocketAddr) -> Self {
        Self {
            name: "http".to_owned(),
            addr,
            protocol: Protocol::Http,
            proxy_protocol_from: Vec::new(),
            tls: None,
        }
    }

    /// A listener whose connections go to `app`, after which it is called.
    #[must_use]
    pub fn tcp(addr: SocketAddr, app: AppName) -> Self {
        Self {
            name: app.to_string(),
            protocol: Protocol::Tcp {
                app,
                send_proxy: None,
                idle_timeout: None,
            },
            ..Self::http(addr)
        }
    }

    /// A listener that passes TLS on by its server name, called `sni`.
    #[must_use]
    pub fn sni(addr: SocketAddr) -> Self {
        Self {
            name: "sni".to_owned(),
            protocol: Protocol::Sni {
                send_proxy: None,
                idle_timeout: None,
            },
            ..Self::http(addr)
        }
    }
}
