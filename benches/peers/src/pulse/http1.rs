//! edgeproxy's discovery API.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};

use super::Dialect;

/// The address of a backend that nobody is ever sent to: on loopback, and nobody listens there.
fn ip(member: u64) -> [u8; 4] {
    let [.., a, b, c] = member.to_be_bytes();
    [127, a + 1, b, c]
}

/// Registers a backend for each member.
pub(crate) struct Registrations {
    to: SocketAddr,
    /// The member that counting begins at, and how many apps they are spread over.
    first: u64,
    apps: u64,
    body: Vec<u8>,
}

impl Registrations {
    pub(crate) const fn new(to: SocketAddr, first: u64, apps: u64) -> Self {
        Self {
            to,
            first,
            apps,
            body: Vec::new(),
        }
    }
}

impl Dialect for Registrations {
    fn ask(&mut self, member: u64, to: &mut Vec<u8>) {
        let member = self.first + member;
        let [a, b, c, d] = ip(member);
        self.body.clear();
        // Writing to a Vec can't fail.
        let _ = write!(
            self.body,
            r#"{{"id":"backend-eu-{member:07}","app":"app-{}","region":"eu","country":"DE","ip":"{a}.{b}.{c}.{d}","port":9,"ttl_secs":60}}"#,
            member % self.apps
        );
        let _ = write!(
            to,
            "POST /api/v1/register HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.to,
            self.body.len()
        );
        to.extend_from_slice(&self.body);
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, _: &mut Vec<u8>) -> anyhow::Result<usize> {
        take(from, b"201")
    }
}

/// Sends heartbeats without a body.
pub(crate) struct Heartbeats {
    pub(crate) to: SocketAddr,
}

impl Dialect for Heartbeats {
    fn ask(&mut self, member: u64, to: &mut Vec<u8>) {
        let _ = write!(
            to,
            "POST /api/v1/heartbeat/backend-eu-{member:07} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            self.to
        );
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, _: &mut Vec<u8>) -> anyhow::Result<usize> {
        take(from, b"200")
    }
}

/// Asks for 1 KiB.
pub(crate) struct Requests {
    pub(crate) to: SocketAddr,
}

impl Dialect for Requests {
    fn ask(&mut self, _: u64, to: &mut Vec<u8>) {
        let _ = write!(to, "GET /1k HTTP/1.1\r\nHost: {}\r\n\r\n", self.to);
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, _: &mut Vec<u8>) -> anyhow::Result<usize> {
        take(from, b"200")
    }
}

/// Asks for 1 KiB as one host after the other, in an order that looks random.
pub(crate) struct Hosts {
    pub(crate) hosts: u64,
}

impl Dialect for Hosts {
    fn ask(&mut self, member: u64, to: &mut Vec<u8>) {
        let host = member.wrapping_mul(2_654_435_761) % self.hosts;
        let _ = write!(to, "GET /1k HTTP/1.1\r\nHost: host-{host}.example\r\n\r\n");
    }

    fn take_answers(&mut self, from: &mut Vec<u8>, _: &mut Vec<u8>) -> anyhow::Result<usize> {
        take(from, b"200")
    }
}

/// Takes whole answers of that status off the front.
fn take(from: &mut Vec<u8>, status: &[u8]) -> anyhow::Result<usize> {
    let (mut answers, mut rest) = (0, from.as_slice());
    while let Some(len) = whole(rest, status)? {
        answers += 1;
        rest = &rest[len..];
    }
    let taken = from.len() - rest.len();
    from.drain(..taken);
    Ok(answers)
}

/// How long the answer at the beginning is, once all of it is there.
fn whole(bytes: &[u8], status: &[u8]) -> anyhow::Result<Option<usize>> {
    let (mut length, mut at) = (None, 0);
    loop {
        let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line = bytes[at..at + end].trim_ascii_end();
        if at == 0 {
            ensure!(
                line.get(9..12) == Some(status),
                "found `{}`, expected status {}: {}",
                line.escape_ascii(),
                status.escape_ascii(),
                bytes.escape_ascii()
            );
        }
        at += end + 1;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_at_checked(15)
            && name.eq_ignore_ascii_case(b"content-length:")
        {
            length = std::str::from_utf8(value.trim_ascii())?.parse::<usize>().ok();
        }
    }
    let all = at + length.context("an answer without Content-Length")?;
    Ok((bytes.len() >= all).then_some(all))
}
