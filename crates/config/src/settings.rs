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
    /// Where clients connect for HTTP. Port 0 lets the system choose one; off is nowhere.
    /// Listeners of the file come besides.
    listen_addr: Option<SocketAddr>, "listen_addr", SOCKET_OR_OFF, "0.0.0.0:8080", restart;

    /// Where clients connect for TCP to the app of tcp_app. Port 0 lets the system choose one.
    tcp_listen_addr: Option<SocketAddr>, "tcp_listen_addr", SOCKET_OR_OFF, "off", restart;

    /// The app whose backends take the connections of tcp_listen_addr.
    tcp_app: Option<AppName>, "tcp_app",
        Kind::Text { name: "APP", expected: "the name of an app, such as \"database\"" }, "";

    /// Serve HTTP inside TLS at tls_listen_addr, with the certificate of tls_cert. Listeners of the file can have
    /// more: see tls there.
    tls_enabled: bool, "tls_enabled", Kind::Switch, "false", restart;

    /// Where clients connect for HTTP inside TLS. Port 0 lets the system choose one.
    tls_listen_addr: SocketAddr, "tls_listen_addr", SOCKET, "0.0.0.0:8443", restart;

    /// The certificate of tls_listen_addr, and the chain that leads to an authority, as PEM. It is read again
    /// when it changes.
    tls_cert: Option<PathBuf>, "tls_cert", PATH, "";

    /// The private key of tls_cert, as PEM, unencrypted.
    tls_key: Option<PathBuf>, "tls_key", PATH, "";

    /// The region that this proxy stands in. Traffic stays in it while it has room.
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

    /// Serve the API to any peer. Without it only loopback and private networks are served, and with
    /// api_tokens_file whoever has a token.
    api_insecure: bool, "api_insecure", Kind::Switch, "false";

    /// Who may use the API for what: tokens and clients' certificates with their roles and apps. With it everybody
    /// needs one, on loopback as well. It is read again when it changes.
    api_tokens_file: Option<PathBuf>, "api_tokens_file", TOKENS, "";

    /// The certificate of the API, and the chain that leads to an authority, as PEM; none is no TLS. It is read again
    /// when it changes.
    api_tls_cert: Option<PathBuf>, "api_tls_cert", PATH, "", restart;

    /// The private key of api_tls_cert, as PEM, unencrypted.
    api_tls_key: Option<PathBuf>, "api_tls_key", PATH, "", restart;

    /// The authorities that issue certificates of the API's clients, as PEM. What each client may do stands in
    /// api_tokens_file.
    api_tls_client_ca: Option<PathBuf>, "api_tls_client_ca", PATH, "", restart;

    /// Whether clients of the API have to show a certificate, where there is an api_tls_client_ca.
    api_tls_client_auth: ClientAuth, "api_tls_client_auth", Kind::OneOf(ClientAuth::NAMES), "required", restart;

    /// Host names by which backends reach the API, besides localhost and the machine's own. A change that
    /// is addressed to any other name is refused, since a web page could have made a browser send it.
    api_allowed_hosts: Vec<HostName>, "api_allowed_hosts",
        Kind::List { name: "NAME,…", expected: "a host name without a port, such as \"edgeproxy.internal\"" }, "";

    /// How many API requests a peer may make per second, with a burst of as many, counted apart for those that change
    /// something and those that don't; 0 is no limit. An IPv6 peer is its /64.
    api_rate_per_peer: u32, "api_rate_per_peer", number(0, 1_000_000), "10000";

    /// Which address a backend may register: any, or same_address, the one that it registers from.
    register_source: RegisterSource, "register_source", Kind::OneOf(RegisterSource::NAMES), "any";

    /// Where every change by the API, and every attempt that was refused, is written down: off, stderr, or a file.
    audit_log: AuditLog, "audit_log",
        Kind::Text { name: "off|stderr|PATH", expected: "\"off\", \"stderr\", or the path of a file such as \"/var/log/edgeproxy/audit.jsonl\"" }, "off", restart;

    /// How many backends GET /metrics tells of one by one, each in some 50 series; those beyond, the latest to register,
    /// are told of within their app only.
    metrics_max_backends: usize, "metrics_max_backends", number(0, 1_000_000), "1000", restart;

    /// Where every request is written down, a line each: off, - for standard output, or a file. One that is moved away, as by
    /// logrotate, is begun anew without a signal.
    access_log: AccessLog, "access_log",
        Kind::Text { name: "off|-|PATH", expected: "\"off\", \"-\" for standard output, or the path of a file such as \"/var/log/edgeproxy/access.jsonl\"" }, "off", restart;

    /// How a line of the access log looks: an object of JSON, or words.
    access_log_format: AccessLogFormat, "access_log_format", Kind::OneOf(AccessLogFormat::NAMES), "json", restart;

    /// Which share of the requests that went well is written down, from 0 to 1. Those that didn't always are: 5xx, the
    /// proxy's own answers, answers that broke off, clients that left.
    access_log_sample: Decimal, "access_log_sample", Kind::Decimal { min: 0, max: 1_000 }, "1";

    /// Write down the query of requests as well. It often holds what is nobody's business, such as tokens.
    access_log_query: bool, "access_log_query", Kind::Switch, "false";

    /// Where requests are told of as spans of a trace, by OTLP over HTTP: the address of a collector of OpenTelemetry; none is
    /// nowhere. Without a port 4318 is meant, and without a path /v1/traces.
    traces_url: Option<CollectorUrl>, "traces_url",
        Kind::Text { name: "URL", expected: "the address of a collector, such as \"http://127.0.0.1:4318\"" }, "", restart;

    /// The authorities that the certificate of a collector with https: is checked against, as PEM; none is those of the system.
    traces_ca: Option<PathBuf>, "traces_ca", PATH, "", restart;

    /// Which share of the requests is told of as spans, from 0 to 1, where traces_follow doesn't decide it.
    traces_sample: Decimal, "traces_sample", Kind::Decimal { min: 0, max: 1_000 }, "0.1";

    /// Whose traceparent decides by its flag whether a request is told of as spans: nobody's, that of trusted_proxies, or
    /// everybody's, with which anybody can have everything told of. The trace is gone on with in any case.
    traces_follow: TracesFollow, "traces_follow", Kind::OneOf(TracesFollow::NAMES), "trusted";

    /// The networks that a backend's address must be in; none means any.
    allowed_backend_cidrs: Vec<IpNet>, "allowed_backend_cidrs", NETWORKS, "";

    /// How long a backend stays registered without a heartbeat, unless it asks for another lease.
    heartbeat_ttl: Duration, "heartbeat_ttl_secs", seconds(5, 3_600), "60";

    /// How many backends there may be, over all apps.
    max_backends: usize, "max_backends", number(1, 10_000_000), "100000";

    /// Where registrations are kept, so that a restart forgets none: in a file in data_dir; in memory alone, where none
    /// outlives the process; or in etcd, where all proxies that name the same one share theirs. etcds: is inside TLS.
    store: StoreKind, "store",
        Kind::Text { name: "file|memory|etcd://HOST:PORT,…/PREFIX", expected: "\"file\", \"memory\", or the addresses of an etcd such as \"etcd://10.0.0.1:2379,10.0.0.2:2379\"" }, "file", restart;

    /// What this proxy is called among those that share a store, no two of which have the same name. None is the
    /// machine's name and the port of the API, or of the first listener.
    proxy_name: Option<OwnName>, "proxy_name",
        Kind::Text { name: "NAME", expected: "1 to 63 of A-Z a-z 0-9 . _ -, such as \"edge-1\"" }, "", restart;

    /// The user of an etcd that asks for one.
    etcd_user: Option<UserName>, "etcd_user",
        Kind::Text { name: "USER", expected: "the name of a user of etcd, at most 255 bytes" }, "", restart;

    /// A file with the password of etcd_user, and nothing else.
    etcd_password_file: Option<PathBuf>, "etcd_password_file",
        Kind::Text { name: "PATH", expected: "the path of a file, such as \"/etc/edgeproxy/etcd-password\"" }, "", restart;

    /// The authorities that etcd's certificates are checked against with etcds:, as PEM; none is those of the system.
    etcd_ca: Option<PathBuf>, "etcd_ca", PATH, "", restart;

    /// The certificate that is shown to etcd, and the chain that leads to an authority, as PEM.
    etcd_cert: Option<PathBuf>, "etcd_cert", PATH, "", restart;

    /// The private key of etcd_cert, as PEM, unencrypted.
    etcd_key: Option<PathBuf>, "etcd_key", PATH, "", restart;

    /// What the limits of backends count: local, what each proxy has in flight there, or shared, what all proxies of one
    /// store have together, each of them its share.
    limits: LimitsScope, "limits", Kind::OneOf(LimitsScope::NAMES), "local", restart;

    /// The folder that the file of store is in; it is made if it isn't there, and no two processes share it. None is the
    /// first of $STATE_DIRECTORY, $XDG_STATE_HOME/edgeproxy and ~/.local/state/edgeproxy that there is; where that can't
    /// be used either, registrations are kept in memory, and the log says so.
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

    /// How long a request's head may take from its first byte to its last, before 408; also a PROXY protocol
    /// header.
    header_timeout: Duration, "header_timeout_secs", seconds(1, 3_600), "10";

    /// How long a TLS handshake with a client may take; also its first message, where that is only looked at.
    handshake_timeout: Duration, "handshake_timeout_secs", seconds(1, 3_600), "10";

    /// How long a client's HTTP connection is kept without a request.
    idle_timeout: Duration, "idle_timeout_secs", seconds(1, 86_400), "75";

    /// How long a client may take nothing of an answer.
    send_timeout: Duration, "send_timeout_secs", seconds(1, 3_600), "60";

    /// The longest head of a request, before 431.
    max_head_bytes: usize, "max_head_bytes", bytes(8_192, 65_536), "32768";

    /// The most fields of a request, before 431.
    max_fields: usize, "max_fields", number(1, 256), "100";

    /// The longest target of a request, before 414.
    max_target_bytes: usize, "max_target_bytes", bytes(1, 65_536), "8192";

    /// The most connections of clients. Whoever comes then waits until one ends.
    max_connections: usize, "max_connections", number(1, 10_000_000), "65536";

    /// The most connections of one client, which is an IPv4 address or an IPv6 /64; 0 is no limit. One more
    /// is closed at once. Peers in trusted_proxies are no clients and have no limit.
    max_connections_per_client: u32, "max_connections_per_client", number(0, 10_000_000), "0";

    /// The most requests at a time on one HTTP/2 connection.
    http2_max_streams: u32, "http2_max_streams", number(1, 65_536), "128";

    /// How many streams an HTTP/2 client may reset before they were served, until its connection is closed.
    http2_max_reset_streams: usize, "http2_max_reset_streams", number(1, 65_536), "64";

    /// The authorities that https backends' certificates have to come from, as PEM; none is those that the system
    /// trusts. It is read again when it changes.
    backend_tls_ca: Option<PathBuf>, "backend_tls_ca", PATH, "";

    /// The name that https backends' certificates have to be for; none is each backend's IP address.
    backend_tls_server_name: Option<HostName>, "backend_tls_server_name",
        Kind::Text { name: "NAME", expected: "a host name without a port, such as \"backends.internal\"" }, "";

    /// Take any certificate of an https backend: whoever sits between is not noticed.
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

    /// A database of countries by address, in MaxMind's format (.mmdb), for region_affinity. It is read again when it
    /// changes. Without one, nobody knows where clients are, unless country_header says so.
    geoip_path: Option<PathBuf>, "geoip_path", DATABASE, "";

    /// The header in which trusted proxies name the client's country, such as CF-IPCountry. It says more than the
    /// client's address, which is the nearest in X-Forwarded-For that is not in trusted_proxies.
    country_header: Option<HeaderName>, "country_header",
        Kind::Text { name: "NAME", expected: "the name of a header, such as \"CF-IPCountry\"" }, "";

    /// What a log line looks like.
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

    /// By what a client is known again, to keep it with its backend: off, its address, a cookie that the proxy
    /// sets, or a header. A hard limit, a drain and an ejection win over it.
    sticky: Sticky, "sticky",
        Kind::Text { name: "off|client_ip|cookie|header:NAME", expected: Sticky::EXPECTED }, "off";

    /// How long a client is kept with its backend after its last request, or up to a sixty-fourth less.
    binding_ttl: Duration, "binding_ttl_secs", seconds(1, 604_800), "600";

    /// The name of the cookie with sticky cookie. Apps that share a host need one each.
    sticky_cookie: CookieName, "sticky_cookie",
        Kind::Text { name: "NAME", expected: CookieName::EXPECTED }, "edgeproxy";

    /// How many clients of an app are kept with their backends by address or header; then those go first that
    /// have been away for the longest. Each takes 16 bytes, and all of them from the start.
    max_bindings: usize, "max_bindings", number(8, 1 << 24), "65536";

    /// How long a backend that joins, or comes back, takes to its full share of the traffic; 0 is no time.
    slow_start: Duration, "slow_start_secs", seconds(0, 3_600), "0";

    /// How the share grows meanwhile: 1 evenly, more at the beginning with more, less with less.
    slow_start_aggression: Decimal, "slow_start_aggression", Kind::Decimal { min: 100, max: 10_000 }, "1";

    /// How many requests in a row may fail before a backend is ejected; 0 never ejects.
    max_failures: u32, "max_failures", number(0, 1_000_000), "0";

    /// Statuses of a response that count as a failed request, and are tried again as one that got no response; the
    /// client gets the response if nobody else is there.
    unhealthy_responses: StatusCodes, "unhealthy_responses", Kind::Codes, "";

    /// Whether failures may eject the last routable backend of an app.
    last_backend: LastBackend, "last_backend", Kind::OneOf(LastBackend::NAMES), "keep";

    /// The greatest share of an app's backends that failed requests may keep out at the same time, in percent of those that
    /// nothing else keeps out; one of them always. 100 is no bound.
    max_ejection_percent: u32, "max_ejection_percent", number(1, 100), "100";

    /// The share of an app's backends below which health is ignored and all are used; 0 never. Those that an operator
    /// has disabled, that drain, or whose weight is 0 are not, and don't count.
    panic_threshold: Decimal, "panic_threshold", Kind::Decimal { min: 0, max: 1_000 }, "0";

    /// Whether a new backend gets traffic at once, or after it has passed a first probe. Where nothing probes, at once.
    initial: Initial, "initial", Kind::OneOf(Initial::NAMES), "routable";

    /// Try a failed request again where no harm can come of it.
    retry_enabled: bool, "retry_enabled", Kind::Switch, "true";

    /// The most attempts at one request, the first included.
    max_attempts: u32, "max_attempts", number(1, 100), "3";

    /// The longest body of a request that is kept for another attempt.
    replay_max_bytes: usize, "replay_max_bytes", bytes(0, 64 << 20), "65536";

    /// Try a request again that was sent and not answered although its method is not idempotent.
    retry_non_idempotent: bool, "retry_non_idempotent", Kind::Switch, "false";

    /// How many retries there may be for every hundred requests of one app.
    retry_budget_percent: u32, "retry_budget_percent", number(0, 1_000), "20";

    /// How many retries of one app there may be each second besides.
    retry_budget_per_sec: u32, "retry_budget_per_sec", number(0, 1_000_000), "10";

    /// How many requests of one app may wait while all of its backends are at their hard limit; the rest, and
    /// with 0 every one, get 503 at once.
    queue_max: usize, "queue_max", number(0, 1_000_000), "1024";

    /// How long a request may wait there before it gets 503.
    queue_timeout: Duration, "queue_timeout_secs", seconds(1, 3_600), "5";

    /// How long connecting to a backend may take, with the TLS handshake if there is one, before another is tried, or 504.
    connect_timeout: Duration, "connect_timeout_secs", seconds(1, 3_600), "5";

    /// How long a backend may take to begin its answer, before another is tried, or 504; also how long a
    /// client may pause within a body.
    response_header_timeout: Duration, "response_header_timeout_secs", seconds(1, 86_400), "60";

    /// How long a backend may pause in the middle of its answer, before that is broken off. Calls of gRPC over
    /// HTTP/2 are exempt: they have a deadline of their own.
    response_body_timeout: Duration, "response_body_timeout_secs", seconds(1, 86_400), "300";

    /// How long a connection that has switched to another protocol, such as a WebSocket, may be silent.
    tunnel_idle_timeout: Duration, "tunnel_idle_timeout_secs", seconds(1, 604_800), "3600";

    /// How long both directions of a TCP connection may be silent.
    tcp_idle_timeout: Duration, "tcp_idle_timeout_secs", seconds(1, 604_800), "3600";

    /// How many of a hundred answers tell the client by X-Edgeproxy-Decision which backend they are from, at which
    /// attempt, and why it was picked; 0 is none.
    decision_header_percent: u32, "decision_header_percent", number(0, 100), "0";

    /// The longest body of a request, before 413.
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
