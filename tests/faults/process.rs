//! What befalls the proxy's own process.

use std::time::{Duration, Instant};

use edgeproxy_tests::{Api, Client, Edgeproxy, PATIENCE, Registration, Vitals, eventually};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::beats::Beats;
use crate::ledger::{Failure, Form};
use crate::load::CLIENTS;
use crate::report::seconds;
use crate::row::{Need, Row, Runs, Told};
use crate::scene::{Scene, TTL, setup};
use crate::villain::{Manner, Villain};

const MODES: &str = "failure-modes.md#the-proxy";
const SIGNALS: &str = "service.md#signals";
/// How long the proxy stands still.
const PAUSE: Duration = Duration::from_secs(60);

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "proxy-no-descriptors",
        fault: "the proxy may open nothing more (`RLIMIT_NOFILE`), then it may again",
        expects: "who connects waits, nobody is refused; no backend is blamed for it; all are answered in the end",
        rule: MODES,
        limit: Duration::from_secs(120),
        runs: Runs::Thorough,
        needs: &[],
        commit: || Box::pin(no_descriptors()),
    },
    Row {
        name: "proxy-no-disk",
        fault: "the disk that has its access log and audit log is full, then it is not",
        expects: "no request is concerned; lines are lost and counted; it writes again",
        rule: MODES,
        limit: Duration::from_secs(120),
        runs: Runs::Thorough,
        needs: &[Need::Mounts],
        commit: || Box::pin(no_disk()),
    },
    Row {
        name: "proxy-paused",
        fault: "the proxy gets SIGSTOP, and SIGCONT a minute later; leases of 5 s",
        expects: "clients wait, and all are answered; no lease ends for the pause",
        rule: "leases.md#when-to-distrust-oneself",
        limit: Duration::from_secs(240),
        runs: Runs::Thorough,
        needs: &[],
        commit: || Box::pin(paused()),
    },
    Row {
        name: "proxy-killed",
        fault: "the proxy gets SIGKILL in the midst of registrations, and is started again",
        expects: "while it is away connections break or are refused; all that was acknowledged is there and served",
        rule: "leases.md#a-restart",
        limit: Duration::from_secs(120),
        runs: Runs::Always,
        needs: &[],
        commit: || Box::pin(killed()),
    },
    Row {
        name: "proxy-twice",
        fault: "a second proxy is started, with the same port, then with the same folder",
        expects: "it ends with exit code 1 and names the address, or the folder; the first one notices nothing",
        rule: SIGNALS,
        limit: Duration::from_secs(120),
        runs: Runs::Always,
        needs: &[],
        commit: || Box::pin(twice()),
    },
    Row {
        name: "proxy-sigterm-twice",
        fault: "the proxy gets SIGTERM while a request is under way, and again; then it is started again",
        expects: "the first drains, `/ready` says 503; the second ends it at once; no answer is wrong",
        rule: SIGNALS,
        limit: Duration::from_secs(120),
        runs: Runs::Always,
        needs: &[],
        commit: || Box::pin(sigterm_twice()),
    },
];

/// It is not there.
pub(crate) fn away(failure: &Failure) -> bool {
    matches!(failure.form, Form::NoAnswer | Form::Cut | Form::Unreachable)
}

pub(crate) fn nothing(_: &Failure) -> bool {
    false
}

fn pid(proxy: &Edgeproxy) -> Pid {
    let id = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw);
    id.expect("a process id is a positive i32")
}

async fn no_descriptors() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            // Over a connection that is there already.
            let mut api = scene.api();
            let probes = metric(&mut api, PROBES).await;
            let asked = || scene.ledger.answers(CLIENTS).iter().sum::<u64>();
            let said = || {
                let text = scene.proxy().logs().text();
                let lines = text
                    .lines()
                    .filter(|line| line.contains("no connection can be accepted"));
                lines.count()
            };
            let (asked_before, said_before) = (asked(), said());
            let before = prlimit(
                Some(pid(scene.proxy())),
                Resource::Nofile,
                none_more(scene.proxy()),
            );
            let before = before.expect("a child's limit can be set");
            // Told at most each ten seconds.
            eventually(PATIENCE, "it says so", async || match said() {
                now if now > said_before => Ok(()),
                now => Err(format!("{now} times, {said_before} before")),
            })
            .await;
            // Connections that come now are in nobody's hands but the system's.
            let mut waiting = Vec::new();
            for _ in 0..20 {
                let addr = scene.aim.get();
                waiting.push(tokio::spawn(async move {
                    Client::new(addr).get("shop", "/waits").await
                }));
            }
            let backends = scene.shop.len() + scene.other.len();
            let wanted = (probes + 3 * backends as u64, asked_before + 100);
            eventually(
                PATIENCE,
                "it was so for three probes of each backend, and a hundred requests",
                async || {
                    let now = (metric(&mut api, PROBES).await, asked());
                    if now.0 >= wanted.0 && now.1 >= wanted.1 {
                        Ok(())
                    } else {
                        Err(format!("{now:?}, wanted {wanted:?}"))
                    }
                },
            )
            .await;
            drop(api);
            prlimit(Some(pid(scene.proxy())), Resource::Nofile, before).expect("a child's limit can be set");
            let over = scene.is_over();
            for client in waiting {
                let reply = client.await.expect("no client panics").expect("an answer");
                assert_eq!(reply.status, 200, "{reply:?}");
            }
            scene.flows().await;
            let page = scene.api().get("/api/v1/backends").await.expect(200).json();
            for backend in page["backends"].as_array().expect("a page has backends") {
                assert_eq!(
                    backend["state"], "routable",
                    "a fault of the proxy's own: {backend}"
                );
            }
            scene.has_recovered(over);
        })
        .await
}

/// What counts probes that ended.
const PROBES: &str = "edgeproxy_probes_total";

/// As many as it has.
fn none_more(proxy: &Edgeproxy) -> Rlimit {
    let count = Vitals::of(proxy).descriptors as u64;
    Rlimit {
        current: Some(count),
        maximum: getrlimit(Resource::Nofile).maximum,
    }
}

/// A number of `/metrics`, all series of that name added up.
pub(crate) async fn metric(api: &mut Api, name: &str) -> u64 {
    let page = api.get("/metrics").await.expect(200);
    let lines = page.text().lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole = rest.starts_with([' ', '{']);
        is_whole
            .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .flatten()
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, far below 2^53"
    )]
    let sum = lines.sum::<f64>() as u64;
    sum
}

/// A disk of one megabyte, as `disk` in the folder that it is started in; nobody else sees it.
pub(crate) const SMALL_DISK: &str = "mkdir -p disk; mount -t tmpfs -o size=1m tmpfs disk";

/// The small disk of a running proxy.
pub(crate) fn disk(proxy: &Edgeproxy) -> std::path::PathBuf {
    let folder = proxy.folder().strip_prefix("/").expect("an absolute path");
    std::path::Path::new("/proc")
        .join(proxy.id().to_string())
        .join("root")
        .join(folder)
        .join("disk")
}

/// Leaves no room on it.
pub(crate) fn fill(disk: &std::path::Path) {
    use std::io::Write as _;
    let mut ballast = std::fs::File::create(disk.join("ballast")).expect("there is room yet");
    for size in [1 << 16, 1 << 12, 1 << 8, 1] {
        while ballast.write_all(&vec![b'b'; size]).is_ok() {}
    }
}

pub(crate) fn empty(disk: &std::path::Path) {
    std::fs::remove_file(disk.join("ballast")).expect("it is there");
}

async fn no_disk() -> Told {
    let setup = setup()
        .prepared(SMALL_DISK)
        .set("ACCESS_LOG", "disk/access.jsonl")
        .set("AUDIT_LOG", "disk/audit.jsonl");
    Scene::of(setup)
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let disk = disk(scene.proxy());
            let mut api = scene.api();
            let before = metric(&mut api, "edgeproxy_access_log_dropped_total").await;
            fill(&disk);
            eventually(PATIENCE, "lines are lost, and counted", async || {
                let _ = api
                    .patch("shop-0", &serde_json::json!({"weight": 2}))
                    .await
                    .expect(200);
                match metric(&mut api, "edgeproxy_access_log_dropped_total").await {
                    now if now > before => Ok(()),
                    now => Err(now.to_string()),
                }
            })
            .await;
            scene.flows().await;
            let _ = std::fs::File::options()
                .write(true)
                .open(disk.join("access.jsonl"))
                .and_then(|file| file.set_len(0));
            empty(&disk);
            let over = scene.is_over();
            let written = || std::fs::metadata(disk.join("access.jsonl")).map_or(0, |file| file.len());
            let before = written();
            eventually(PATIENCE, "it writes again", async || match written() {
                now if now > before => Ok(()),
                now => Err(now.to_string()),
            })
            .await;
            scene.has_recovered(over);
        })
        .await
}

async fn paused() -> Told {
    let (scene, beats) = Scene::of_leases(setup()).await;
    let scene = scene.patient(PAUSE + PATIENCE * 2);
    scene
        .once(async |scene| {
            scene.begins(nothing);
            scene.proxy().signal(Signal::STOP);
            let began = Instant::now();
            eventually(PAUSE + PATIENCE, "a minute has passed", async || {
                if began.elapsed() >= PAUSE {
                    Ok(())
                } else {
                    Err(seconds(began.elapsed()))
                }
            })
            .await;
            scene.proxy().signal(Signal::CONT);
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
            keeps_all(scene, &beats, 2 * TTL).await;
        })
        .await
}

/// For that long nobody's lease ends.
pub(crate) async fn keeps_all(scene: &Scene, beats: &Beats, lasts: Duration) {
    let wanted: Vec<_> = scene.shop.iter().chain(&scene.other).map(Villain::name).collect();
    let mut api = scene.api();
    let began = Instant::now();
    eventually(lasts + PATIENCE, "nobody's lease ends", async || {
        let (ids, _) = api.ids().await;
        let gone: Vec<_> = wanted
            .iter()
            .filter(|id| ids.iter().all(|found| found != *id))
            .collect();
        assert!(
            gone.is_empty(),
            "{} after the fault {gone:?} are gone",
            seconds(began.elapsed())
        );
        if began.elapsed() > lasts {
            Ok(())
        } else {
            Err(String::new())
        }
    })
    .await;
    assert_eq!(
        beats.forgotten(),
        0,
        "a heartbeat was told that its lease had ended"
    );
}

async fn killed() -> Told {
    Scene::of(setup().set("STORE", "file").set("DATA_DIR", "state"))
        .await
        .once(async |scene| {
            for round in 0..3 {
                let acknowledged = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
                let registering = registering(scene, round, &acknowledged);
                let known = || acknowledged.lock().expect("nobody panics").len();
                eventually(PATIENCE, "a hundred are registered", async || match known() {
                    100.. => Ok(()),
                    count => Err(count.to_string()),
                })
                .await;
                let mut started = Instant::now();
                scene.begins(away);
                scene
                    .replaced(async |proxy| {
                        let setup = proxy.killed().await;
                        registering.await.expect("it ends with the proxy");
                        started = Instant::now();
                        setup.start().await
                    })
                    .await;
                let over = scene.is_over();
                scene.flows().await;
                scene.has_recovered(over);
                let took = started.elapsed();
                let acknowledged = std::mem::take(&mut *acknowledged.lock().expect("nobody panics"));
                let (ids, _) = scene.api().ids().await;
                let lost: Vec<_> = acknowledged.iter().filter(|id| !ids.contains(id)).collect();
                assert!(
                    lost.is_empty(),
                    "{} were acknowledged, and {lost:?} are lost",
                    acknowledged.len()
                );
                for id in &ids {
                    if id.starts_with("third") {
                        let _ = scene.api().delete(id, "").await.expect(200);
                    }
                }
                scene.note(format!(
                    "killed with {} registrations acknowledged, all of them there; served {} after the start",
                    acknowledged.len(),
                    seconds(took)
                ));
            }
        })
        .await
}

/// Registers backends in a third app, one after the other, until there is no answer.
fn registering(
    scene: &Scene,
    round: usize,
    acknowledged: &std::sync::Arc<std::sync::Mutex<Vec<String>>>,
) -> tokio::task::JoinHandle<()> {
    let acknowledged = std::sync::Arc::clone(acknowledged);
    let addr = scene.shop[0].addr();
    let api = scene.api_aim.get();
    tokio::spawn(async move {
        let mut client = Client::new(api);
        for number in 0.. {
            let id = format!("third-{round}-{number}");
            let registration = Registration::new(&id, "third", addr).with("ttl_secs", 3_600);
            let request = http::Request::post("/api/v1/register")
                .header("host", api.to_string())
                .header("content-type", "application/json")
                .body(registration.to_json().into())
                .expect("it is well formed");
            let Ok(reply) = client.send(request).await else {
                return;
            };
            assert_eq!(reply.status, 201, "{reply:?}");
            if reply.json()["warnings"].is_null() {
                acknowledged.lock().expect("nobody panics").push(id);
            }
        }
    })
}

async fn twice() -> Told {
    Scene::of(setup().set("STORE", "file").set("DATA_DIR", "state"))
        .await
        .once(async |scene| {
            scene.begins(nothing);
            let addr = scene.proxy().proxy().to_string();
            let again = || scene.proxy().again();
            let refused = again()
                .set("LISTEN_ADDR", &addr)
                .set("DATA_DIR", "another")
                .refused()
                .await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains(&addr), "{}", refused.stderr);
            let refused = again().refused().await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains("data_dir"), "{}", refused.stderr);
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}

async fn sigterm_twice() -> Told {
    let setup = setup()
        .set("STORE", "file")
        .set("DATA_DIR", "state")
        .set("RESPONSE_HEADER_TIMEOUT_SECS", "60");
    Scene::of(setup)
        .await
        .once(async |scene| {
            // In an app of its own, so that it holds nobody else up.
            let holds = Villain::start("holds");
            holds.behave(Manner::NeverAnswers);
            let registration = Registration::new("holds", "held", holds.addr()).with("ttl_secs", 3_600);
            scene.api().register_new(&registration).await;
            let addr = scene.aim.get();
            let held = tokio::spawn(async move { Client::new(addr).get("held", "/").await });
            eventually(PATIENCE, "a request is under way", async || {
                match holds.wronged() {
                    1.. => Ok(()),
                    _ => Err("none".to_owned()),
                }
            })
            .await;

            scene.begins(away);
            scene.proxy().signal(Signal::TERM);
            eventually(PATIENCE, "it is not ready any more", async || {
                match scene.api().get("/ready").await.status.as_u16() {
                    503 => Ok(()),
                    status => Err(status.to_string()),
                }
            })
            .await;
            assert!(scene.proxy_mut().is_running(), "a request is under way");
            scene.proxy().signal(Signal::TERM);
            let began = Instant::now();
            scene.proxy_mut().ended(Duration::from_secs(2)).await;
            scene.note(format!("ended {} after the second", seconds(began.elapsed())));
            assert!(
                held.await.expect("no panic").is_err(),
                "what was under way breaks off"
            );
            scene.replaced(async |proxy| proxy.again().start().await).await;
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}
