//! Who gets a request by what its client is known by: `hash`, stickiness, and the header that tells of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Endpoint, Limits, MonoTime};
use edgeproxy_balance::{Algorithm, Balancer, Barred, Bindings, Bound, Candidate, Policy};
use edgeproxy_proxy::{
    AppRoute, AppSettings, Config, CookieName, HashKey, Keys, Listener, RouteTable, Sticky, StickyCookie,
};
use http::header::HeaderName;

use crate::backend::{Backend, Reply, ok};
use crate::client::{Client, Response};
use crate::http2;
use crate::stage::{Stage, app, config, endpoint, h2c};

const TTL: Duration = Duration::from_secs(600);

/// Backends that answer with their number, from 1.
async fn backends(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for number in 1..=count {
        let body = number.to_string();
        backends.push(Backend::start(move |_, _| ok(&body)).await);
    }
    backends
}

fn endpoints(backends: &[Backend]) -> Vec<Arc<Endpoint>> {
    let numbered = (1..).zip(backends);
    numbered
        .map(|(number, backend)| endpoint(number, backend.addr, Limits::NONE))
        .collect()
}

fn prepared(policy: &Policy, candidates: Vec<Candidate<Arc<Endpoint>>>) -> Balancer<Arc<Endpoint>> {
    Balancer::prepare(policy, candidates, MonoTime::ZERO, None)
}

fn candidates(endpoints: &[Arc<Endpoint>]) -> Vec<Candidate<Arc<Endpoint>>> {
    endpoints.iter().cloned().map(Candidate::new).collect()
}

fn turns() -> Policy {
    Policy {
        algorithm: Algorithm::RoundRobin,
        bound: Bound::Followed,
        ..Policy::default()
    }
}

/// An app whose clients stay where they were.
fn sticking(endpoints: &[Arc<Endpoint>], sticky: &Sticky) -> AppRoute {
    AppRoute {
        balancer: prepared(&turns(), candidates(endpoints)),
        keys: Some(Keys {
            hash: None,
            sticky: Some(sticky.clone()),
        }),
        ..app("app", endpoints)
    }
}

fn hashing(endpoints: &[Arc<Endpoint>], hash: HashKey) -> AppRoute {
    let policy = Policy {
        algorithm: Algorithm::Hash,
        ..Policy::default()
    };
    AppRoute {
        balancer: prepared(&policy, candidates(endpoints)),
        keys: Some(Keys {
            hash: Some(hash),
            sticky: None,
        }),
        ..app("app", endpoints)
    }
}

fn bindings() -> Arc<Bindings> {
    Arc::new(Bindings::new(1_024, TTL))
}

fn by_header() -> Sticky {
    Sticky::Header(HeaderName::from_static("x-session"), bindings())
}

fn by_cookie() -> Sticky {
    Sticky::Cookie(StickyCookie::new(CookieName::parse("edgeproxy").unwrap(), TTL))
}

/// Clients of which each has an address of its own, as far as a trusted proxy says.
fn behind_a_proxy() -> Config {
    Config {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config()
    }
}

/// One request with these fields on a connection of its own, by either version.
async fn get(addr: SocketAddr, version: u8, fields: &[(&str, &str)]) -> Answer {
    if version == 1 {
        let lines: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut client = Client::connect(addr).await;
        client
            .write(format!("GET / HTTP/1.1\r\nhost: app\r\n{lines}\r\n"))
            .await;
        return Answer::of(&client.read().await);
    }
    let (sender, _connection) = http2::connect(addr).await;
    let mut request = http2::request("GET", "/");
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let whole = http2::exchange(&sender, request, b"").await.unwrap();
    let all = |name: &str| -> Vec<String> {
        let values = whole.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    Answer {
        from: String::from_utf8(whole.body.clone()).unwrap(),
        cookies: all("set-cookie"),
        decisions: all("x-edgeproxy-decision"),
    }
}

/// What a test wants to know of an answer.
#[derive(Debug)]
struct Answer {
    /// The number of the backend that it is from.
    from: String,
    cookies: Vec<String>,
    decisions: Vec<String>,
}

impl Answer {
    fn of(response: &Response) -> Self {
        let all = |name| response.all(name).into_iter().map(str::to_owned).collect();
        Self {
            from: response.body.clone(),
            cookies: all("set-cookie"),
            decisions: all("x-edgeproxy-decision"),
        }
    }

    /// The pair of the one cookie that was set.
    fn cookie(&self) -> &str {
        assert_eq!(self.cookies.len(), 1, "{self:?}");
        self.cookies[0].split(';').next().unwrap()
    }
}

/// Whoever answers eight such requests, on connections of their own and so on any worker.
async fn answers(addr: SocketAddr, version: u8, fields: &[(&str, &str)]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for _ in 0..8 {
        all.insert(get(addr, version, fields).await.from);
    }
    all
}

#[tokio::test]
async fn sticky_client_ip_keeps_a_client_with_its_backend_on_every_worker() {
    for version in [1, 2] {
        let backends = backends(3).await;
        let app = sticking(&endpoints(&backends), &Sticky::ClientIp(bindings()));
        let stage = Stage::start(behind_a_proxy(), [app]);
        let mut seen = BTreeSet::new();
        for client in 1..=6 {
            let chain = format!("198.51.100.9, 192.0.2.{client}");
            let answers = answers(stage.addr, version, &[("x-forwarded-for", &chain)]).await;
            assert_eq!(answers.len(), 1, "HTTP/{version}: {answers:?}");
            seen.extend(answers);
        }
        assert_eq!(seen.len(), 3, "different clients have different backends");
    }
}

#[tokio::test]
async fn sticky_client_ip_keeps_tcp_connections_too() {
    let backends = backends(3).await;
    let app = sticking(&endpoints(&backends), &Sticky::ClientIp(bindings()));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listeners: vec![Listener::tcp(any, "app".parse().unwrap()), Listener::http(any)],
        ..config()
    };
    let stage = Stage::start(config, [app]);
    let mut all = BTreeSet::new();
    for addr in [stage.addrs[0], stage.addrs[1], stage.addrs[0]] {
        all.extend(answers(addr, 1, &[]).await);
    }
    assert_eq!(all.len(), 1, "the same client, over TCP and HTTP: {all:?}");
}

#[tokio::test]
async fn sticky_header_keeps_a_session_with_its_backend_and_whoever_has_none_goes_round() {
    for version in [1, 2] {
        let backends = backends(3).await;
        let stage = Stage::start(config(), [sticking(&endpoints(&backends), &by_header())]);
        let mut seen = BTreeSet::new();
        for session in ["a", "b", "c", "d"] {
            let answers = answers(stage.addr, version, &[("X-Session", session)]).await;
            assert_eq!(answers.len(), 1, "HTTP/{version}: {answers:?}");
            seen.extend(answers);
        }
        assert!(seen.len() > 1, "{seen:?}");
        assert_eq!(answers(stage.addr, version, &[]).await.len(), 3);
    }
}

#[tokio::test]
async fn sticky_cookie_is_set_once_and_keeps_a_browser_with_its_backend() {
    for version in [1, 2] {
        let backends = backends(3).await;
        let stage = Stage::start(config(), [sticking(&endpoints(&backends), &by_cookie())]);
        let first = get(stage.addr, version, &[("cookie", "theme=dark")]).await;
        let attributes = "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax";
        assert!(first.cookies[0].ends_with(attributes), "{first:?}");
        let pair = first.cookie();
        let value = pair.strip_prefix("edgeproxy=").unwrap();
        let is_told = backends
            .iter()
            .any(|backend| value.contains(&backend.addr.port().to_string()));
        assert!(!is_told && !value.contains("127"), "{value}");
        for _ in 0..6 {
            let crumbs = [("cookie", "theme=dark; edgeproxyx=1"), ("cookie", pair)];
            let again = get(stage.addr, version, &crumbs).await;
            assert_eq!((&again.from, again.cookies.len()), (&first.from, 0));
        }
        // Without it, the next one in turn.
        assert_eq!(answers(stage.addr, version, &[]).await.len(), 3);
        // The backend gets it as any other cookie.
        let bound = &backends[first.from.parse::<usize>().unwrap() - 1];
        let seen = std::iter::repeat_with(|| bound.take().head).take(2);
        assert!(seen.into_iter().any(|head| head.contains(pair)), "{pair}");
    }
}

#[tokio::test]
async fn a_forged_cookie_is_as_none_and_another_takes_its_place() {
    for version in [1, 2] {
        let backends = backends(2).await;
        let stage = Stage::start(config(), [sticking(&endpoints(&backends), &by_cookie())]);
        let nobody = format!("edgeproxy={:024x}", 7);
        for forged in ["edgeproxy=", "edgeproxy=1", "edgeproxy=127.0.0.1:80", &nobody] {
            let answer = get(stage.addr, version, &[("cookie", forged)]).await;
            let pair = answer.cookie().to_owned();
            let again = get(stage.addr, version, &[("cookie", forged), ("cookie", &pair)]).await;
            assert_eq!((again.from, again.cookies.len()), (answer.from, 0), "{forged}");
        }
    }
}

#[tokio::test]
async fn over_backends_of_http_2_the_cookie_is_set_as_well() {
    let backend = http2::Backend::start(|_, _, mut reply| async move {
        let mut stream = reply.send_response(http2::ok(), false).unwrap();
        stream.send_data(bytes::Bytes::from_static(b"2"), true).unwrap();
    })
    .await;
    let endpoints = [h2c(1, backend.addr, Limits::NONE)];
    let stage = Stage::start(config(), [sticking(&endpoints, &by_cookie())]);
    for version in [1, 2] {
        let first = get(stage.addr, version, &[]).await;
        assert_eq!(first.from, "2");
        let again = get(stage.addr, version, &[("cookie", first.cookie())]).await;
        assert_eq!((again.from.as_str(), again.cookies.len()), ("2", 0));
    }
}

#[tokio::test]
async fn a_websocket_is_kept_with_its_backend_too() {
    let agree = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut backends = Vec::new();
    for _ in 0..2 {
        backends.push(Backend::start(move |_, _| Reply::Send(agree.into())).await);
    }
    let stage = Stage::start(config(), [sticking(&endpoints(&backends), &by_cookie())]);
    let mut cookie = "none=1".to_owned();
    for round in 0..4 {
        let mut client = Client::connect(stage.addr).await;
        let ask = format!(
            "GET /chat HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\ncookie: {cookie}\r\n\r\n"
        );
        client.write(ask).await;
        let agreed = client.head().await.unwrap();
        assert_eq!(agreed.status, 101);
        match agreed.all("set-cookie").first() {
            Some(set) if round == 0 => set.split(';').next().unwrap().clone_into(&mut cookie),
            other => assert_eq!((round > 0, other), (true, None)),
        }
    }
    let requests: Vec<_> = backends.iter().map(|backend| backend.tally().requests).collect();
    assert!(requests == [4, 0] || requests == [0, 4], "{requests:?}");
}

/// What wins over a binding, and how the second table has it.
fn what_wins(bound: &Arc<Endpoint>, all: &[Arc<Endpoint>], how: &str) -> Vec<Candidate<Arc<Endpoint>>> {
    let excluded = |endpoint: &Arc<Endpoint>| endpoint.incarnation == bound.incarnation;
    let candidate = |endpoint: &Arc<Endpoint>| Candidate {
        excluded: match how {
            "drain" if excluded(endpoint) => Some(Barred::Firm("draining".into())),
            "ejection" if excluded(endpoint) => Some(Barred::Unwell("ejected".into())),
            _ => None,
        },
        ..Candidate::new(Arc::clone(endpoint))
    };
    all.iter().map(candidate).collect()
}

#[tokio::test]
async fn a_hard_limit_a_drain_and_an_ejection_win_and_then_the_client_is_bound_to_whoever_it_got() {
    for version in [1, 2] {
        for sticky in [Sticky::ClientIp(bindings()), by_header(), by_cookie()] {
            for how in ["hard limit", "drain", "ejection", "gate"] {
                let backends = backends(3).await;
                let limits = Limits::new(1, 1).unwrap();
                let numbered = (1..).zip(&backends);
                let endpoints: Vec<_> = numbered
                    .map(|(number, backend)| endpoint(number, backend.addr, limits))
                    .collect();
                let stage = Stage::start(config(), [sticking(&endpoints, &sticky)]);
                let first = get(stage.addr, version, &[("x-session", "s")]).await;
                let cookie = match &sticky {
                    Sticky::Cookie(_) => first.cookie().to_owned(),
                    _ => "none=1".to_owned(),
                };
                let fields = [("x-session", "s"), ("cookie", cookie.as_str())];
                let bound = &endpoints[first.from.parse::<usize>().unwrap() - 1];
                let mut held = None;
                match how {
                    "hard limit" => {
                        held = Some(bound.admit(edgeproxy_backend::Admission::Regular).unwrap());
                    }
                    "gate" => bound.meter.close(),
                    _ => {
                        let app = AppRoute {
                            balancer: prepared(&turns(), what_wins(bound, &endpoints, how)),
                            ..sticking(&endpoints, &sticky)
                        };
                        stage
                            .table
                            .store(Arc::new(RouteTable::new(2, [Arc::new(app)], Arc::default())));
                    }
                }
                let second = get(stage.addr, version, &fields).await;
                assert_ne!(second.from, first.from, "{how}");
                // All is well again, and the client stays where it has come to.
                drop(held);
                bound.meter.open();
                stage.table.store(Arc::new(RouteTable::new(
                    3,
                    [Arc::new(sticking(&endpoints, &sticky))],
                    Arc::default(),
                )));
                let cookie = match &sticky {
                    Sticky::Cookie(_) => second.cookie().to_owned(),
                    _ => "none=1".to_owned(),
                };
                let fields = [("x-session", "s"), ("cookie", cookie.as_str())];
                let all = answers(stage.addr, version, &fields).await;
                assert_eq!(all, BTreeSet::from([second.from]), "{how} {sticky:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_retry_leaves_a_bound_backend_that_fails_and_binds_to_the_one_that_answers() {
    for version in [1, 2] {
        for sticky in [Sticky::ClientIp(bindings()), by_cookie()] {
            let fickle = Backend::start(|number, _| if number == 0 { ok("1") } else { Reply::Close }).await;
            let steady = Backend::start(|_, _| ok("2")).await;
            let endpoints = [
                endpoint(1, fickle.addr, Limits::NONE),
                endpoint(2, steady.addr, Limits::NONE),
            ];
            let stage = Stage::start(config(), [sticking(&endpoints, &sticky)]);
            let first = get(stage.addr, version, &[]).await;
            assert_eq!(first.from, "1");
            let cookie = first
                .cookies
                .first()
                .map_or("none=1", |set| set.split(';').next().unwrap());
            let second = get(stage.addr, version, &[("cookie", cookie)]).await;
            assert_eq!(second.from, "2", "{sticky:?}");
            let cookie = second
                .cookies
                .first()
                .map_or("none=1", |set| set.split(';').next().unwrap());
            let before = fickle.tally().requests;
            let all = answers(stage.addr, version, &[("cookie", cookie)]).await;
            assert_eq!(
                (all, fickle.tally().requests),
                (BTreeSet::from(["2".to_owned()]), before)
            );
        }
    }
}

#[tokio::test]
async fn hash_by_header_cookie_or_address_sends_a_key_to_one_backend_whatever_the_version() {
    let backends = backends(4).await;
    let endpoints = endpoints(&backends);
    let cookie = CookieName::parse("user").unwrap();
    for (hash, name) in [
        (HashKey::Header(HeaderName::from_static("x-user")), "x-user"),
        (HashKey::Cookie(cookie), "cookie"),
        (HashKey::ClientIp, "x-forwarded-for"),
    ] {
        let stage = Stage::start(behind_a_proxy(), [hashing(&endpoints, hash)]);
        let mut seen = BTreeSet::new();
        for user in 1..=12 {
            let value = match name {
                "cookie" => format!("theme=dark; user={user}"),
                "x-forwarded-for" => format!("192.0.2.{user}"),
                _ => user.to_string(),
            };
            let mut all = answers(stage.addr, 1, &[(name, &value)]).await;
            all.extend(answers(stage.addr, 2, &[(name, &value)]).await);
            assert_eq!(all.len(), 1, "{name}: {all:?}");
            seen.extend(all);
        }
        assert!(seen.len() >= 3, "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn the_decision_header_tells_backend_attempt_algorithm_and_why() {
    for version in [1, 2] {
        let (refusing, steady) = (Backend::refusing().await, Backend::start(|_, _| ok("2")).await);
        let endpoints = [
            endpoint(1, refusing, Limits::NONE),
            endpoint(2, steady.addr, Limits::NONE),
        ];
        let telling = || AppRoute {
            decision_percent: 100,
            ..sticking(&endpoints, &by_header())
        };
        let stage = Stage::start(config(), [telling()]);
        let mut told = BTreeSet::new();
        for _ in 0..4 {
            let answer = get(stage.addr, version, &[]).await;
            assert_eq!(answer.decisions.len(), 1, "{answer:?}");
            told.extend(answer.decisions);
        }
        // Each takes its turn, and so each request comes to the one that refuses first.
        let expected = "backend=\"b2\", attempt=2, algorithm=round_robin, why=below_soft";
        assert_eq!(told, BTreeSet::from([expected.to_owned()]));
        get(stage.addr, version, &[("x-session", "s")]).await;
        let bound = get(stage.addr, version, &[("x-session", "s")]).await;
        assert_eq!(
            bound.decisions,
            ["backend=\"b2\", attempt=1, algorithm=round_robin, why=bound"]
        );
    }
}

#[tokio::test]
async fn an_answer_that_counts_as_a_failure_binds_nobody_and_is_told_of() {
    for version in [1, 2] {
        let unwell = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 1\r\n\r\n";
        let mut backends = Vec::new();
        for number in 1..=2 {
            let answer = format!("{unwell}{number}");
            backends.push(Backend::start(move |_, _| Reply::Send(answer.clone().into())).await);
        }
        let endpoints = endpoints(&backends);
        let app = AppRoute {
            decision_percent: 100,
            settings: AppSettings {
                unhealthy_responses: [503..=503].into_iter().collect(),
                ..AppSettings::default()
            },
            ..sticking(&endpoints, &by_cookie())
        };
        let stage = Stage::start(config(), [app]);
        let answer = get(stage.addr, version, &[]).await;
        // Both have been tried, and the first is tried once more.
        assert_eq!((answer.from.as_str(), answer.cookies.len()), ("1", 0));
        assert_eq!(
            answer.decisions,
            ["backend=\"b1\", attempt=3, algorithm=round_robin, why=below_soft"]
        );
    }
}

#[tokio::test]
async fn without_its_setting_no_client_is_told_how_it_was_picked_for() {
    let backends = backends(2).await;
    let stage = Stage::start(config(), [app("app", &endpoints(&backends))]);
    for version in [1, 2] {
        let answer = get(stage.addr, version, &[]).await;
        assert_eq!((answer.decisions.len(), answer.cookies.len()), (0, 0));
    }
}

#[tokio::test]
async fn the_decision_header_is_sampled() {
    let backends = backends(1).await;
    let app = AppRoute {
        decision_percent: 50,
        ..app("app", &endpoints(&backends))
    };
    let stage = Stage::start(config(), [app]);
    let mut client = Client::connect(stage.addr).await;
    let mut told = 0;
    for _ in 0..400 {
        told += client.get("/").await.all("x-edgeproxy-decision").len();
    }
    // Six standard deviations around 200.
    assert!((140..=260).contains(&told), "{told}");
}

#[tokio::test]
async fn all_out_in_a_panic_ejected_and_unhealthy_backends_get_requests_and_disabled_ones_do_not() {
    for version in [1, 2] {
        let backends = backends(4).await;
        let endpoints = endpoints(&backends);
        endpoints[1].meter.exclude();
        endpoints[2].meter.bench();
        endpoints[3].meter.close();
        let policy = Policy {
            panic_permille: 500,
            ..turns()
        };
        let barred = [
            None,
            Some(Barred::Unwell("ejected".into())),
            Some(Barred::Unwell("unhealthy".into())),
            Some(Barred::Firm("disabled".into())),
        ];
        let candidates = endpoints
            .iter()
            .zip(barred)
            .map(|(endpoint, excluded)| Candidate {
                excluded,
                ..Candidate::new(Arc::clone(endpoint))
            });
        let app = AppRoute {
            balancer: prepared(&policy, candidates.collect()),
            decision_percent: 100,
            ..app("app", &endpoints)
        };
        let stage = Stage::start(config(), [app]);
        let all = answers(stage.addr, version, &[]).await;
        assert_eq!(all, ["1", "2", "3"].map(str::to_owned).into());
        let answer = get(stage.addr, version, &[]).await;
        assert!(
            answer.decisions[0].ends_with("why=below_soft, health=panic"),
            "{answer:?}"
        );
        // An operator's word holds at once, whatever the table says.
        endpoints[2].meter.close();
        let all = answers(stage.addr, version, &[]).await;
        assert_eq!(all, ["1", "2"].map(str::to_owned).into());
    }
}
