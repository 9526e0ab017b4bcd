//! The one list. A setting is added here and nowhere else: its key, variable, flag, default, help text,
//! parser and field all follow from its entry, and so does the key of `[apps.NAME]` for those that an app may
//! have differently.

mod define;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use edgeproxy_backend::{AppName, Region};
use ipnet::IpNet;

use crate::collector::{CollectorUrl, TracesFollow};
use crate::kinds::{DATABASE, FOLDER, NETWORKS, PATH, SOCKET, SOCKET_OR_OFF, TOKENS, bytes, number, seconds};
use crate::listeners::Listener;
use crate::policy::{CookieName, Decimal, HashKey, HeaderName, Initial, Sticky};
use crate::region::RegionTable;
use crate::setting::{Kind, Reload, Scope, Setting};
use crate::shared::{LimitsScope, OwnName, StoreKind, UserName};
use crate::shown::{Show, Shown};
use crate::status::StatusCodes;
use crate::table::{Field, Key};
use crate::types::{
    AccessLog, AccessLogFormat, Algorithm, AuditLog, ClientAuth, HealthMonitor, HostName, LastBackend,
    LogFilter, LogFormat, RegisterSource, Spill, Workers,
};
use crate::value::FromValue;

use define::settings;

settings! {
proxy {
    /// Where clients connect for HTTP. Port 0 lets the system choose one; off is nowhere. Listeners of the
    /// file come on top.
    listen_addr: Option<SocketAddr>, "listen_addr", SOCKET_OR_OFF, "0.0.0.0:8080", restart;

    /// Where clients connect for TCP to the app of tcp_app. Port 0 lets the system choose one.
    tcp_listen_addr: Option<SocketAddr>, "tcp_listen_addr", SOCKET_OR_OFF, "off", restart;

    /// The app whose backends take the connections of tcp_listen_addr.
    tcp_app: Option<AppName>, "tcp_app",
        Kind::Text { name: "APP", expected: "the name of an app, such as \"database\"" }, "";

    /// Serve HTTP inside TLS at tls_listen_addr, with the certificate of tls_cert. Listeners of the file can
    /// have several certificates.
    tls_enabled: bool, "tls_enabled", Kind::Switch, "false", restart;

    /// Where clients connect for HTTP inside TLS. Port 0 lets the system choose one.
    tls_listen_addr: SocketAddr, "tls_listen_addr", SOCKET, "0.0.0.0:8443", restart;

    /// The certificate of tls_listen_addr, and the chain that leads to an authority, as PEM. It is read again
    /// when it changes.
    tls_cert: Option<PathBuf>, "tls_cert", PATH, "";

    /// The private key of tls_cert, as PEM, unencrypted.
    tls_key: Option<PathBuf>, "tls_key", PATH, "";

    /// The region that this proxy is in. Traffic stays there while it has room.
    region: Region, "region",
        Kind::Text { name: "REGION", expected: "the name of a region, such as \"eu\"" }, "sa";

    /// Regions besides the built-in sa (BR), us (US), eu (DE) and ap (JP), each with the country that a
    /// backend there has unless it says otherwise.
    regions: RegionTable, "regions",
        Kind::Table { name: "NAME:CC,…", expected: "a table of names and country codes, such as mx = \"MX\"" }, "";

    /// Serve the discovery API, by which backends register.
    api_enabled: bool, "api_enabled", Kind::Switch, "false", restart;

    /// Where the discovery API listens. Port 0 lets the system choose one.
    api_listen_addr: SocketAddr, "api_listen_addr", SOCKET, "0.0.0.0:8081", restart;

    /// Serve the API to any peer. Otherwise it serves only loopback and private networks or, with
    /// api_tokens_file, whoever has a token.
    api_insecure: bool, "api_insecure", Kind::Switch, "false";

    /// Who may use the API for what: tokens and clients' certificates with their roles and apps. With this file
    /// everybody needs one of them, on loopback as well. It is read again when it changes.
    api_tokens_file: Option<PathBuf>, "api_tokens_file", TOKENS, "";

    /// The certificate of the API, and the chain that leads to an authority, as PEM; without it there is no
    /// TLS. It is read again when it changes.
    api_tls_cert: Option<PathBuf>, "api_tls_cert", PATH, "", restart;

    /// The private key of api_tls_cert, as PEM, unencrypted.
    api_tls_key: Option<PathBuf>, "api_tls_key", PATH, "", restart;

    /// The authorities that issue certificates of the API's clients, as PEM. What each client may do is in
    /// api_tokens_file.
    api_tls_client_ca: Option<PathBuf>, "api_tls_client_ca", PATH, "", restart;

    /// Whether clients of the API have to show a certificate, if there is an api_tls_client_ca.
    api_tls_client_auth: ClientAuth, "api_tls_client_auth", Kind::OneOf(ClientAuth::NAMES), "required", restart;

    /// Host names by which backends reach the API, besides localhost and the machine's own name. A change that
    /// is addressed to any other name is refused, because a web page could have made a browser send it.
    api_allowed_hosts: Vec<HostName>, "api_allowed_hosts",
        Kind::List { name: "NAME,…", expected: "a host name without a port, such as \"edgeproxy.internal\"" }, "";

    /// How many API requests a peer may make per second, with a burst of as many. Changes and reads are counted
    /// separately; 0 is no limit. An IPv6 peer is its /64.
    api_rate_per_peer: u32, "api_rate_per_peer", number(0, 1_000_000), "10000";

    /// Which address a backend may register: any, or same_address, the one that it registers from.
    register_source: RegisterSource, "register_source", Kind::OneOf(RegisterSource::NAMES), "any";

    /// Where every change made through the API, and every refused attempt, is logged: off, stderr, or a file.
    audit_log: AuditLog, "audit_log",
        Kind::Text { name: "off|stderr|PATH", expected: "\"off\", \"stderr\", or the path of a file such as \"/var/log/edgeproxy/audit.jsonl\"" }, "off", restart;

    /// How many backends have series of their own in GET /metrics, about 50 each. Those beyond, the latest to
    /// register, count within their app only.
    metrics_max_backends: usize, "metrics_max_backends", number(0, 1_000_000), "1000", restart;

    /// Where every request is logged, a line each: off, - for standard output, or a file. If the file is moved
    /// away, as logrotate does, a new one is begun without a signal.
    access_log: AccessLog, "access_log",
        Kind::Text { name: "off|-|PATH", expected: "\"off\", \"-\" for standard output, or the path of a file such as \"/var/log/edgeproxy/access.jsonl\"" }, "off", restart;

    /// The form of a line of the access log: a JSON object, or text.
    access_log_format: AccessLogFormat, "access_log_format", Kind::OneOf(AccessLogFormat::NAMES), "json", restart;

    /// The share of successful requests that is logged, from 0 to 1. All others always are: 5xx, the proxy's
    /// own answers, answers that broke off, clients that left.
    access_log_sample: Decimal, "access_log_sample", Kind::Decimal { min: 0, max: 1_000 }, "1";

    /// Log the query of requests as well. It often holds secrets, such as tokens.
    access_log_query: bool, "access_log_query", Kind::Switch, "false";

    /// The OpenTelemetry collector that gets spans of requests, by OTLP over HTTP; without it there are none.
    /// The port is 4318 and the path /v1/traces unless the address says otherwise.
    traces_url: Option<CollectorUrl>, "traces_url",
        Kind::Text { name: "URL", expected: "the address of a collector, such as \"http://127.0.0.1:4318\"" }, "", restart;

    /// The authorities that the certificate of an https: collector is checked against, as PEM; by default those
    /// of the system.
    traces_ca: Option<PathBuf>, "traces_ca", PATH, "", restart;

    /// The share of requests that get spans, from 0 to 1, where traces_follow doesn't decide it.
    traces_sample: Decimal, "traces_sample", Kind::Decimal { min: 0, max: 1_000 }, "0.1";

    /// Whose traceparent decides, by its sampled flag, whether a request gets spans: nobody's, that of
    /// trusted_proxies, or everybody's, with which any client can have all of its requests sampled. The
    /// client's trace is continued in any case.
    traces_follow: TracesFollow, "traces_follow", Kind::OneOf(TracesFollow::NAMES), "trusted";

    /// The networks that a backend's address must be in; none allows any.
    allowed_backend_cidrs: Vec<IpNet>, "allowed_backend_cidrs", NETWORKS, "";

    /// How long a backend stays registered without a heartbeat, unless it asks for another lease.
    heartbeat_ttl: Duration, "heartbeat_ttl_secs", seconds(5, 3_600), "60";

    /// How many backends there may be, over all apps.
    max_backends: usize, "max_backends", number(1, 10_000_000), "100000";

    /// Where registrations are stored, so that a restart forgets none: in a file in data_dir; in memory, where
    /// they don't outlive the process; or in etcd, where all proxies that name the same one share them. etcds:
    /// is inside TLS.
    store: StoreKind, "store",
        Kind::Text { name: "file|memory|etcd://HOST:PORT,…/PREFIX", expected: "\"file\", \"memory\", or the addresses of an etcd such as \"etcd://10.0.0.1:2379,10.0.0.2:2379\"" }, "file", restart;

    /// The name of this proxy among those that share a store; no two may have the same. By default the
    /// machine's name and the port of the API, or of the first listener.
    proxy_name: Option<OwnName>, "proxy_name",
        Kind::Text { name: "NAME", expected: "1 to 63 of A-Z a-z 0-9 . _ -, such as \"edge-1\"" }, "", restart;

    /// The user, for an etcd with authentication.
    etcd_user: Option<UserName>, "etcd_user",
        Kind::Text { name: "USER", expected: "the name of a user of etcd, at most 255 bytes" }, "", restart;

    /// A file with the password of etcd_user, and nothing else.
    etcd_password_file: Option<PathBuf>, "etcd_password_file",
        Kind::Text { name: "PATH", expected: "the path of a file, such as \"/etc/edgeproxy/etcd-password\"" }, "", restart;

    /// The authorities that etcd's certificates are checked against with etcds:, as PEM; by default those of
    /// the system.
    etcd_ca: Option<PathBuf>, "etcd_ca", PATH, "", restart;

    /// The certificate that is shown to etcd, and the chain that leads to an authority, as PEM.
    etcd_cert: Option<PathBuf>, "etcd_cert", PATH, "", restart;

    /// The private key of etcd_cert, as PEM, unencrypted.
    etcd_key: Option<PathBuf>, "etcd_key", PATH, "", restart;

    /// What a backend's limits apply to: local, the requests of each proxy by itself, or shared, those of all
    /// proxies of one store together, each of which gets a share.
    limits: LimitsScope, "limits", Kind::OneOf(LimitsScope::NAMES), "local", restart;

    /// The folder of the file of store. It is made if it isn't there, and no two processes may share it. By
    /// default the first of $STATE_DIRECTORY, $XDG_STATE_HOME/edgeproxy and ~/.local/state/edgeproxy that is
    /// known; if that can't be used, registrations are kept in memory, and the log says so.
    data_dir: Option<PathBuf>, "data_dir", FOLDER, "", restart;

    /// Keep the backends of an app while most of them seem to expire at once, since then the network is
    /// the likelier culprit.
    mass_expiry_guard: bool, "mass_expiry_guard", Kind::Switch, "true";

    /// How a backend is picked.
    algorithm: Algorithm, "algorithm", Kind::OneOf(Algorithm::NAMES), "region_affinity";

    /// How backends are probed: off, tcp, or http: and the path to get.
    health_monitor: HealthMonitor, "health_monitor",
        Kind::Text { name: "off|tcp|http:/PATH", expected: "\"off\", \"tcp\", or \"http:\" and a path, such as \"http:/healthz\"" }, "off";

    /// The time between two probes of a backend.
    health_interval: Duration, "health_interval_secs", seconds(1, 3_600), "5";

    /// How many probes may be under way at once.
    max_concurrent_probes: u32, "max_concurrent_probes", number(1, 65_536), "64", restart;

    /// Threads that forward traffic; auto is one for each core.
    workers: Workers, "workers",
        Kind::Number { min: 1, max: 1_024, unit: "threads", word: Some("auto") }, "auto", restart;

    /// How long a request's head may take from its first byte to its last; then it gets 408. Also for a PROXY
    /// protocol header.
    header_timeout: Duration, "header_timeout_secs", seconds(1, 3_600), "10";

    /// How long a TLS handshake with a client may take; also its first message, where TLS is passed on.
    handshake_timeout: Duration, "handshake_timeout_secs", seconds(1, 3_600), "10";

    /// How long a client's HTTP connection is kept without a request.
    idle_timeout: Duration, "idle_timeout_secs", seconds(1, 86_400), "75";

    /// How long a client may read nothing of an answer before it is cut off.
    send_timeout: Duration, "send_timeout_secs", seconds(1, 3_600), "60";

    /// The longest head of a request; a longer one gets 431.
    max_head_bytes: usize, "max_head_bytes", bytes(8_192, 65_536), "32768";

    /// The most header fields of a request; more get 431.
    max_fields: usize, "max_fields", number(1, 256), "100";

    /// The longest target of a request; a longer one gets 414.
    max_target_bytes: usize, "max_target_bytes", bytes(1, 65_536), "8192";

    /// The most connections of clients. Further ones wait until one ends.
    max_connections: usize, "max_connections", number(1, 10_000_000), "65536";

    /// The most connections of one client, which is an IPv4 address or an IPv6 /64; 0 is no limit. Further ones
    /// are closed at once. Peers in trusted_proxies have no limit.
    max_connections_per_client: u32, "max_connections_per_client", number(0, 10_000_000), "0";

    /// The most concurrent requests on one HTTP/2 connection.
    http2_max_streams: u32, "http2_max_streams", number(1, 65_536), "128";

    /// How many streams an HTTP/2 client may reset each second before they are answered; more close its
    /// connection.
    http2_max_reset_streams: usize, "http2_max_reset_streams", number(1, 65_536), "64";

    /// The authorities that https backends' certificates have to come from, as PEM; by default those that the
    /// system trusts. It is read again when it changes.
    backend_tls_ca: Option<PathBuf>, "backend_tls_ca", PATH, "";

    /// The name that https backends' certificates have to be for; by default each backend's IP address.
    backend_tls_server_name: Option<HostName>, "backend_tls_server_name",
        Kind::Text { name: "NAME", expected: "a host name without a port, such as \"backends.internal\"" }, "";

    /// Accept any certificate of an https backend. An attacker in between goes unnoticed.
    backend_tls_insecure: bool, "backend_tls_insecure", Kind::Switch, "false";

    /// The certificate that https backends are shown if they ask for one, as PEM.
    backend_tls_cert: Option<PathBuf>, "backend_tls_cert", PATH, "";

    /// The private key of backend_tls_cert, as PEM, unencrypted.
    backend_tls_key: Option<PathBuf>, "backend_tls_key", PATH, "";

    /// How long an idle connection to a backend is kept.
    pool_idle_timeout: Duration, "pool_idle_timeout_secs", seconds(1, 3_600), "60";

    /// How many idle connections a worker keeps to one backend.
    pool_max_idle: usize, "pool_max_idle", number(0, 65_536), "256";

    /// How long requests in flight may go on when the proxy stops.
    drain_timeout: Duration, "drain_timeout_secs", seconds(0, 3_600), "30";

    /// The networks whose X-Forwarded-* and Forwarded headers are believed.
    trusted_proxies: Vec<IpNet>, "trusted_proxies", NETWORKS, "";

    /// A database of countries by address, in MaxMind's format (.mmdb), for region_affinity. It is read again
    /// when it changes. Without one, clients' countries are unknown unless country_header names them.
    geoip_path: Option<PathBuf>, "geoip_path", DATABASE, "";

    /// The header in which trusted proxies name the client's country, such as CF-IPCountry. It wins over the
    /// client's address, which is the nearest in X-Forwarded-For that is not in trusted_proxies.
    country_header: Option<HeaderName>, "country_header",
        Kind::Text { name: "NAME", expected: "the name of a header, such as \"CF-IPCountry\"" }, "";

    /// The form of a log line.
    log_format: LogFormat, "log_format", Kind::OneOf(LogFormat::NAMES), "text", restart;

    /// Which log lines are written: a level, or levels by module.
    log_level: LogFilter, "log_level" / "EDGEPROXY_LOG",
        Kind::Text { name: "LEVEL", expected: "off, error, warn, info, debug or trace, or levels by module such as \"info,edgeproxy_proxy=debug\"" }, "info";
}

apps {
    /// When traffic leaves the nearest region: once its backends are at their hard limit, or already
    /// above their soft one.
    spill: Spill, "spill", Kind::OneOf(Spill::NAMES), "hard";

    /// The regions that are asked after the client's and this proxy's own, nearest first, with region_affinity;
    /// those that are not named come last.
    region_order: Vec<Region>, "region_order",
        Kind::List { name: "REGION,…", expected: "the name of a region, such as \"eu\"" }, "";

    /// What is hashed with algorithm hash: the client's address, or a header or cookie of the request, and the
    /// address where a request lacks it. Of a header that comes twice the first counts.
    hash_key: HashKey, "hash_key",
        Kind::Text { name: "client_ip|header:NAME|cookie:NAME", expected: HashKey::EXPECTED }, "client_ip";

    /// What keeps a client with its backend: nothing (off), its address, a cookie that the proxy sets, or a
    /// header. A hard limit, a drain and an ejection win over it.
    sticky: Sticky, "sticky",
        Kind::Text { name: "off|client_ip|cookie|header:NAME", expected: Sticky::EXPECTED }, "off";

    /// How long a client is kept with its backend after its last request, or up to a sixty-fourth less.
    binding_ttl: Duration, "binding_ttl_secs", seconds(1, 604_800), "600";

    /// The name of the cookie with sticky cookie. Apps that share a host need one each.
    sticky_cookie: CookieName, "sticky_cookie",
        Kind::Text { name: "NAME", expected: CookieName::EXPECTED }, "edgeproxy";

    /// How many clients of an app are kept with their backends by address or header. Beyond that, the one that
    /// was away for the longest is forgotten. Each takes 16 bytes, allocated at the start.
    max_bindings: usize, "max_bindings", number(8, 1 << 24), "65536";

    /// How long a backend that joins or comes back takes to reach its full share of the traffic; 0 gives it all
    /// at once.
    slow_start: Duration, "slow_start_secs", seconds(0, 3_600), "0";

    /// How the share grows meanwhile: evenly with 1, faster at the beginning above 1, slower below.
    slow_start_aggression: Decimal, "slow_start_aggression", Kind::Decimal { min: 100, max: 10_000 }, "1";

    /// How many requests in a row may fail before a backend is ejected; 0 never ejects.
    max_failures: u32, "max_failures", number(0, 1_000_000), "0";

    /// Statuses that count as a failed request and are retried like a request without a response. The client
    /// gets the response if no other backend is there.
    unhealthy_responses: StatusCodes, "unhealthy_responses", Kind::Codes, "";

    /// Whether failures may eject the last routable backend of an app.
    last_backend: LastBackend, "last_backend", Kind::OneOf(LastBackend::NAMES), "keep";

    /// The greatest share of an app's backends that failed requests may keep out at the same time, in percent
    /// of those that nothing else keeps out; always at least one. 100 is no bound.
    max_ejection_percent: u32, "max_ejection_percent", number(1, 100), "100";

    /// If fewer than this share of an app's backends are healthy, health is ignored and all are used; 0 never
    /// does that. Backends that an operator has disabled, that drain, or whose weight is 0 stay out and don't
    /// count.
    panic_threshold: Decimal, "panic_threshold", Kind::Decimal { min: 0, max: 1_000 }, "0";

    /// Whether a new backend gets traffic at once, or only after it has passed a first probe. Without a health
    /// monitor it is always at once.
    initial: Initial, "initial", Kind::OneOf(Initial::NAMES), "routable";

    /// Retry a failed request where that can do no harm.
    retry_enabled: bool, "retry_enabled", Kind::Switch, "true";

    /// The most attempts at one request, the first included.
    max_attempts: u32, "max_attempts", number(1, 100), "3";

    /// The longest body of a request that is kept for another attempt.
    replay_max_bytes: usize, "replay_max_bytes", bytes(0, 64 << 20), "65536";

    /// Retry a request that was sent and not answered even if its method is not idempotent.
    retry_non_idempotent: bool, "retry_non_idempotent", Kind::Switch, "false";

    /// How many retries an app may have for every hundred of its requests.
    retry_budget_percent: u32, "retry_budget_percent", number(0, 1_000), "20";

    /// How many retries an app may have each second on top of that.
    retry_budget_per_sec: u32, "retry_budget_per_sec", number(0, 1_000_000), "10";

    /// How many requests of an app may wait while all of its backends are at their hard limit. Further ones get
    /// 503 at once; with 0 all do.
    queue_max: usize, "queue_max", number(0, 1_000_000), "1024";

    /// How long a request may wait in that queue before it gets 503.
    queue_timeout: Duration, "queue_timeout_secs", seconds(1, 3_600), "5";

    /// How long connecting to a backend may take, including a TLS handshake. Then another is tried, or the
    /// client gets 504.
    connect_timeout: Duration, "connect_timeout_secs", seconds(1, 3_600), "5";

    /// How long a backend may take to begin its answer. Then another is tried, or the client gets 504. Also how
    /// long a client may pause within a body.
    response_header_timeout: Duration, "response_header_timeout_secs", seconds(1, 86_400), "60";

    /// How long a backend may pause in the middle of its answer before that is cut off. gRPC calls over HTTP/2
    /// are exempt: they have deadlines of their own.
    response_body_timeout: Duration, "response_body_timeout_secs", seconds(1, 86_400), "300";

    /// How long a connection that has switched to another protocol, such as a WebSocket, may be silent.
    tunnel_idle_timeout: Duration, "tunnel_idle_timeout_secs", seconds(1, 604_800), "3600";

    /// How long both directions of a TCP connection may be silent.
    tcp_idle_timeout: Duration, "tcp_idle_timeout_secs", seconds(1, 604_800), "3600";

    /// How many of a hundred answers carry X-Edgeproxy-Decision, which names the backend, the attempt, and why
    /// it was picked; 0 is none.
    decision_header_percent: u32, "decision_header_percent", number(0, 100), "0";

    /// The longest body of a request; a longer one gets 413.
    max_body_bytes: Option<u64>, "max_body_bytes",
        Kind::Number { min: 0, max: 1 << 50, unit: "bytes", word: Some("unlimited") }, "unlimited";
}
}

#[expect(
    clippy::expect_used,
    reason = "the defaults are literals of this file, and a test reads every one"
)]
fn built_in<T: FromValue>(kind: &Kind, default: &str) -> T {
    let value = kind.read_text(default).expect("a default has its setting's kind");
    T::from_value(&value).expect("a default is valid")
}
