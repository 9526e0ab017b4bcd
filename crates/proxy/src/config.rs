pub(crate) mod listener;
pub(crate) mod prepared;
pub(crate) mod settings;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;

use crate::{AccessLog, BackendTls, Listener, Locate, Tracing};

/// How the data plane behaves. What listens where, and the workers, are fixed for its life; for the rest
/// [another](crate::Prepared) can be put in force with a routing table. What each app has differently is
/// [`AppSettings`](crate::AppSettings).
///
/// Every limit is there because something can grow without it. Time-outs are of the request's own phases,
/// never of a whole request: a long download is not a fault.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect, at least one. HTTP on `0.0.0.0:8080`.
    pub listeners: Vec<Listener>,
    /// Worker threads, at least 1. The number of cores.
    pub workers: usize,
    /// Connections that the system holds for a worker until it accepts them. 4,096.
    pub backlog: i32,

    /// A request's head, from its first byte to its last. Else 408. Also a PROXY protocol header. 10 s.
    pub header_timeout: Duration,
    /// A TLS handshake with a client, or a client's first message where that is only looked at. 10 s.
    pub handshake_timeout: Duration,
    /// A client's connection without a request. 75 s.
    pub idle_timeout: Duration,
    /// A client that takes nothing of an answer while there is something to take. 60 s.
    pub send_timeout: Duration,
    /// How long what is in flight may go on after [`Running::drain`](crate::Running::drain). 30 s.
    pub drain_timeout: Duration,
    /// How long a connection that has not sent a request yet is still listened to when draining begins, so
    /// that one accepted a moment before is answered. 500 ms.
    pub drain_grace: Duration,

    /// A request's head: its target and all fields. Else 431. 32 KiB, from 8 to 64 KiB.
    pub max_head_bytes: usize,
    /// A request's fields. Else 431. 100, at most 256.
    pub max_fields: usize,
    /// A request's target. Else 414. 8 KiB.
    pub max_target_bytes: usize,
    /// Clients' connections, all workers together; each takes its share. A worker that is full accepts no
    /// more until one ends; they wait in the backlog. 65,536.
    pub max_connections: usize,
    /// A client's connections, all workers and listeners together; one beyond that is closed at once. A client
    /// is an IPv4 address or an IPv6 /64; a peer of [`trusted_proxies`](Self::trusted_proxies) is none, and
    /// one that introduces clients by the PROXY protocol counts as them. Counted in constant memory, which
    /// can take a client to have a few more than it has once there are tens of thousands, never fewer. 0, the
    /// default, is no limit: thousands of honest users may share the address of a carrier or a proxy, and
    /// only the operator knows whether they do.
    pub max_connections_per_client: u32,
    /// Requests at a time on one HTTP/2 connection. 128.
    pub max_streams: u32,
    /// Streams that an HTTP/2 client may reset before they were served, until its connection is closed
    /// (CVE-2023-44487). 64.
    pub max_reset_streams: usize,

    /// An idle connection to a backend. 60 s.
    pub pool_idle_timeout: Duration,
    /// Idle connections that one worker keeps to one backend. 256.
    pub pool_max_idle: usize,

    /// How backends of protocol `https` are connected to. `None`, the default: they fail every request.
    pub backend_tls: Option<BackendTls>,

    /// Peers whose own forwarding headers are believed. None.
    pub trusted_proxies: Vec<IpNet>,
    /// Tells where clients are, for `region_affinity`. `None`, the default: nobody's place is known.
    pub locate: Option<Arc<dyn Locate>>,
    /// The field in which trusted proxies name a client's country, such as `cf-ipcountry`. It says more than the
    /// address. `None`, the default: they don't.
    pub country_header: Option<HeaderName>,
    /// What this proxy calls itself in `Via`, by which it knows a loop: 1–64 of `A–Z a–z 0–9 . _ -`, different
    /// for every proxy. `None`, the default, makes one up.
    pub pseudonym: Option<String>,
    /// How requests are written down. `None`, the default: not at all.
    pub access_log: Option<AccessLog>,
    /// Which requests are told of as spans of a trace. `None`, the default: none.
    pub tracing: Option<Tracing>,
    /// What a client that was refused for lack of a backend is told in `Retry-After`. 1 s.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::http(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)))],
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            backlog: 4_096,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_millis(500),
            max_head_bytes: 32 * 1024,
            max_fields: 100,
            max_target_bytes: 8 * 1024,
            max_connections: 65_536,
            max_connections_per_client: 0,
            max_streams: 128,
            max_reset_streams: 64,
            pool_idle_timeout: Duration::from_secs(60),
            pool_max_idle: 256,
            backend_tls: None,
            trusted_proxies: Vec::new(),
            locate: None,
            country_header: None,
            pseudonym: None,
            access_log: None,
            tracing: None,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// A worker's share of the connections.
    pub(crate) fn connections_per_worker(&self) -> u32 {
        let share = self.max_connections.div_ceil(self.workers.max(1)).max(1);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}
