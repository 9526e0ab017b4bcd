//! The proxies, each set up as its makers advise for this use.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bench::peers::stage::{Stage, free_address};
use crate::bench::peers::tools::Tool;
use crate::bench::peers::usage::{Usage, resident, tree};
use crate::process::Process;
use crate::register;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Proxy {
    Edgeproxy,
    /// The same, with the access log and a follower of its figures: what watching costs.
    #[value(skip)]
    Watched,
    Nginx,
    Haproxy,
    /// Reads and writes, and looks at nothing.
    Relay,
    /// The same without the bytes leaving the kernel.
    Splice,
}

/// How clients speak to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    Http1,
    Http2,
    Tcp,
}

/// A running one.
pub(crate) struct Started {
    pub(crate) addr: SocketAddr,
    process: Process,
    /// Of one that is watched. It is ended with it, and none of its processes.
    _follower: Option<Process>,
}

impl Started {
    fn new(addr: SocketAddr, process: Process) -> Self {
        Self {
            addr,
            process,
            _follower: None,
        }
    }

    /// Its processes, as they are now.
    pub(crate) fn ids(&self) -> Vec<u32> {
        tree(self.process.id())
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(&self.ids())
    }

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        resident(&self.ids())
    }
}

/// Why one was not started.
pub(crate) enum NotStarted {
    /// It can't do what is asked for.
    Unable(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for NotStarted {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// The app by which edgeproxy finds the origin.
const APP: &str = "origin";

impl Proxy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edgeproxy => "edgeproxy",
            Self::Watched => "edgeproxy, watched",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Relay => "byte relay (floor)",
            Self::Splice => "splicing relay (floor)",
        }
    }

    /// Whether it is one that somebody would use instead of edgeproxy.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy)
    }

    /// The program that is called.
    pub(crate) fn tool(self) -> Option<Tool> {
        match self {
            Self::Nginx => Some(Tool::NGINX),
            Self::Haproxy => Some(Tool::HAPROXY),
            Self::Edgeproxy | Self::Watched | Self::Relay | Self::Splice => None,
        }
    }

    /// Starts it in front of the origin and waits until it accepts.
    ///
    /// # Errors
    /// See [`NotStarted`].
    pub(crate) fn start(
        self,
        stage: &Stage,
        front: Front,
        workers: u32,
        cores: &str,
    ) -> Result<Started, NotStarted> {
        match self {
            Self::Edgeproxy => edgeproxy(stage, front, workers, cores, false),
            Self::Watched => edgeproxy(stage, front, workers, cores, true),
            Self::Nginx => nginx(stage, front, workers, cores).map_err(Into::into),
            Self::Haproxy => haproxy(stage, front, workers, cores).map_err(Into::into),
            Self::Relay => relay(stage, front, cores, "copy").map_err(Into::into),
            Self::Splice => relay(stage, front, cores, "splice").map_err(Into::into),
        }
    }
}

/// The product's own defaults but for addresses and workers, and a lease that outlives the case.
fn edgeproxy(
    stage: &Stage,
    front: Front,
    workers: u32,
    cores: &str,
    watched: bool,
) -> Result<Started, NotStarted> {
    const TCP: &str = "EDGEPROXY_TCP_LISTEN_ADDR";
    let http = free_address()?;
    let api = free_address()?;
    let tcp = free_address()?;
    let mut command = stage.command(cores, &stage.edgeproxy);
    command
        .arg("run")
        .current_dir(&stage.folder)
        .env("EDGEPROXY_LISTEN_ADDR", http.to_string())
        .env("EDGEPROXY_API_ENABLED", "true")
        .env("EDGEPROXY_API_LISTEN_ADDR", api.to_string())
        .env("EDGEPROXY_HEARTBEAT_TTL_SECS", "3600")
        .env("EDGEPROXY_STORE", "memory")
        .env("EDGEPROXY_WORKERS", workers.to_string());
    if watched {
        let log = stage.folder.join("access.jsonl");
        // Each round begins with an empty one.
        std::fs::write(&log, "").with_context(|| format!("{} can't be written", log.display()))?;
        command.env("EDGEPROXY_ACCESS_LOG", log);
    }
    if front == Front::Tcp {
        command.env(TCP, tcp.to_string()).env("EDGEPROXY_TCP_APP", APP);
    }
    let mut process = Process::start("edgeproxy", command, &stage.folder.join("edgeproxy.log"))?;
    let accepts = process.accepts(api).and_then(|()| process.accepts(http));
    if front != Front::Tcp {
        accepts?;
        register::backend(api, APP, stage.http)?;
        let mut started = Started::new(http, process);
        if watched {
            started._follower = Some(follower(stage, api)?);
        }
        return Ok(started);
    }
    // An edgeproxy without the setting warns of it, or does not start.
    let output = process.output();
    if let Some(line) = output.lines().find(|line| line.contains(TCP)) {
        return Err(NotStarted::Unable(format!(
            "this edgeproxy has no TCP listener: {line}"
        )));
    }
    accepts?;
    register::backend(api, APP, stage.bytes)?;
    process.accepts(tcp)?;
    Ok(Started::new(tcp, process))
}

/// What the dashboard asks for: events, and figures once a second.
fn follower(stage: &Stage, api: SocketAddr) -> anyhow::Result<Process> {
    let mut command = stage.command(&stage.cores.ends, Tool::CURL.command());
    command.args(["--silent", "--no-buffer"]);
    command.arg(format!("http://{api}/api/v1/events?stats=true"));
    let mut follower = Process::start("follower", command, &stage.folder.join("follower.log"))?;
    follower.prints("event: stats", FIRST_FIGURES)?;
    Ok(follower)
}

/// They come once a second.
const FIRST_FIGURES: Duration = Duration::from_secs(10);

fn nginx(stage: &Stage, front: Front, workers: u32, cores: &str) -> anyhow::Result<Started> {
    let addr = free_address()?;
    let folder = stage.folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let (module, server) = match front {
        Front::Http1 | Front::Http2 => {
            // In this version a cleartext port speaks either HTTP/1 or HTTP/2.
            let protocol = if front == Front::Http2 { " http2" } else { "" };
            (String::new(), nginx_http(addr, protocol, stage.http))
        }
        Front::Tcp => (nginx_stream_module()?, nginx_stream(addr, stage.bytes)),
    };
    let text = format!(
        "{module}
daemon off;
pid nginx.pid;
worker_processes {workers};
error_log error.log warn;
events {{ worker_connections 15000; }}
{server}"
    );
    let file = folder.join("nginx.conf");
    write(&file, &text)?;
    let mut command = stage.command(cores, Tool::NGINX.command());
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    started("nginx", command, &folder.join("output.log"), addr)
}

/// Headers as edgeproxy adds them in kind; buffers that hold an answer of 64 KiB, so that none goes to disk;
/// no end to a kept-alive connection.
fn nginx_http(addr: SocketAddr, protocol: &str, origin: SocketAddr) -> String {
    format!(
        "http {{
    access_log off;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_header_timeout 10s;
    upstream origin {{
        server {origin};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    server {{
        listen {addr}{protocol} reuseport backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffer_size 16k;
            proxy_buffers 8 32k;
            proxy_busy_buffers_size 64k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"
    )
}

fn nginx_stream(addr: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "stream {{
    server {{
        listen {addr} reuseport backlog=4096;
        proxy_pass {origin};
        tcp_nodelay on;
    }}
}}
"
    )
}

/// The line that loads it, where it is a module of its own.
fn nginx_stream_module() -> anyhow::Result<String> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if Path::new(MODULE).exists() {
        Ok(format!("load_module {MODULE};"))
    } else {
        bail!("found no {MODULE}: apt-get install libnginx-mod-stream")
    }
}

fn haproxy(stage: &Stage, front: Front, workers: u32, cores: &str) -> anyhow::Result<Started> {
    let addr = free_address()?;
    let (protocol, mode, origin) = match front {
        Front::Http1 => ("", HAPROXY_HTTP, stage.http),
        Front::Http2 => (" proto h2", HAPROXY_HTTP, stage.http),
        Front::Tcp => ("", HAPROXY_TCP, stage.bytes),
    };
    let text = format!(
        "global
    nbthread {workers}
    maxconn 15000
    # With fewer open files than two for each connection it would not start, although few are needed here.
    no strict-limits

defaults
    timeout connect 5s
    timeout client 75s
    timeout server 60s
{mode}
listen front
    bind {addr}{protocol} backlog 4096
    server origin {origin}
"
    );
    let file = stage.folder.join("haproxy.cfg");
    write(&file, &text)?;
    let mut command = stage.command(cores, Tool::HAPROXY.command());
    // In the foreground, one process.
    command.arg("-db").arg("-f").arg(&file);
    started("HAProxy", command, &stage.folder.join("haproxy.log"), addr)
}

const HAPROXY_HTTP: &str = "    mode http
    timeout http-request 10s
    timeout http-keep-alive 75s
    option forwardfor
    http-reuse always
";

/// Splicing is asked for outright: by itself (`splice-auto`) it seldom begins to.
const HAPROXY_TCP: &str = "    mode tcp
    option splice-request
    option splice-response
";

fn relay(stage: &Stage, front: Front, cores: &str, how: &str) -> anyhow::Result<Started> {
    let to = match front {
        Front::Http1 | Front::Http2 => stage.http,
        Front::Tcp => stage.bytes,
    };
    let mut command = stage.part(cores);
    command.args(["relay", how, &to.to_string()]);
    let mut process = Process::start("relay", command, &stage.folder.join("relay.log"))?;
    let addr = process.value("relay")?;
    Ok(Started::new(addr, process))
}

fn started(name: &str, command: Command, log: &Path, addr: SocketAddr) -> anyhow::Result<Started> {
    let mut process = Process::start(name, command, log)?;
    process.accepts(addr)?;
    Ok(Started::new(addr, process))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}
