//! A running edgeproxy, and what is asked of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::peers::stage::{Stage, free_address};
use crate::bench::peers::usage::{Usage, resident};
use crate::process::{PATIENCE, Process, value};

/// Beyond what a client was told to take.
const GRACE: Duration = Duration::from_secs(60);

pub(super) struct Running {
    pub(super) http: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) process: Process,
    pub(super) folder: PathBuf,
    /// From exec to the first `/ready` that said yes.
    pub(super) ready: Duration,
}

impl Running {
    /// One worker, all cores, the store in a file as by default, by that configuration file.
    pub(super) fn start(stage: &Stage, name: &str, file: &str) -> anyhow::Result<Self> {
        let folder = stage.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        std::fs::write(folder.join("edgeproxy.toml"), file)
            .with_context(|| format!("{} can't be written", folder.display()))?;
        let (http, api) = (free_address()?, free_address()?);
        let mut command = stage.command(&stage.cores.all, &stage.edgeproxy);
        command
            .arg("run")
            .current_dir(&folder)
            .env("EDGEPROXY_LISTEN_ADDR", http.to_string())
            .env("EDGEPROXY_API_ENABLED", "true")
            .env("EDGEPROXY_API_LISTEN_ADDR", api.to_string())
            .env("EDGEPROXY_API_RATE_PER_PEER", "1000000")
            .env("EDGEPROXY_MAX_BACKENDS", "2000000")
            .env("EDGEPROXY_DATA_DIR", folder.join("data"))
            .env("EDGEPROXY_HEARTBEAT_TTL_SECS", "3600")
            .env("EDGEPROXY_DRAIN_TIMEOUT_SECS", "5")
            .env("EDGEPROXY_WORKERS", "1");
        let began = Instant::now();
        let process = Process::start("edgeproxy", command, &folder.join("log"))?;
        while !matches!(ask(api, "edgeproxy", "/ready"), Ok((200, _))) {
            ensure!(
                began.elapsed() < PATIENCE,
                "edgeproxy was not ready within {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let ready = began.elapsed();
        Ok(Self {
            http,
            api,
            process,
            folder,
            ready,
        })
    }

    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        resident(&[self.process.id()])
    }

    /// Processor time of the threads of that name so far.
    pub(super) fn used(&self, threads: &str) -> anyhow::Result<Duration> {
        Ok(Duration::from_nanos(Usage::of_threads(
            self.process.id(),
            threads,
        )?))
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("no process")?, signal).context("edgeproxy has ended")
    }
}

/// The threads that requests are served on, and the one that has registry and API.
pub(super) const WORKER: &str = "proxy-";
pub(super) const CONTROL: &str = "edgeproxy-contr";

/// One request on a connection of its own: the status, and how long the answer is.
pub(super) fn ask(to: SocketAddr, host: &str, path: &str) -> anyhow::Result<(u16, usize)> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = answer
        .get(9..12)
        .and_then(|status| std::str::from_utf8(status).ok());
    let status = status
        .and_then(|status| status.parse().ok())
        .context("no status")?;
    Ok((status, answer.len()))
}

/// Follows a stream for so long, and gives how many bytes came.
pub(super) fn follow(to: SocketAddr, path: &str, time: Duration) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: edgeproxy\r\nAccept: text/event-stream\r\n\r\n"
    )?;
    let (began, mut bytes, mut buffer) = (Instant::now(), 0, vec![0; 64 * 1024]);
    while began.elapsed() < time {
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the stream ended after {bytes} bytes"),
            Ok(count) => bytes += count,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// What a client of `edgeproxy-peers` printed; times in milliseconds.
pub(super) struct Told {
    pub(super) done: f64,
    pub(super) seconds: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) longest: f64,
}

impl Told {
    pub(super) fn read(output: &str) -> anyhow::Result<Self> {
        let number =
            |key| value::<f64>(output, key).with_context(|| format!("the client printed no `{key}`"));
        Ok(Self {
            done: number("done")?,
            seconds: number("seconds").unwrap_or_default(),
            p50: number("p50_us")? / 1e3,
            p99: number("p99_us")? / 1e3,
            longest: number("max_us")? / 1e3,
        })
    }

    pub(super) fn times(&self) -> String {
        format!(
            "p50 {:.2} ms, p99 {:.2}, longest {:.1}",
            self.p50, self.p99, self.longest
        )
    }
}

/// Starts a client, pinned to the cores of the ends.
pub(super) fn client(stage: &Stage, part: &[&str]) -> anyhow::Result<Process> {
    let mut command = stage.part(&stage.cores.ends);
    command.args(part);
    let name = part.first().copied().unwrap_or("client");
    Process::start(name, command, &stage.folder.join(format!("scale-{name}.log")))
}

/// Runs a client to its end.
pub(super) fn told(stage: &Stage, part: &[&str], limit: Duration) -> anyhow::Result<Told> {
    Told::read(&client(stage, part)?.finish(limit + GRACE)?)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
