//! Heartbeats as many as go, and etcd's lease keep-alives: each server on the same core, the same client on the other.
//!
//! Both are asked over as many connections, once one at a time on each, as backends do that know nothing of each other, and
//! etcd also with several at a time on each stream, as an agent does that speaks for many.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Proxy, middle, register, told};
use crate::bench::peers::stage::{Stage, free_address};
use crate::bench::peers::tools::Tool;
use crate::bench::peers::usage::{Usage, tree};
use crate::process::Process;

const TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: [&str; 2] = ["1", "64"];
/// Leases are granted by consensus, each with a write to the disk.
const PATIENCE: Duration = Duration::from_secs(120);

/// One way of asking, and what was found.
struct Case {
    what: String,
    part: Vec<String>,
    id: u32,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

pub(super) fn measure(stage: &Stage, leases: u32, rounds: u32) -> anyhow::Result<()> {
    let proxy = Proxy::start(stage, &stage.cores.proxy)?;
    register(stage, &proxy, leases)?;
    let (api, leases) = (proxy.api.to_string(), leases.to_string());
    let (etcd, addr) = start_etcd(stage)?;
    let etcd_addr = addr.to_string();
    told(stage, &["grant", &etcd_addr, &leases, "4", "64"], PATIENCE)?;

    let secs = TIME.as_secs().to_string();
    let mut cases = Vec::new();
    for connections in CONNECTIONS {
        let part = ["renew", &api, &leases, connections, &secs];
        let what = format!("edgeproxy, {connections} × 1");
        cases.push(Case::new(what, &part, proxy.process.id()));
        for depth in ["1", "16"] {
            let part = ["keepalive", &etcd_addr, &leases, connections, depth, &secs];
            let what = format!("etcd, {connections} × {depth}");
            cases.push(Case::new(what, &part, etcd.id()));
        }
    }
    for _ in 0..rounds {
        for case in &mut cases {
            case.turn(stage)?;
        }
    }
    println!("{leases} leases, {secs} s each; connections × requests at a time on each");
    for case in &cases {
        println!(
            "{}: {} a second, {} µs of the server's processor time each",
            case.what,
            middle(&case.rates, 0),
            middle(&case.costs, 1)
        );
    }
    Ok(())
}

impl Case {
    fn new(what: String, part: &[&str], id: u32) -> Self {
        Self {
            what,
            part: part.iter().map(|&word| word.to_owned()).collect(),
            id,
            rates: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn turn(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let part: Vec<&str> = self.part.iter().map(String::as_str).collect();
        let before = Usage::of(&tree(self.id))?;
        let told = told(stage, &part, TIME)?;
        let used = Usage::of(&tree(self.id))?.since(before);
        self.rates.push(told.rate());
        self.costs
            .push(Duration::from_nanos(used.nanos).as_secs_f64() * 1e6 / told.done);
        Ok(())
    }
}

/// A cluster of one, as it is by default; Go takes as many processors as it is pinned to.
fn start_etcd(stage: &Stage) -> anyhow::Result<(Process, SocketAddr)> {
    let (clients, peers) = (free_address()?, free_address()?);
    let url = |addr: SocketAddr| format!("http://{addr}");
    let mut command = stage.command(&stage.cores.proxy, Tool::ETCD.command());
    command
        .arg("--data-dir")
        .arg(stage.folder.join("etcd"))
        .args(["--listen-client-urls", &url(clients)])
        .args(["--advertise-client-urls", &url(clients)])
        .args(["--listen-peer-urls", &url(peers)])
        .args(["--initial-advertise-peer-urls", &url(peers)])
        .args(["--initial-cluster", &format!("default={}", url(peers))])
        .args(["--logger", "zap", "--log-level", "error"]);
    let mut process = Process::start("etcd", command, &stage.folder.join("etcd.log"))?;
    process.accepts(clients)?;
    Ok((process, clients))
}
