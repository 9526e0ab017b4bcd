//! A fleet that registers all at once, by as much as the API takes and by far more than it may.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use edgeproxy_tests::{PATIENCE, Registration, Wire, spread};

use crate::process::nothing;
use crate::report::seconds;
use crate::row::{Row, Runs, Told};
use crate::scene::{Scene, setup};

const LIMITS: &str = "limits.md#settings";

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "registration-storm",
        fault: "20,000 registrations as fast as 16 connections take them, 10,000 a second if the machine can, with no limit; then they leave",
        expects: "each is accepted, and listed; no request to an app is concerned; their memory is used again",
        rule: LIMITS,
        limit: Duration::from_secs(480),
        runs: Runs::Alone,
        needs: &[],
        commit: || Box::pin(storm()),
    },
    Row {
        name: "registration-limit",
        fault: "2,000 registrations at once, `api_rate_per_peer` being 500; who is refused comes again; then they leave",
        expects: "429 with `Retry-After` beyond the limit, which changes nothing; who comes again then is accepted; what was acknowledged is listed",
        rule: LIMITS,
        limit: Duration::from_secs(240),
        runs: Runs::Thorough,
        needs: &[],
        commit: || Box::pin(limited()),
    },
];

/// Backends that register where there is no limit, and where there is one.
const STORM: usize = 20_000;
const LIMITED: usize = 2_000;
/// Changes a second that a peer may ask for, and at once.
const PER_PEER: usize = 500;
/// Registrations a second of a released build, at the least: a fifth of what is asked for, since clients, backends and the
/// load have the same processors.
const PER_SEC_MIN: f64 = 2_000.0;
/// Tables that have held so many are kept at that size.
const STORM_MIB: u64 = 48;
/// Connections that they do it by, and how many ask by one before they look at the answers.
const REGISTRARS: usize = 16;
const AHEAD: usize = 25;
/// The longest that somebody may be sent away for. All who wait come again at once, so it may be more than once.
const RETRY_AFTER_MAX: u64 = 10;

/// What came of asking for all.
#[derive(Default)]
struct Asked {
    acknowledged: HashSet<usize>,
    /// How often somebody was refused for the limit.
    refused: usize,
}

/// Asks for all of these, so many at a time, and again for those that were refused, when they were told to.
async fn ask_all(
    api: SocketAddr,
    count: usize,
    ask: impl Fn(usize) -> String + Clone + Send + 'static,
) -> Asked {
    let told = Arc::new(Mutex::new(Asked::default()));
    let shared = Arc::clone(&told);
    let step = move |wire: Option<Wire>, batch: usize| {
        let (ask, told) = (ask.clone(), Arc::clone(&shared));
        async move {
            let mut wire = match wire {
                Some(wire) => wire,
                None => Wire::connect(api).await,
            };
            let mut left: Vec<_> = (batch * AHEAD..(batch + 1) * AHEAD).collect();
            while !left.is_empty() {
                let requests: String = left.iter().map(|number| ask(*number)).collect();
                wire.send(requests.as_bytes()).await;
                let (mut again, mut pause) = (Vec::new(), 0);
                for number in left {
                    let reply = wire.reply().await.expect("an answer");
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    match reply.status.as_u16() {
                        200 | 201 => assert!(told.acknowledged.insert(number), "{number} is answered once"),
                        429 => {
                            let wait = reply.header("retry-after").and_then(|secs| secs.parse().ok());
                            let wait: u64 = wait.expect("429 says when to come again");
                            assert!((1..=RETRY_AFTER_MAX).contains(&wait), "{reply:?}");
                            told.refused += 1;
                            pause = wait.max(pause);
                            again.push(number);
                        }
                        _ => panic!("number {number}: {reply:?}"),
                    }
                }
                left = again;
                if !left.is_empty() {
                    tokio::time::sleep(Duration::from_secs(pause)).await; // as a backend does
                }
            }
            Some(wire)
        }
    };
    spread(REGISTRARS, count / AHEAD, || None, step).await;
    std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner))
}

fn name(number: usize) -> String {
    format!("storm-{number}")
}

async fn register_all(scene: &Scene, count: usize) -> Asked {
    let (api, backend) = (scene.api_aim.get(), scene.shop[0].addr());
    let ask = move |number| {
        let registration = Registration::new(&name(number), "storm", backend);
        let body = registration.with("ttl_secs", 3_600).to_json();
        let length = body.len();
        format!(
            "POST /api/v1/register HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    ask_all(api, count, ask).await
}

async fn deregister_all(scene: &Scene, count: usize) -> Asked {
    let api = scene.api_aim.get();
    let ask = move |number| {
        let name = name(number);
        format!("DELETE /api/v1/backends/{name} HTTP/1.1\r\nHost: {api}\r\n\r\n")
    };
    ask_all(api, count, ask).await
}

/// Everybody who was acknowledged is listed, and nobody else but those who were there before.
async fn all_listed(scene: &Scene, asked: &Asked) {
    let (ids, total) = scene.api().ids().await;
    let listed: HashSet<_> = ids.iter().map(String::as_str).collect();
    let lost: Vec<_> = asked
        .acknowledged
        .iter()
        .map(|number| name(*number))
        .filter(|name| !listed.contains(name.as_str()))
        .collect();
    assert!(
        lost.is_empty(),
        "{} are acknowledged and not listed: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    let expected = asked.acknowledged.len() + scene.shop.len() + scene.other.len();
    assert_eq!(
        (ids.len(), listed.len(), usize::try_from(total)),
        (expected, expected, Ok(expected)),
        "nobody is listed twice, and nobody who wasn't acknowledged"
    );
}

async fn storm() -> Told {
    let scene = Scene::usual().await.patient(3 * PATIENCE).keeps(STORM_MIB);
    scene
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let began = Instant::now();
            let asked = register_all(scene, STORM).await;
            let took = began.elapsed();
            assert_eq!((asked.acknowledged.len(), asked.refused), (STORM, 0));
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let rate = STORM as f64 / took.as_secs_f64();
            assert!(
                cfg!(debug_assertions) || rate >= PER_SEC_MIN,
                "{rate:.0} registrations a second, at least {PER_SEC_MIN:.0} are expected"
            );
            scene.flows().await;
            let over = scene.is_over();
            all_listed(scene, &asked).await;
            let left = deregister_all(scene, STORM).await;
            assert_eq!((left.acknowledged.len(), left.refused), (STORM, 0));
            all_listed(scene, &Asked::default()).await;
            scene.flows().await;
            scene.has_recovered(over);
            scene.note(format!(
                "{STORM} registered in {}, {rate:.0} a second",
                seconds(took)
            ));
        })
        .await
}

async fn limited() -> Told {
    Scene::of(setup().set("API_RATE_PER_PEER", &PER_PEER.to_string()))
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let began = Instant::now();
            let asked = register_all(scene, LIMITED).await;
            let took = began.elapsed();
            assert_eq!(asked.acknowledged.len(), LIMITED, "in the end each is accepted");
            assert!(asked.refused > 0, "nobody was refused");
            // What is there at once, and what each second brings.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some seconds"
            )]
            let granted = PER_PEER * (2 + took.as_secs_f64() as usize);
            assert!(
                LIMITED <= granted,
                "{LIMITED} accepted in {}, at most {granted} may be",
                seconds(took)
            );
            all_listed(scene, &asked).await;
            scene.flows().await;
            let over = scene.is_over();
            let left = deregister_all(scene, LIMITED).await;
            assert_eq!(left.acknowledged.len(), LIMITED);
            all_listed(scene, &Asked::default()).await;
            scene.flows().await;
            scene.has_recovered(over);
            scene.note(format!(
                "{LIMITED} registered in {}; {} times 429",
                seconds(took),
                asked.refused
            ));
        })
        .await
}
