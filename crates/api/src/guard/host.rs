use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Scheme};
use http::{Method, Uri, Version};

use crate::problem::{Kind, Problem};

/// The names that this listener answers to on changing requests.
///
/// A web page can make a browser send requests to a name of its owner's that resolves to this machine
/// (DNS rebinding). Such a request carries that name in `Host`, which is why addresses, `localhost` and
/// the machine's own name are enough to tell it apart: none of them can be the page's.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: HashSet<String>,
}

impl Hosts {
    /// The machine's own name and `allowed`.
    pub(crate) fn new(allowed: &[String]) -> Self {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut names: HashSet<String> = allowed.iter().map(|name| fold(name)).collect();
        if let Some((label, _)) = machine.split_once('.') {
            names.insert(fold(label));
        }
        names.insert(fold(&machine));
        names.remove("");
        Self { names }
    }

    /// Refuses a request that has no readable `Host`, and a changing one that a foreign page may have made.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Problem> {
        let host = host(request)?;
        if !is_changing(request.method()) {
            return Ok(());
        }
        if let Some(host) = &host
            && !self.is_own(host.host())
        {
            return Err(Problem::new(
                Kind::ForeignHost,
                format!(
                    "the Host {:?} is not this listener's; use its address or localhost, or add the name to \
                     api_allowed_hosts",
                    excerpt(host.host())
                ),
            ));
        }
        check_origin(request, host.as_ref())
    }

    fn is_own(&self, host: &str) -> bool {
        if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            return v6.parse::<Ipv6Addr>().is_ok();
        }
        let host = fold(host);
        host.parse::<Ipv4Addr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.names.contains(&host)
    }
}

/// Host names are compared without case and without the root's dot.
fn fold(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

pub(crate) fn is_changing(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// RFC 9112 §3.2: exactly one, and in an absolute-form target the target's wins.
fn host(request: &Request) -> Result<Option<Authority>, Problem> {
    let mut values = request.headers().get_all(HOST).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::malformed("several Host headers; send exactly one"));
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    let Some(value) = first else {
        return if request.version() < Version::HTTP_11 {
            Ok(None)
        } else {
            Err(Problem::malformed(
                "no Host header; HTTP/1.1 needs one (RFC 9112, section 3.2)",
            ))
        };
    };
    Authority::try_from(value.as_bytes())
        .ok()
        .filter(|authority| !authority.as_str().contains('@'))
        .map(Some)
        .ok_or_else(|| Problem::malformed("the Host header is not a host with an optional port"))
}

fn check_origin(request: &Request, host: Option<&Authority>) -> Result<(), Problem> {
    let mut values = request.headers().get_all(ORIGIN).iter();
    let Some(value) = values.next() else { return Ok(()) };
    let origin = value.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
    let same = match (&origin, host) {
        (Some(origin), Some(host)) => values.next().is_none() && is_same(origin, host),
        _ => false,
    };
    if same {
        return Ok(());
    }
    let found = excerpt(&String::from_utf8_lossy(value.as_bytes()));
    Err(Problem::new(
        Kind::ForeignOrigin,
        format!(
            "the Origin {found:?} is another site's; changes are accepted from this listener's own pages only"
        ),
    ))
}

/// Whether a page of `origin` was loaded from `host`. `null` has no scheme and never was.
fn is_same(origin: &Uri, host: &Authority) -> bool {
    let default_port = match origin.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        _ => return false,
    };
    origin.authority().is_some_and(|origin| {
        fold(origin.host()) == fold(host.host())
            && origin.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port)
    })
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
