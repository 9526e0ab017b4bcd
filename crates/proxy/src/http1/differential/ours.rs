//! What the codec makes of a message, as a connection would use it.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use super::Verdict;
use super::generate::Response;
use super::peer::AFTER;
use crate::RouteTable;
use crate::headers::via::Pseudonym;
use crate::http1::body::Body;
use crate::http1::request::{self, Client, Method, Rules, Stop};
use crate::http1::response::{self, Asked, Delivery, Manner, Persist};
use crate::transport::buffer::Buffers;

/// What is passed on of a message.
pub(super) struct Passed {
    pub(super) out: Vec<u8>,
    /// Whether the sender's connection serves another message.
    pub(super) keeps: bool,
    /// Whether the receiver's connection ends behind it.
    pub(super) closes: bool,
}

pub(super) const PSEUDONYM: &str = "edge";
pub(super) const MAX_HEAD: usize = 32 * 1024;
pub(super) const MAX_TARGET: usize = 8 * 1024;

pub(super) fn request(bytes: &[u8]) -> Result<Passed, Verdict> {
    let pseudonym = Pseudonym::parse(PSEUDONYM).unwrap();
    let table = RouteTable::default();
    let rules = Rules {
        max_head_bytes: MAX_HEAD,
        max_fields: 100,
        max_target_bytes: MAX_TARGET,
        table: &table,
        pseudonym: &pseudonym,
        client: Client {
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            trusted: false,
            tls: false,
            whereabouts: request::NOWHERE,
        },
        origins: None,
        sampling: None,
    };
    let bytes = [bytes, AFTER].concat();
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(&bytes);
    let mut out = Vec::new();
    let head = match request::read(bytes, &rules, &mut out, || 1) {
        Ok(Some(head)) => head,
        Ok(None) => return Err(Verdict::Waits),
        Err(Stop::Refused(answer)) => return Err(Verdict::Refused(answer.error.into_owned())),
        Err(Stop::LastHop(_)) => return Err(Verdict::Refused("it is the last recipient".to_owned())),
    };
    if head.host.is_none() {
        out.splice(head.host_at..head.host_at, *b"host: backend\r\n");
    }
    let body = Body::request(Rc::<Buffers>::default().buffer(), head.length, None);
    let left = pass(body, &bytes[head.len..], false, &mut out)?;
    let next = left.strip_prefix(b"\r\n").unwrap_or(&left);
    Ok(Passed {
        out,
        keeps: head.keep_alive && next == AFTER,
        closes: false,
    })
}

pub(super) fn response(case: &Response) -> Result<Passed, Verdict> {
    let pseudonym = Pseudonym::parse(PSEUDONYM).unwrap();
    let asked = Asked {
        method: if case.head { Method::Head } else { Method::Get },
        minor: case.minor,
        upgrade: false,
    };
    let (mut bytes, mut out) = (case.bytes.as_slice(), Vec::new());
    loop {
        let mut written = Vec::new();
        let read = response::read(bytes, 0, asked, |head, fields| {
            let manner = Manner {
                pseudonym: &pseudonym,
                asked,
                persist: head.persist(asked, true),
                date: &|| *b"Thu, 01 Jan 1970 00:00:00 GMT",
            };
            head.write(bytes, fields, &manner, &mut written)
        });
        let head = match read {
            Ok(Some((head, ()))) => head,
            Ok(None) if case.closes => return Err(Verdict::Refused("it ends within the head".to_owned())),
            Ok(None) => return Err(Verdict::Waits),
            Err(error) => return Err(Verdict::Refused(error.to_string())),
        };
        bytes = &bytes[head.len..];
        out.extend_from_slice(&written);
        if head.is_interim() {
            continue;
        }
        let delivery = head.delivery(case.minor);
        let body = Body::response(Rc::<Buffers>::default().buffer(), head.length, delivery);
        let left = pass(body, bytes, case.closes, &mut out)?;
        return Ok(Passed {
            out,
            keeps: head.keep_alive && left.is_empty() && !case.closes,
            closes: head.persist(asked, true) == Persist::Close || delivery == Delivery::UntilClose,
        });
    }
}

/// Passes a body on; what stands behind it.
fn pass(mut body: Body, bytes: &[u8], closes: bool, out: &mut Vec<u8>) -> Result<Vec<u8>, Verdict> {
    let mut rest = bytes;
    while !body.has_come() {
        if rest.is_empty() {
            if !closes {
                return Err(Verdict::Waits);
            }
            body.closed()
                .map_err(|error| Verdict::Refused(error.to_string()))?;
            break;
        }
        let space = body.space();
        let count = space.len().min(rest.len());
        assert!(count > 0, "there is no room for more");
        space[..count].copy_from_slice(&rest[..count]);
        body.buffer.filled(count);
        rest = &rest[count..];
        loop {
            body.decode()
                .map_err(|error| Verdict::Refused(error.to_string()))?;
            let outgoing = body.outgoing().to_vec();
            if outgoing.is_empty() {
                break;
            }
            out.extend_from_slice(&outgoing);
            body.sent(outgoing.len());
        }
    }
    out.extend_from_slice(body.outgoing());
    Ok([body.buffer.data(), rest].concat())
}
