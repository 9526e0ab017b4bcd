//! By region: who is nearest to a client, and where the client is taken to be.

use std::net::IpAddr;
use std::sync::Arc;

use edgeproxy_backend::{Backend as Registered, Country, Endpoint, Limits, MonoTime, Region};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Client as Whereabouts, Inner, Policy};
use edgeproxy_proxy::{AppRoute, Config, Listener, Locate};
use http::header::HeaderName;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint};

/// `192.0.2.0/24` is in Brazil, `198.51.100.0/24` in Germany.
#[derive(Debug)]
struct Two;

impl Locate for Two {
    fn address(&self, address: IpAddr) -> Whereabouts {
        match address {
            IpAddr::V4(v4) if v4.octets().starts_with(&[192, 0, 2]) => self.country(country("BR")),
            IpAddr::V4(v4) if v4.octets().starts_with(&[198, 51, 100]) => self.country(country("DE")),
            _ => Whereabouts::default(),
        }
    }

    fn country(&self, country: Country) -> Whereabouts {
        Whereabouts {
            country: Some(country),
            ..Whereabouts::default()
        }
    }
}

fn country(code: &str) -> Country {
    Country::parse(code).unwrap()
}

/// A backend in Brazil that says `BR`, one in Germany that says `DE`, and a proxy near neither that asks [`Two`].
async fn stage(config: Config) -> (Stage, Backend, Backend) {
    let (br, de) = (
        Backend::start(|_, _| ok("BR")).await,
        Backend::start(|_, _| ok("DE")).await,
    );
    let in_brazil = endpoint(1, br.addr, Limits::NONE);
    let in_brazil = Arc::new(Endpoint::new(
        Registered {
            country: country("BR"),
            region: Region::parse("sa").unwrap(),
            ..in_brazil.backend.clone()
        },
        in_brazil.incarnation,
    ));
    let endpoints = [in_brazil, endpoint(2, de.addr, Limits::NONE)];
    let policy = Policy {
        algorithm: Algorithm::RegionAffinity(Inner::RoundRobin),
        own_region: Some(Region::parse("ap").unwrap()),
        ..Policy::default()
    };
    let app = AppRoute {
        balancer: Balancer::prepare(
            &policy,
            endpoints.iter().cloned().map(Candidate::new).collect(),
            MonoTime::ZERO,
            None,
        ),
        ..app("app", &endpoints)
    };
    let config = Config {
        locate: Some(Arc::new(Two)),
        country_header: Some(HeaderName::from_static("cf-ipcountry")),
        ..config
    };
    (Stage::start(config, [app]), br, de)
}

fn behind_proxies() -> Config {
    Config {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        ..config()
    }
}

/// Who answers, four times in a row; more than one if the place is not known.
async fn answers(stage: &Stage, fields: &str) -> String {
    let mut client = Client::connect(stage.addr).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        client
            .write(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
            .await;
        all.push(client.read().await.body);
    }
    all.sort();
    all.dedup();
    all.join(" ")
}

/// The same by HTTP/2.
async fn answers_by_http2(stage: &Stage, fields: &[(&str, &str)]) -> String {
    let (sender, _connection) = http2::connect(stage.addr).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut request = http2::request("GET", "/");
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let reply = http2::exchange(&sender, request, b"").await.unwrap();
        all.push(String::from_utf8(reply.body).unwrap());
    }
    all.sort();
    all.dedup();
    all.join(" ")
}

#[tokio::test]
async fn tier_0_is_the_country_of_the_address_that_a_trusted_proxy_names() {
    let (stage, _br, _de) = stage(behind_proxies()).await;
    for (chain, expected) in [
        ("192.0.2.1", "BR"),
        ("198.51.100.1", "DE"),
        ("198.51.100.1, 192.0.2.1, 10.0.0.1", "BR"),
        ("203.0.113.1", "BR DE"),
    ] {
        let fields = format!("x-forwarded-for: {chain}\r\n");
        assert_eq!(answers(&stage, &fields).await, expected, "{chain}");
        assert_eq!(
            answers_by_http2(&stage, &[("x-forwarded-for", chain)]).await,
            expected,
            "{chain}"
        );
    }
    assert_eq!(answers(&stage, "").await, "BR DE");
}

#[tokio::test]
async fn a_country_that_a_trusted_proxy_names_says_more_than_the_address() {
    let (stage, _br, _de) = stage(behind_proxies()).await;
    let fields = "cf-ipcountry: de\r\nx-forwarded-for: 192.0.2.1\r\n";
    assert_eq!(answers(&stage, fields).await, "DE");
    let fields = [("cf-ipcountry", "de"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(answers_by_http2(&stage, &fields).await, "DE");
    // No country has that code.
    let fields = "cf-ipcountry: XX\r\nx-forwarded-for: 192.0.2.1\r\n";
    assert_eq!(answers(&stage, fields).await, "BR");
}

#[tokio::test]
async fn a_strangers_word_for_where_it_is_does_not_count() {
    let (stage, _br, _de) = stage(config()).await;
    let fields = "cf-ipcountry: DE\r\nx-forwarded-for: 198.51.100.1\r\n";
    assert_eq!(answers(&stage, fields).await, "BR DE");
    let fields = [("cf-ipcountry", "DE"), ("x-forwarded-for", "198.51.100.1")];
    assert_eq!(answers_by_http2(&stage, &fields).await, "BR DE");
}

#[tokio::test]
async fn the_address_of_a_proxy_protocol_header_counts_over_http_and_tcp() {
    let proxied = |listener: Listener| Listener {
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        ..listener
    };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listeners: vec![
            proxied(Listener::http(any)),
            proxied(Listener::tcp(any, "app".parse().unwrap())),
        ],
        ..config()
    };
    let (stage, _br, _de) = stage(config).await;
    for addr in &stage.addrs {
        // Each twice: those that take turns would do for one of each.
        for (address, expected) in [
            ("192.0.2.1", "BR"),
            ("192.0.2.1", "BR"),
            ("198.51.100.1", "DE"),
            ("198.51.100.1", "DE"),
        ] {
            let mut client = Client::connect(*addr).await;
            let header = format!("PROXY TCP4 {address} 203.0.113.9 4711 80\r\n");
            client
                .write(format!("{header}GET / HTTP/1.1\r\nhost: a\r\n\r\n"))
                .await;
            assert_eq!(client.read().await.body, expected, "{addr} {address}");
        }
    }
}
