//! What the backend gets: the client's lines in runs as they came, less what was between neighbours, and the
//! proxy's own.

use http::header::HeaderName;

use super::{Facts, Head, LastHop, Method, Rules, Seen, Stop, Told, Traceparent, may_be_spoken};
use crate::exchange::answer::{ALLOWED, Answer};
use crate::headers::{forwarded, trace};
use crate::http1::field::Field;
use crate::http1::framing::Length;
use crate::http1::head::{Fields, tokens};
use crate::http1::text::{push_decimal, push_hex, push_ip};
use crate::route::{Destination, Lines, Request, Rewrite};

/// Where in a `traceparent` the span's id stands: behind `00-`, the trace's and a hyphen.
const SPAN: usize = 3 + 32 + 1;

/// What the proxy's own fields take, at most, but for names of hosts and networks.
const OWN_FIELDS: usize = 384;

impl Facts<'_> {
    pub(super) fn compose(
        mut self,
        head: &[u8],
        fields: &Fields<'_, '_>,
        rules: &Rules<'_>,
        out: &mut Vec<u8>,
        mut random: impl FnMut() -> u64,
    ) -> Result<Head, Stop> {
        let length = self.framing.decide(self.line.minor).map_err(super::ambiguous)?;
        if self.max_forwards == Some(0) {
            return Err(Stop::LastHop(self.last_hop(head, fields, length)));
        }
        // Behind the framing: whoever can't be trusted with that is told so first.
        let expects = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        if self.expect.is_there() && !self.expect.is(expects) {
            return Err(Answer::expectation_failed().into());
        }
        let destination = self.destination(fields, rules, &mut random)?;
        let max_body = destination.and_then(|destination| destination.max_body);
        if let (Some(Length::Known(length)), Some(max)) = (length, max_body)
            && length > max
        {
            return Err(Answer::body_too_large(max).into());
        }
        let upgrade = self.upgrade(length);
        if let Some(sampling) = rules.sampling {
            let said = match self.traceparent {
                Seen::Once(value) if !self.is_named(fields, "traceparent") => Some(value),
                _ => None,
            };
            self.traced = sampling.decide(said, &mut random);
        }
        out.clear();
        out.reserve(head.len() + OWN_FIELDS);
        self.push_first_line(head, fields, destination.and_then(|to| to.rewrite), out);
        let host_at = out.len();
        self.push_kept(head, fields, rules, out);
        self.push_host(out);
        self.push_forwarded(fields, rules, out);
        let traceparent = self.push_ids(head, fields, out, random);
        rules.pseudonym.push_line(out, self.line.minor);
        self.push_hop(upgrade.then_some(fields), length, out);
        out.extend_from_slice(b"\r\n");
        Ok(Head {
            len: head.len(),
            method: self.method,
            minor: self.line.minor,
            length: length.unwrap_or(Length::NONE),
            host: self.host.map(|host| {
                let start = (host.name.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
                start..start + host.name.len()
            }),
            host_at,
            app: destination.map(|destination| destination.place),
            max_body,
            keep_alive: self.would_go_on(),
            upgrade,
            expects: self.expect.is_there() && self.line.minor > 0,
            introduced: self.introduced,
            traced: match (self.traced, traceparent) {
                (Some(traced), Traceparent::Made(at)) => Some(Box::new(Told {
                    traced,
                    from_end: out.len() - at - SPAN,
                })),
                _ => None,
            },
            traceparent,
        })
    }

    /// Whether the client would send another request on this connection.
    fn would_go_on(&self) -> bool {
        !self.close && (self.line.minor > 0 || self.keep_alive)
    }

    /// Whether another protocol is asked for, and may be: behind a body nobody could tell where it begins.
    fn upgrade(&self, length: Option<Length>) -> bool {
        self.connection.upgrade && self.upgrade && self.line.minor > 0 && is_bodiless(length)
    }

    fn destination<'t>(
        &self,
        fields: &Fields<'_, '_>,
        rules: &Rules<'t>,
        random: impl FnMut() -> u64,
    ) -> Result<Option<Destination<'t>>, Stop> {
        let request = Request {
            host: self.host.map_or(b"", |host| host.name),
            target: self.target.path,
        };
        let destination = rules.table.destination(request, fields, random);
        destination.map_err(|error| Answer::bad_request(error.to_string()).into())
    }

    fn push_first_line(
        &self,
        head: &[u8],
        fields: &Fields<'_, '_>,
        rewrite: Option<Rewrite<'_>>,
        out: &mut Vec<u8>,
    ) {
        if self.target.authority.is_none() && self.line.minor == 1 && rewrite.is_none() {
            out.extend_from_slice(head.get(..fields.start()).unwrap_or_default());
            return;
        }
        out.extend_from_slice(self.line.method.as_bytes());
        out.push(b' ');
        match rewrite {
            Some(rewrite) => rewrite.each(self.target.path, |part| out.extend_from_slice(part.as_bytes())),
            None => {
                if self.target.rootless {
                    out.push(b'/');
                }
                out.extend_from_slice(self.target.path.as_bytes());
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn push_kept(&self, head: &[u8], fields: &Fields<'_, '_>, rules: &Rules<'_>, out: &mut Vec<u8>) {
        let mut run = fields.start();
        for line in fields.iter() {
            if self.keeps(line.field, line.name, fields, rules) {
                continue;
            }
            out.extend_from_slice(head.get(run..line.start).unwrap_or_default());
            run = line.end;
        }
        out.extend_from_slice(head.get(run..fields.end()).unwrap_or_default());
    }

    fn keeps(&self, field: Field, name: &str, fields: &Fields<'_, '_>, rules: &Rules<'_>) -> bool {
        let kept = match field {
            Field::Other | Field::Date | Field::Via | Field::Trailer => true,
            // RFC 9110 §10.1.1: from HTTP/1.0 it means nothing.
            Field::Expect => self.line.minor > 0,
            Field::Host => self.target.authority.is_none(),
            Field::RequestId => self.request_id.is(trace::is_request_id),
            Field::Traceparent => self.traced.is_none() && self.traceparent.is(trace::is_traceparent),
            Field::Tracestate => self.traceparent.is(trace::is_traceparent),
            Field::XProto | Field::XHost | Field::XOther | Field::Forwarded => rules.client.trusted,
            Field::MaxForwards => self.max_forwards.is_none(),
            Field::Connection
            | Field::ContentLength
            | Field::Http2Settings
            | Field::KeepAlive
            | Field::Lookalike
            | Field::ProxyConnection
            | Field::Te
            | Field::TransferEncoding
            | Field::Upgrade
            | Field::XFor => false,
        };
        kept && !(field.may_be_named() && self.is_named(fields, name))
    }

    /// Whether `Connection` names that field.
    fn is_named(&self, fields: &Fields<'_, '_>, name: &str) -> bool {
        self.connection.named > 0 && fields.connection_names(name)
    }

    fn push_host(&self, out: &mut Vec<u8>) {
        if let (Some(_), Some(host)) = (self.target.authority, self.host) {
            push_line(out, b"host: ", host.text);
        }
    }

    fn push_forwarded(&self, fields: &Fields<'_, '_>, rules: &Rules<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"x-forwarded-for: ");
        let client = rules.client;
        if client.trusted && self.xfor {
            let chain = fields.iter().filter(|line| line.field == Field::XFor);
            for line in chain.filter(|line| forwarded::is_chain(line.value)) {
                out.extend_from_slice(line.value);
                out.extend_from_slice(b", ");
            }
        }
        push_ip(out, client.ip);
        out.extend_from_slice(b"\r\n");
        let keeps = |there: bool, name: &str| client.trusted && there && !self.is_named(fields, name);
        if !keeps(self.xproto, "x-forwarded-proto") {
            out.extend_from_slice(if client.tls {
                b"x-forwarded-proto: https\r\n".as_slice()
            } else {
                b"x-forwarded-proto: http\r\n"
            });
        }
        if !keeps(self.xhost, "x-forwarded-host")
            && let Some(host) = self.host
        {
            push_line(out, b"x-forwarded-host: ", host.text);
        }
    }

    fn push_ids(
        &self,
        head: &[u8],
        fields: &Fields<'_, '_>,
        out: &mut Vec<u8>,
        mut random: impl FnMut() -> u64,
    ) -> Traceparent {
        if !self.request_id.is(trace::is_request_id) || self.is_named(fields, "x-request-id") {
            out.extend_from_slice(b"x-request-id: ");
            push_hex(out, random());
            push_hex(out, random());
            out.extend_from_slice(b"\r\n");
        }
        let (trace, span, sampled) = match (self.traced, self.traceparent) {
            (Some(traced), _) => (traced.trace, traced.attempt, true),
            (None, Seen::Once(value))
                if trace::is_traceparent(value) && !self.is_named(fields, "traceparent") =>
            {
                let at = (value.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
                return Traceparent::Came(at);
            }
            // An id of zeros would be none. And what records no span must not claim that it was sampled.
            (None, _) => {
                let trace = u128::from(random().max(1)) << 64 | u128::from(random());
                (trace, random().max(1), false)
            }
        };
        out.extend_from_slice(b"traceparent: ");
        let at = out.len();
        trace::push_traceparent(out, trace, span, sampled);
        out.extend_from_slice(b"\r\n");
        Traceparent::Made(at)
    }

    /// The fields between this proxy and the backend. `upgrade`: where the protocols asked for stand.
    fn push_hop(&self, upgrade: Option<&Fields<'_, '_>>, length: Option<Length>, out: &mut Vec<u8>) {
        match (upgrade, self.trailers) {
            (Some(_), true) => out.extend_from_slice(b"te: trailers\r\nconnection: upgrade, te\r\n"),
            (Some(_), false) => out.extend_from_slice(b"connection: upgrade\r\n"),
            (None, true) => out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n"),
            (None, false) => {}
        }
        if let Some(fields) = upgrade {
            let mut before: &[u8] = b"upgrade: ";
            let asked = fields.iter().filter(|line| line.field == Field::Upgrade);
            let protocols = asked.flat_map(|line| tokens(line.value));
            for protocol in protocols.filter(|protocol| may_be_spoken(protocol)) {
                out.extend_from_slice(before);
                out.extend_from_slice(protocol.as_bytes());
                before = b", ";
            }
            out.extend_from_slice(b"\r\n");
        }
        if let Some(left) = self.max_forwards {
            out.extend_from_slice(b"max-forwards: ");
            push_decimal(out, left - 1);
            out.extend_from_slice(b"\r\n");
        }
        match length {
            Some(Length::Known(length)) => {
                out.extend_from_slice(b"content-length: ");
                push_decimal(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Some(Length::Chunked) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Some(Length::UntilClose) | None => {}
        }
    }

    /// What this proxy answers as the last recipient.
    fn last_hop(&self, head: &[u8], fields: &Fields<'_, '_>, length: Option<Length>) -> LastHop {
        let (mut out, mut body) = (Vec::new(), Vec::new());
        let status = if self.method == Method::Options {
            push_line(
                &mut out,
                b"HTTP/1.1 204 No Content\r\nallow: ",
                ALLOWED.as_bytes(),
            );
            204
        } else {
            body.extend_from_slice(head.get(..fields.start()).unwrap_or_default());
            // RFC 9110 §9.3.8: what is secret is not sent back.
            let secret = ["authorization", "cookie", "proxy-authorization"];
            let open = fields
                .iter()
                .filter(|line| !secret.iter().any(|name| name.eq_ignore_ascii_case(line.name)));
            for line in open {
                body.extend_from_slice(head.get(line.start..line.end).unwrap_or_default());
            }
            body.extend_from_slice(b"\r\n");
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: message/http\r\ncontent-length: ");
            push_decimal(&mut out, body.len() as u64);
            out.extend_from_slice(b"\r\n");
            200
        };
        LastHop {
            status,
            head: out,
            body,
            len: head.len(),
            minor: self.line.minor,
            keep: self.would_go_on() && is_bodiless(length),
        }
    }
}

fn is_bodiless(length: Option<Length>) -> bool {
    length.unwrap_or(Length::NONE) == Length::NONE
}

impl Lines for Fields<'_, '_> {
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let lines = self
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name.as_str()));
        lines.map(|line| line.value)
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
