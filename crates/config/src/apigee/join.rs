//! Endpoints and the servers that they name, put together: apps, their backends, and the routes to them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use edgeproxy_backend::BackendAddr;

use super::ImportOptions;
use super::balancer::{Balancer, Member};
use super::element::Spot;
use super::endpoint::{Endpoint, Target};
use super::names::Names;
use super::notes::{Notes, literal, shown};
use super::proxy::Offer;
use super::rules;
use super::server::{Host, Server};
use super::tls::Tls;
use crate::Settings;
use crate::paths::PathPrefix;
use crate::types::HostName;
use crate::value::{FromValue, Value};

/// Everything that was read, with the bundle that it is of.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) servers: Vec<Server>,
    pub(super) endpoints: Vec<(Endpoint, Option<PathBuf>)>,
    pub(super) offers: Vec<(Offer, Option<PathBuf>)>,
    /// The names that bundles give themselves.
    pub(super) bundles: HashMap<PathBuf, String>,
    /// The names of the endpoints' files, for those that have none themselves.
    pub(super) stems: HashMap<usize, String>,
}

/// What will be written.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The name that all certificates are for.
    pub(super) server_name: Option<String>,
    pub(super) apps: Vec<App>,
    pub(super) routes: Vec<Route>,
}

impl Joined {
    /// Where the proxy listens in place of its default, if a backend on the same machine listens there.
    pub(super) fn listen_addr(&self) -> Option<SocketAddr> {
        let default = Settings::default().listen_addr?;
        let backends = self.apps.iter().flat_map(|app| &app.backends);
        let here: HashSet<u16> = backends
            .filter(|backend| matches!(&backend.addr, Addr::Ip(ip) if ip.is_loopback()))
            .map(|backend| backend.port)
            .collect();
        if !here.contains(&default.port()) {
            return None;
        }
        let free = (8_000..=u16::MAX).find(|port| !here.contains(port))?;
        Some(SocketAddr::new(default.ip(), free))
    }
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) algorithm: Option<&'static str>,
    pub(super) endpoint: Endpoint,
    pub(super) backends: Vec<Backend>,
}

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) id: String,
    /// What Apigee calls it.
    pub(super) title: String,
    pub(super) at: Spot,
    pub(super) addr: Addr,
    pub(super) port: u16,
    pub(super) protocol: &'static str,
    pub(super) weight: Option<u64>,
    pub(super) fallback: bool,
}

/// Where a backend is, as far as that can be written.
#[derive(Debug)]
pub(super) enum Addr {
    Ip(IpAddr),
    /// The one that this name has, which somebody has to write in.
    Unknown(String),
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: PathPrefix,
    pub(super) app: String,
    pub(super) at: Spot,
}

/// Puts together what was read.
pub(super) fn join(notes: &mut Notes<'_>, read: Read, options: &ImportOptions) -> Joined {
    let servers = defined(notes, read.servers);
    let mut joint = Joint {
        uses: uses(&read.endpoints),
        servers: &servers,
        options,
        apps: Names::default(),
        ids: Names::default(),
        certificates: Vec::new(),
    };
    let mut joined = Joined::default();
    let mut found = HashMap::new();
    for (endpoint, bundle) in read.endpoints {
        let own = match endpoint.name.as_str() {
            "" => read.stems.get(&endpoint.at.file).cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        let wanted = match bundle.as_ref().and_then(|bundle| read.bundles.get(bundle)) {
            Some(bundle) if own.is_empty() || own == "default" => bundle.clone(),
            Some(bundle) => format!("{bundle}-{own}"),
            None => own.clone(),
        };
        let name = joint.apps.app(&wanted);
        if name != wanted.to_ascii_lowercase() {
            let message = format!(
                "\"{}\" became app {name}, since that name is taken or not permitted",
                shown(&wanted)
            );
            notes.tell(
                rules::RENAMED,
                &endpoint.at,
                message,
                "rename it where that matters",
            );
        }
        if endpoint.kind == "TargetEndpoint" {
            found.insert((bundle, own), name.clone());
        }
        joined.apps.push(joint.app(notes, name, endpoint));
    }
    unused(notes, &servers, &joint.uses);
    joined.server_name = joint.server_name(notes);
    joined.routes = routes(notes, read.offers, &found);
    joined
}

/// The servers by name; of several with one name the first counts.
fn defined(notes: &mut Notes<'_>, servers: Vec<Server>) -> HashMap<String, Server> {
    let mut defined: HashMap<String, Server> = HashMap::new();
    for server in servers {
        if let Some(first) = defined.get(&server.name) {
            let message = format!(
                "target server \"{}\" is defined at {} already, which counts",
                shown(&server.name),
                notes.place(&first.at)
            );
            notes.tell(
                rules::DEFINED_TWICE,
                &server.at,
                message,
                "import the files of one environment at a time",
            );
            continue;
        }
        defined.insert(server.name.clone(), server);
    }
    defined
}

/// How many balancers name each server.
fn uses(endpoints: &[(Endpoint, Option<PathBuf>)]) -> HashMap<String, usize> {
    let mut uses = HashMap::new();
    for (endpoint, _) in endpoints {
        if let Target::Balancer(balancer) = &endpoint.target {
            for member in &balancer.members {
                *uses.entry(member.name.clone()).or_default() += 1;
            }
        }
    }
    uses
}

fn unused(notes: &mut Notes<'_>, servers: &HashMap<String, Server>, uses: &HashMap<String, usize>) {
    for server in servers.values().filter(|server| !uses.contains_key(&server.name)) {
        let message = format!(
            "no load balancer names target server \"{}\": it was left out",
            shown(&server.name)
        );
        let advice = "import it together with the proxies that use it";
        notes.tell(rules::NOT_IMPORTED, &server.at, message, advice);
    }
}

fn routes(
    notes: &mut Notes<'_>,
    offers: Vec<(Offer, Option<PathBuf>)>,
    apps: &HashMap<(Option<PathBuf>, String), String>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    let mut taken = HashSet::new();
    for (offer, bundle) in offers {
        let Some(app) = apps.get(&(bundle, offer.endpoint.clone())) else {
            let message = format!(
                "no file defines the TargetEndpoint \"{}\": its path was left out",
                shown(&offer.endpoint)
            );
            notes.tell(rules::NO_TARGET, &offer.at, message, "import the file that does");
            continue;
        };
        if !taken.insert(offer.path.clone()) {
            let message = format!("the path {} is offered twice: the first counts", offer.path);
            notes.tell(
                rules::DEFINED_TWICE,
                &offer.at,
                message,
                "give each proxy a path of its own",
            );
            continue;
        }
        routes.push(Route {
            path: offer.path,
            app: app.clone(),
            at: offer.at,
        });
    }
    routes
}

/// Servers on their way to backends.
struct Joint<'r> {
    uses: HashMap<String, usize>,
    servers: &'r HashMap<String, Server>,
    options: &'r ImportOptions,
    apps: Names,
    ids: Names,
    /// The names that certificates are for; none is that of an address.
    certificates: Vec<(Option<String>, Spot)>,
}

impl Joint<'_> {
    fn app(&mut self, notes: &mut Notes<'_>, name: String, endpoint: Endpoint) -> App {
        let backends = match &endpoint.target {
            Target::Nothing => Vec::new(),
            Target::Url(host, tls) => {
                let addr = self.addr(notes, host);
                self.certificate(host, tls.as_ref());
                vec![Backend {
                    id: self.ids.backend(&name),
                    title: "URL".to_owned(),
                    at: host.at.clone(),
                    addr,
                    port: host.port,
                    protocol: host.protocol,
                    weight: None,
                    fallback: false,
                }]
            }
            Target::Balancer(balancer) => {
                let weights = Weights::of(notes, balancer, &endpoint.at);
                let everyday = balancer.members.iter().any(|member| !member.fallback);
                let members = balancer.members.iter();
                members
                    .map(|member| {
                        let mut backend = self.member(notes, &name, member);
                        let enabled = member.enabled && backend.weight != Some(0);
                        backend.weight = weights.weight(member.weight, enabled);
                        backend.fallback = member.fallback && everyday;
                        backend
                    })
                    .collect()
            }
        };
        let algorithm = match &endpoint.target {
            Target::Balancer(balancer) => Some(balancer.algorithm),
            _ => None,
        };
        App {
            name,
            algorithm,
            endpoint,
            backends,
        }
    }

    fn member(&mut self, notes: &mut Notes<'_>, app: &str, member: &Member) -> Backend {
        let alone = self.uses.get(&member.name).is_none_or(|uses| *uses == 1);
        let id = if alone {
            self.ids.backend(&member.name)
        } else {
            self.ids.backend(&format!("{app}:{}", member.name))
        };
        let title = format!("TargetServer \"{}\"", shown(&member.name));
        let Some(server) = self.servers.get(&member.name) else {
            notes.tell(
                rules::SERVER_UNDEFINED,
                &member.at,
                format!(
                    "no file defines target server \"{}\", so nobody knows where it is",
                    shown(&member.name)
                ),
                "import its file as well, or write its address where the configuration names it",
            );
            return Backend {
                id,
                title,
                at: member.at.clone(),
                addr: Addr::Unknown(member.name.clone()),
                port: 80,
                protocol: "http1",
                weight: None,
                fallback: false,
            };
        };
        self.certificate(&server.host, server.tls.as_ref());
        Backend {
            id,
            title,
            at: server.at.clone(),
            addr: self.addr(notes, &server.host),
            port: server.host.port,
            protocol: server.host.protocol,
            weight: (!server.enabled).then_some(0),
            fallback: false,
        }
    }

    /// The address of a host, as far as it is known without asking a name server: what that says now may be wrong
    /// tomorrow.
    fn addr(&self, notes: &mut Notes<'_>, host: &Host) -> Addr {
        let Some(name) = &host.name else {
            return Addr::Unknown(String::new());
        };
        let given = self.options.addresses.get(&name.to_ascii_lowercase()).copied();
        let Some(ip) = given.or_else(|| literal(name)) else {
            notes.tell(
                rules::HOST_NAME,
                &host.at,
                format!("the host is {}, and a backend of the file has an IP address: it was written as a comment", shown(name)),
                format!(
                    "import again with --resolve {}=ADDRESS, write the address in, or let the backend register itself",
                    shown(name)
                ),
            );
            return Addr::Unknown(name.clone());
        };
        match BackendAddr::new(ip, host.port) {
            Ok(addr) => Addr::Ip(addr.ip()),
            Err(error) => {
                notes.tell(
                    rules::BAD_VALUE,
                    &host.at,
                    format!("the host {error}: it was written as a comment"),
                    "write an address that the proxy can connect to",
                );
                Addr::Unknown(name.clone())
            }
        }
    }

    fn certificate(&mut self, host: &Host, tls: Option<&Tls>) {
        if host.protocol != "https" {
            return;
        }
        let known = |name: &str| {
            let read = Option::<HostName>::from_value(&Value::Text(name.to_owned()));
            matches!(read, Ok(Some(_))).then(|| name.to_ascii_lowercase())
        };
        let by_host = host.name.as_deref().filter(|name| literal(name).is_none());
        let name = tls
            .and_then(|tls| tls.name.as_deref())
            .and_then(known)
            .or_else(|| by_host.and_then(known));
        self.certificates.push((name, host.at.clone()));
    }

    /// The configuration has one name for all.
    fn server_name(&self, notes: &mut Notes<'_>) -> Option<String> {
        let names: BTreeSet<&Option<String>> = self.certificates.iter().map(|(name, _)| name).collect();
        let (first, _) = self.certificates.first()?;
        if let Some((other, at)) = self.certificates.iter().find(|(name, _)| name != first) {
            let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "an address".to_owned());
            notes.tell(
                rules::TLS_NAMES,
                at,
                format!(
                    "https backends have certificates for {} names, {} and {} among them: one backend_tls_server_name holds \
                     for all, and none was written",
                    names.len(),
                    shown(first),
                    shown(other)
                ),
                "give the backends certificates for one name, or run a proxy for each",
            );
            return None;
        }
        first.clone()
    }
}

/// Weights as the configuration takes them: at most 1000.
struct Weights {
    weighted: bool,
    most: u64,
}

impl Weights {
    const MOST: u64 = 1_000;

    fn of(notes: &mut Notes<'_>, balancer: &Balancer, at: &Spot) -> Self {
        let weighted = balancer.algorithm == "weighted";
        let most = balancer.members.iter().map(|member| member.weight).max();
        let most = most.unwrap_or_default().max(1);
        if weighted && most > Self::MOST {
            let message =
                format!("the largest Weight is {most}; expected at most 1000: all were made smaller alike");
            notes.tell(rules::BAD_VALUE, at, message, "write smaller ones");
        }
        Self { weighted, most }
    }

    fn weight(&self, weight: u64, enabled: bool) -> Option<u64> {
        match (enabled, self.weighted) {
            // No new requests, which is what switching it off means.
            (false, _) => Some(0),
            (true, false) => None,
            (true, true) if self.most > Self::MOST && weight > 0 => {
                Some((weight.saturating_mul(Self::MOST) / self.most).max(1))
            }
            (true, true) => Some(weight),
        }
    }
}
