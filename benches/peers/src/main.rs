//! Both ends of `cargo xtask bench peers`: a cheap origin, a bare relay as the floor, and crowds of clients.
//!
//! Only the harness starts it, with arguments by position. Each part prints `key value` lines for it to read;
//! servers print where they listen and end by a signal, crowds end when their standard input does.

mod bulk;
mod crowd;
mod fresh;
mod launch;
mod origin;
mod pulse;
mod relay;
mod slow;
mod splice;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::pulse::{Clients, Rhythm};

/// Apps that backends are spread over, unless it is said otherwise.
const APPS: u64 = 100;

const USAGE: &str = "edgeproxy-peers PART: one of
  launch PARENT CPUS PROGRAM [ARG]…   pin to CPUS, end with PARENT, become PROGRAM
  origin                              answer /1k, /64k, /256k by HTTP/1.1, and bytes by TCP
  relay copy|splice TO                a connection to TO for each client's, bytes both ways
  idle TO CLIENTS                     clients that make one request and stay
  stalled TO CLIENTS                  clients that ask for 256 KiB and read nothing
  slow TO CLIENTS SECS                clients that send a header line every five seconds
  bulk TO STREAMS BYTES               read BYTES over STREAMS connections
  exchange TO PARALLEL SECS           a connection for each small exchange
  held TO CLIENTS idle|websocket      as idle, from many addresses, all of them as fast as they are taken
  register TO BACKENDS CONNECTIONS [APPS [FIRST]]   register so many, one after the other on each connection
  fresh API TO FIRST COUNT BACKEND    register so many apps with one backend each, and ask for each at once
  hosts TO RATE SECS CONNECTIONS HOSTS   requests for 1 KiB, evenly, of so many hosts
  heartbeats TO BACKENDS RATE SECS CONNECTIONS   so many a second, evenly, whatever becomes of those before
  requests TO RATE SECS CONNECTIONS   requests for 1 KiB, evenly likewise
  renew TO BACKENDS CONNECTIONS SECS  heartbeats, the next on each connection as soon as one is answered
  grant TO LEASES CONNECTIONS DEPTH   leases in etcd, DEPTH at a time on each connection
  keepalive TO LEASES CONNECTIONS DEPTH SECS   renew them, a stream on each connection, DEPTH at a time";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["launch", parent, cpus, program, args @ ..] => launch::run(number(parent)?, cpus, program, args),
        ["origin"] => origin::run(),
        ["relay", "copy", to] => relay::run(address(to)?),
        ["relay", "splice", to] => splice::run(address(to)?),
        ["idle", to, clients] => crowd::idle(address(to)?, number(clients)?),
        ["held", to, clients, kind] => crowd::held(address(to)?, number(clients)?, kind),
        ["stalled", to, clients] => crowd::stalled(address(to)?, number(clients)?),
        ["slow", to, clients, secs] => slow::run(address(to)?, number(clients)?, seconds(secs)?),
        ["bulk", to, streams, bytes] => bulk::read(address(to)?, number(streams)?, number(bytes)?),
        ["exchange", to, parallel, secs] => bulk::exchange(address(to)?, number(parallel)?, seconds(secs)?),
        ["register", to, backends, connections, rest @ ..] => {
            let clients = clients(to, connections, "1", backends)?;
            let rhythm = Rhythm::Count(clients.members);
            let apps = rest.first().map_or(Ok(APPS), |apps| number(apps))?;
            let first = rest.get(1).map_or(Ok(0), |first| number(first))?;
            pulse::run(clients, rhythm, || {
                pulse::Registrations::new(clients.to, first, apps)
            })
        }
        ["fresh", api, to, first, count, backend] => fresh::run(
            address(api)?,
            address(to)?,
            number(first)?,
            number(count)?,
            address(backend)?,
        ),
        ["hosts", to, rate, secs, connections, hosts] => {
            let clients = clients(to, connections, "1", hosts)?;
            let (rate, time) = (number(rate)?, seconds(secs)?);
            pulse::run(clients, Rhythm::Open { rate, time }, || pulse::Hosts {
                hosts: clients.members,
            })
        }
        ["heartbeats", to, backends, rate, secs, connections] => {
            let clients = clients(to, connections, "1", backends)?;
            let (rate, time) = (number(rate)?, seconds(secs)?);
            pulse::run(clients, Rhythm::Open { rate, time }, || pulse::Heartbeats {
                to: clients.to,
            })
        }
        ["requests", to, rate, secs, connections] => {
            let clients = clients(to, connections, "1", "1")?;
            let (rate, time) = (number(rate)?, seconds(secs)?);
            pulse::run(clients, Rhythm::Open { rate, time }, || pulse::Requests {
                to: clients.to,
            })
        }
        ["renew", to, backends, connections, secs] => {
            let clients = clients(to, connections, "1", backends)?;
            let rhythm = Rhythm::Closed(seconds(secs)?);
            pulse::run(clients, rhythm, || pulse::Heartbeats { to: clients.to })
        }
        ["grant", to, leases, connections, depth] => {
            let clients = clients(to, connections, depth, leases)?;
            pulse::run(clients, Rhythm::Count(clients.members), pulse::Grants::default)
        }
        ["keepalive", to, leases, connections, depth, secs] => {
            let clients = clients(to, connections, depth, leases)?;
            pulse::run(
                clients,
                Rhythm::Closed(seconds(secs)?),
                pulse::KeepAlives::default,
            )
        }
        _ => bail!("{USAGE}"),
    }
}

fn clients(to: &str, connections: &str, depth: &str, members: &str) -> anyhow::Result<Clients> {
    Ok(Clients {
        to: address(to)?,
        connections: number(connections)?,
        depth: number(depth)?,
        members: number(members)?,
    })
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    text.parse()
        .with_context(|| format!("found `{text}`, expected IP:PORT"))
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> anyhow::Result<T> {
    text.parse()
        .with_context(|| format!("found `{text}`, expected a number"))
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let secs: f64 = number(text)?;
    Duration::try_from_secs_f64(secs).with_context(|| format!("found `{text}`, expected seconds"))
}
