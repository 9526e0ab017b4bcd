use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use edgeproxy_backend::{BackendAddr, Country, Region};
use ipnet::IpNet;

use crate::access::caller::Peer;
use crate::problem::{Kind, Problem};

/// Which backends may register: what is valid by its type may still be no place of ours.
#[derive(Clone)]
pub struct Admission {
    /// The regions that there are, each with the country that a backend is in that names none.
    pub regions: Vec<(Region, Country)>,
    /// The networks that a backend's address must be in; empty allows every address.
    pub allowed_cidrs: Vec<IpNet>,
    /// Which of those a backend may register, by where it registers from.
    pub source: Source,
    /// Whether an address is one that this process itself listens on: a backend there would be a loop, or
    /// hand the API to every client of the proxy.
    pub own_listeners: Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>,
}

/// Which address a backend may register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// Any that is permitted otherwise.
    #[default]
    Any,
    /// The one that its registration comes from.
    SameAddress,
}

/// The built-in regions and their countries.
const BUILT_IN: [(&str, &str); 4] = [("sa", "BR"), ("us", "US"), ("eu", "DE"), ("ap", "JP")];

impl Default for Admission {
    /// The built-in regions, every network, no listener.
    fn default() -> Self {
        let region = |(region, country)| Some((Region::parse(region).ok()?, Country::parse(country).ok()?));
        Self {
            regions: BUILT_IN.into_iter().filter_map(region).collect(),
            allowed_cidrs: Vec::new(),
            source: Source::Any,
            own_listeners: Arc::new(|_| false),
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("regions", &self.regions)
            .field("allowed_cidrs", &self.allowed_cidrs)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// The region of that name and its country.
    pub(crate) fn region(&self, name: &str) -> Result<(Region, Country), String> {
        let known = Region::parse(name).ok();
        let found = known.and_then(|region| self.regions.iter().find(|(known, _)| *known == region));
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = self.regions.iter().map(|(region, _)| region.as_str()).collect();
            let name: String = name.chars().take(32).collect();
            format!(
                "is {name:?}, which is not a configured region; known are {}",
                known.join(", ")
            )
        })
    }

    /// Whether whoever is there may register that address. 403, since the address itself is fine.
    pub(crate) fn check_source(&self, addr: BackendAddr, Peer(peer): Peer) -> Result<(), Problem> {
        if self.source == Source::Any {
            return Ok(());
        }
        let ip = addr.ip();
        let from = match peer.map(|peer| peer.ip().to_canonical()) {
            Some(from) if from == ip.to_canonical() => return Ok(()),
            Some(from) => from.to_string(),
            None => "an unknown address".to_owned(),
        };
        Err(Problem::new(
            Kind::AddressNotYours,
            format!(
                "the ip is {ip}, and this registration comes from {from}; with register_source = \"same_address\" a backend \
             registers its own address, from there"
            ),
        ))
    }

    /// Whether a backend may be at that address.
    ///
    /// # Errors
    /// Why not, in words that follow on the name of the field, `ip`.
    pub fn check(&self, addr: BackendAddr) -> Result<(), String> {
        let ip = addr.ip();
        if !self.allowed_cidrs.is_empty() && !self.allowed_cidrs.iter().any(|net| net.contains(&ip)) {
            let nets: Vec<String> = self.allowed_cidrs.iter().take(8).map(IpNet::to_string).collect();
            let more = if self.allowed_cidrs.len() > 8 { ", …" } else { "" };
            return Err(format!(
                "{ip} is outside allowed_backend_cidrs: {}{more}",
                nets.join(", ")
            ));
        }
        if (self.own_listeners)(addr.socket_addr()) {
            return Err(format!(
                "{addr} is one of this proxy's own listeners: requests would come round in a loop, or reach the \
                 API; give the backend's own address"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_regions_have_their_countries() {
        let admission = Admission::default();
        for (region, country) in [
            ("sa", "BR"),
            ("us", "US"),
            ("eu", "DE"),
            ("ap", "JP"),
            ("EU", "DE"),
        ] {
            assert_eq!(admission.region(region).unwrap().1.as_str(), country, "{region}");
        }
        let problem = admission.region("mars").unwrap_err();
        assert_eq!(
            problem,
            "is \"mars\", which is not a configured region; known are sa, us, eu, ap"
        );
    }

    #[test]
    fn networks_and_own_listeners_narrow_the_addresses() {
        let admission = Admission {
            allowed_cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            own_listeners: Arc::new(|addr| addr.port() == 8080),
            ..Admission::default()
        };
        let check = |ip, port| admission.check(BackendAddr::parse(ip, port).unwrap());
        assert!(check("10.1.2.3", 80).is_ok());
        assert!(check("::ffff:10.1.2.3", 80).is_ok());
        assert!(check("fd00::1", 80).is_ok());
        assert_eq!(
            check("192.168.0.1", 80).unwrap_err(),
            "192.168.0.1 is outside allowed_backend_cidrs: 10.0.0.0/8, fd00::/8"
        );
        assert!(check("10.1.2.3", 8080).unwrap_err().contains("loop"));
    }
}
