//! What of a request decides whom it goes to, where that is more than its app and where it comes from.

mod cookie;
mod fields;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use edgeproxy_backend::{Endpoint, MonoTime};
use edgeproxy_balance::{Bindings, Client, Key, Keyer, Target as _};
use http::header::HeaderName;
use ipnet::IpNet;

use crate::exchange::retry::Failed;
use crate::http1::request;
use crate::request::origin;
pub use cookie::{CookieName, CookieNameError, StickyCookie};
pub(crate) use cookie::{Held, SetCookie};
pub(crate) use fields::{Fields, RawFields};
use fields::{cookie, field};

/// What an app's picks know a client by. An app that goes by none of it has no keys, and pays nothing.
///
/// # What counts
///
/// | | |
/// |---|---|
/// | a client's address | the whole address. One that comes through `trusted_proxies` has the address nearest in its `X-Forwarded-For` that is none of theirs; one that a PROXY protocol header names has that |
/// | a header that comes twice | the first; without a value it is as none |
/// | a cookie | the first of that name that has a value, over all `Cookie` fields in their order (RFC 6265 §5.4: browsers put the more specific path first). Case counts, and quotes are part of the value |
/// | a request without the header or cookie that is hashed | its client's address |
/// | a request without the header by which clients are bound | is bound to nobody |
/// | a TCP connection | its client's address, whatever is hashed; bound only by address |
///
/// # Bindings
///
/// A client is bound when a backend has answered it, and to whoever has answered: so what wins over a binding (a hard
/// limit, a drain, an ejection, a failure that is retried elsewhere) moves it. Nobody is moved because this side had nothing left
/// to connect with, and an answer that counts as a failure binds nobody. For TCP, to be connected is an answer. A cookie is passed
/// on to the backend as any other.
///
/// A table of [`Bindings`] is an app's own, is handed on when the app is built anew, and never grows: 65,536 of them, which
/// the server makes unless it is told otherwise, are 1 MiB. That is a hundred clients a second that are new within a
/// time to live of ten minutes; with more, those are forgotten first that have been away for the longest.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// What `hash` goes by. `None`: nothing is hashed.
    pub hash: Option<HashKey>,
    /// By what clients stay with their backends. `None`: they don't.
    pub sticky: Option<Sticky>,
}

/// What is hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// A field's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(CookieName),
}

/// By what a client is known again.
#[derive(Clone, Debug)]
pub enum Sticky {
    /// Its address.
    ClientIp(Arc<Bindings>),
    /// A field that it sends.
    Header(HeaderName, Arc<Bindings>),
    /// A cookie that the proxy sets.
    Cookie(StickyCookie),
}

/// What tables of bindings are addressed by: no other process has to agree, so nobody else needs to be able to work out
/// whose binding takes the place of whose.
static TABLES: LazyLock<Keyer> = LazyLock::new(|| {
    let random = RandomState::new();
    let half = |which: u8| u128::from(random.hash_one(which));
    Keyer::with_secret((half(0) << 64 | half(1)).to_le_bytes())
});

/// What is left to do for a client's binding once it has its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Standing {
    /// Nothing.
    #[default]
    Unknown,
    /// To keep it in the table.
    Known(Key),
    /// To keep it in the cookie.
    Holds(Held),
}

impl Standing {
    /// An attempt on that backend `failed`. If this side was to blame, its client stays bound there, whoever answers instead.
    #[cold]
    pub(crate) fn failed(&mut self, failed: Failed, client: &Client, endpoint: &Endpoint) {
        if !failed.is_the_backends() && client.is_bound_to(endpoint) {
            *self = Self::Unknown;
        }
    }
}

/// Who asks, and what it says.
pub(crate) struct Asked<'a, F> {
    pub(crate) client: request::Client,
    /// Whose `X-Forwarded-For` counts.
    pub(crate) trusted: &'a [IpNet],
    pub(crate) fields: F,
}

impl<F: Fields> Asked<'_, F> {
    fn address(&self) -> IpAddr {
        let named = || origin::nearest(self.fields.values("x-forwarded-for"), self.trusted);
        let introduced = if self.client.trusted { named() } else { None };
        introduced.unwrap_or(self.client.ip)
    }

    /// Whether the client itself speaks TLS, be it with a proxy in front of this one.
    fn is_by_tls(&self) -> bool {
        let https = |value: &[u8]| value.eq_ignore_ascii_case(b"https");
        self.client.tls
            || (self.client.trusted && field(&self.fields, "x-forwarded-proto").is_some_and(https))
    }

    fn hashed(&self, hash: &HashKey) -> Key {
        let value = match hash {
            HashKey::ClientIp => None,
            HashKey::Header(name) => field(&self.fields, name.as_str()),
            HashKey::Cookie(name) => cookie(&self.fields, name.as_str()),
        };
        value.map_or_else(|| of_address(Keyer::DEFAULT, self.address()), Key::of)
    }
}

impl Keys {
    /// Completes a request's client with its key and with whom it is bound to.
    #[cold]
    pub(crate) fn complete(
        &self,
        client: &mut Client,
        asked: &Asked<'_, impl Fields>,
        now: MonoTime,
    ) -> Standing {
        client.key = self.hash.as_ref().map(|hash| asked.hashed(hash));
        match &self.sticky {
            None => Standing::Unknown,
            Some(Sticky::ClientIp(bindings)) => {
                known(client, bindings, of_address(*TABLES, asked.address()), now)
            }
            Some(Sticky::Header(name, bindings)) => match field(&asked.fields, name.as_str()) {
                Some(value) => known(client, bindings, TABLES.key(value), now),
                None => Standing::Unknown,
            },
            Some(Sticky::Cookie(sticky)) => {
                let held = sticky.held(&asked.fields, asked.is_by_tls());
                client.bound = held.identity;
                Standing::Holds(held)
            }
        }
    }

    /// The same for a TCP connection, of which nothing but the address is known.
    #[cold]
    pub(crate) fn complete_tcp(&self, client: &mut Client, address: IpAddr, now: MonoTime) -> Standing {
        client.key = self.hash.as_ref().map(|_| of_address(Keyer::DEFAULT, address));
        match &self.sticky {
            Some(Sticky::ClientIp(bindings)) => known(client, bindings, of_address(*TABLES, address), now),
            _ => Standing::Unknown,
        }
    }

    /// A client has got an answer of that backend: binds it. The cookie that the client needs for that, if it does.
    #[cold]
    pub(crate) fn settle(
        &self,
        standing: Standing,
        endpoint: &Endpoint,
        now: MonoTime,
    ) -> Option<SetCookie<'_>> {
        match (&self.sticky, standing) {
            (Some(Sticky::ClientIp(bindings) | Sticky::Header(_, bindings)), Standing::Known(key)) => {
                bindings.bind(key, endpoint.identity(), now);
                None
            }
            (Some(Sticky::Cookie(sticky)), Standing::Holds(held)) => {
                sticky.renewed(held, endpoint.identity())
            }
            // The app has been given other keys since the request came.
            _ => None,
        }
    }
}

/// What a client is taken to bring, for an explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brought<'a> {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// The value of the header or cookie that is hashed.
    pub hash: Option<&'a [u8]>,
    /// The value of the header or cookie by which it is known again.
    pub sticky: Option<&'a [u8]>,
}

impl Keys {
    /// Completes a client with its key and with whom it is bound to, by what it is taken to bring. Nobody is bound
    /// by this.
    pub fn explain(&self, client: &mut Client, brought: Brought<'_>) {
        let address = |keyer| brought.ip.map(|ip| of_address(keyer, ip.to_canonical()));
        let bound = |bindings: &Bindings, key: Option<Key>| bindings.peek(key?, crate::worker::clock::now());
        client.key = match &self.hash {
            None => None,
            Some(HashKey::ClientIp) => address(Keyer::DEFAULT),
            Some(HashKey::Header(_) | HashKey::Cookie(_)) => brought
                .hash
                .filter(|value| !value.is_empty())
                .map(Key::of)
                .or_else(|| address(Keyer::DEFAULT)),
        };
        client.bound = match &self.sticky {
            None => None,
            Some(Sticky::ClientIp(bindings)) => bound(bindings, address(*TABLES)),
            Some(Sticky::Header(_, bindings)) => {
                bound(bindings, brought.sticky.map(|value| TABLES.key(value)))
            }
            Some(Sticky::Cookie(sticky)) => brought.sticky.and_then(|value| sticky.read(value)),
        };
    }
}

fn known(client: &mut Client, bindings: &Bindings, key: Key, now: MonoTime) -> Standing {
    client.bound = bindings.find(key, now);
    Standing::Known(key)
}

/// The same whether it came as IPv4 or as IPv6 that maps it: addresses are canonical here.
fn of_address(keyer: Keyer, address: IpAddr) -> Key {
    match address {
        IpAddr::V4(address) => keyer.key(&address.octets()),
        IpAddr::V6(address) => keyer.key(&address.octets()),
    }
}

#[cfg(test)]
mod tests;
