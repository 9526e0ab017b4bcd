//! Backends that die, stand still, or do what no server should.

use std::time::Duration;

use edgeproxy_tests::{PATIENCE, Registration, Vitals, eventually};
use rustix::process::Signal;
use serde_json::json;

use crate::apart::Apart;
use crate::ledger::{Allows, App, Failure};
use crate::peak::{forget_peak, peak};
use crate::row::{Row, Runs, Told};
use crate::scene::{Scene, registration, setup, until_state};
use crate::villain::{Manner, Villain};

const MODES: &str = "failure-modes.md#a-backend";
const RETRIES: &str = "data-plane.md#what-is-tried-again";
/// Of one that is quickly seen and soon over.
const LIMIT: Duration = Duration::from_secs(120);

macro_rules! row {
    ($name:literal, $runs:ident, $rule:expr, $fault:literal, $expects:literal, $commit:expr) => {
        Row {
            name: $name,
            fault: $fault,
            expects: $expects,
            rule: $rule,
            limit: LIMIT,
            runs: Runs::$runs,
            needs: &[],
            commit: || Box::pin($commit),
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    row!(
        "backend-killed",
        Always,
        MODES,
        "a backend's process gets SIGKILL, and is started again",
        "repeatable requests go on to others; it is out, and back when it serves again",
        killed()
    ),
    row!(
        "backend-stopped",
        Thorough,
        MODES,
        "a backend's process gets SIGSTOP, then SIGCONT",
        "what can be repeated is, after `response_header_timeout_secs`; the rest gets 504; it is out, and back",
        stopped()
    ),
    row!(
        "backend-deaf",
        Thorough,
        RETRIES,
        "a backend accepts nothing and its backlog is full, as behind a black hole",
        "every request goes on to another after `connect_timeout_secs`, `POST` as well: nothing was sent",
        deaf()
    ),
    row!(
        "backend-refuses",
        Always,
        RETRIES,
        "nobody listens at a backend's address",
        "every request goes on to another, `POST` as well: nothing was sent",
        refuses()
    ),
    row!(
        "backend-silent",
        Thorough,
        MODES,
        "a backend takes requests and never answers, nor its probes",
        "as for one that was stopped",
        wrong(Manner::NeverAnswers, silent_or_closed)
    ),
    row!(
        "answer-half-head",
        Always,
        RETRIES,
        "a backend closes in the middle of its answer's head",
        "no response: repeatable requests go on to others, the rest gets 502; it is out, and back",
        wrong(Manner::HalfHead, broken)
    ),
    row!(
        "answer-half-body",
        Thorough,
        MODES,
        "a backend closes in the middle of its answer's body",
        "the client's answer breaks off too, visibly; never half an answer as a whole one",
        wrong(Manner::HalfBody, cut)
    ),
    row!(
        "answer-reset",
        Thorough,
        MODES,
        "a backend resets in the middle of its answer's body",
        "the same",
        wrong(Manner::ResetsInBody, cut)
    ),
    row!(
        "length-too-long",
        Thorough,
        MODES,
        "a backend announces more than it sends, and stays",
        "the answer breaks off after `response_body_timeout_secs`, visibly",
        wrong(Manner::LengthTooLong, cut)
    ),
    row!(
        "length-too-short",
        Always,
        MODES,
        "a backend sends more than it announces: a forged answer behind its own",
        "nobody gets the forged one, and nothing fails: the connection is thrown away",
        wrong(Manner::LengthTooShort, nothing)
    ),
    row!(
        "answer-garbage",
        Always,
        MODES,
        "a backend answers what is no HTTP",
        "repeatable requests go on to others, the rest gets 502; it is out, and back",
        wrong(Manner::Garbage, broken)
    ),
    row!(
        "answer-huge-head",
        Thorough,
        MODES,
        "a backend sends a head of 100 MB",
        "the same, and no memory is taken for it",
        huge_head()
    ),
    row!(
        "answer-endless",
        Thorough,
        MODES,
        "a backend's answers have no end; their clients leave after 256 KiB",
        "it streams in the memory of one buffer, and the backend is left when its client leaves",
        endless_body()
    ),
    row!(
        "all-at-once",
        Thorough,
        MODES,
        "eleven backends, each with another of these faults, beside four that are well; no bound on retries",
        "what can be repeated is answered by those that are well; all eleven are back in the end",
        all_at_once()
    ),
    row!(
        "all-gone",
        Thorough,
        MODES,
        "every backend of an app refuses, then all are back",
        "502 `connect_failed` or 503 `no_backend` at once, never a wait; the other app notices nothing",
        all_gone()
    ),
];

fn nothing(_: &Failure) -> bool {
    false
}

/// No response to what was sent: only what can't be repeated may fail.
fn broken(failure: &Failure) -> bool {
    failure.app == App::Shop && !failure.is_repeatable && failure.is(502, &["no_response", "bad_response"])
}

fn silent(failure: &Failure) -> bool {
    failure.app == App::Shop && !failure.is_repeatable && failure.is(504, &["response_timeout"])
}

/// In the end it closes on whom it has kept waiting.
fn silent_or_closed(failure: &Failure) -> bool {
    silent(failure) || closed(failure)
}

/// An answer that had begun.
fn cut(failure: &Failure) -> bool {
    failure.app == App::Shop && failure.form == crate::ledger::Form::Cut
}

fn endless(failure: &Failure) -> bool {
    failure.app == App::Shop && failure.form == crate::ledger::Form::Endless
}

/// Whoever was under way when it died, too.
fn died(failure: &Failure) -> bool {
    broken(failure) || cut(failure)
}

/// A connection may have been closed while a request was on its way to it.
fn closed(failure: &Failure) -> bool {
    failure.app == App::Shop && !failure.is_repeatable && failure.is(502, &["no_response"])
}

fn any_of_them(failure: &Failure) -> bool {
    died(failure) || silent(failure) || endless(failure)
}

/// Far more than an answer takes, and far less than any time-out.
const AT_ONCE: Duration = Duration::from_millis(500);

fn unreachable(failure: &Failure) -> bool {
    let is_told = failure.is(502, &["connect_failed", "no_response"]) || failure.is(503, &["no_backend"]);
    failure.app == App::Shop && is_told && failure.took() < AT_ONCE
}

/// Waits until it gets nothing more, for its failures or its probes.
async fn until_out(scene: &Scene, id: &str) {
    until_state(&mut scene.api(), id, "out", |state| {
        matches!(state, "ejected" | "unhealthy")
    })
    .await;
}

/// Waits until it takes requests as before.
async fn until_back(scene: &Scene, id: &str) {
    until_state(&mut scene.api(), id, "back", |state| state == "routable").await;
    scene.answers(id).await;
}

/// With one more backend, in a process of its own.
async fn with_apart() -> (Scene, std::cell::RefCell<Apart>) {
    let mut scene = Scene::usual().await;
    let apart = Apart::start("apart").await;
    let registration =
        Registration::new(apart.name(), App::Shop.name(), apart.addr()).with("ttl_secs", 3_600);
    scene.api().register_new(&registration).await;
    scene = scene.begun().await;
    (scene, apart.into())
}

async fn killed() -> Told {
    let (scene, apart) = with_apart().await;
    let mut apart = apart.into_inner();
    let commit = async |scene: &mut Scene, apart: &mut Apart| {
        scene.begins(died);
        apart.kill().await;
        until_out(scene, apart.name()).await;
        apart.start_again().await;
        let over = scene.is_over();
        until_back(scene, apart.name()).await;
        scene.has_recovered(over);
    };
    let apart = tokio::sync::Mutex::new(&mut apart);
    scene
        .again_and_again(async |scene| commit(scene, &mut *apart.lock().await).await)
        .await
}

async fn stopped() -> Told {
    let (scene, apart) = with_apart().await;
    let apart = apart.into_inner();
    scene
        .again_and_again(async |scene| {
            scene.begins(silent);
            apart.signal(Signal::STOP);
            until_out(scene, apart.name()).await;
            apart.signal(Signal::CONT);
            let over = scene.is_over();
            until_back(scene, apart.name()).await;
            scene.has_recovered(over);
        })
        .await
}

async fn deaf() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(closed);
            let name = scene.shop[0].name().to_owned();
            scene.shop[0].is_deaf().await;
            until_out(scene, &name).await;
            scene.shop[0].listen();
            let over = scene.is_over();
            until_back(scene, &name).await;
            scene.has_recovered(over);
        })
        .await
}

async fn refuses() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(closed);
            let name = scene.shop[0].name().to_owned();
            scene.shop[0].refuse().await;
            until_out(scene, &name).await;
            scene.shop[0].listen();
            let over = scene.is_over();
            until_back(scene, &name).await;
            scene.has_recovered(over);
        })
        .await
}

/// One that misbehaves in this manner.
async fn wrong(manner: Manner, allows: Allows) -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(allows);
            misbehaves(scene, &scene.shop[0], manner).await;
            is_well_again(scene).await;
        })
        .await
}

/// The first backend serves again.
async fn is_well_again(scene: &mut Scene) {
    scene.shop[0].behave(Manner::Serves);
    let over = scene.is_over();
    until_back(scene, scene.shop[0].name()).await;
    scene.has_recovered(over);
}

/// More than the proxy keeps of a head, for each that is under way and for what else it does; a sixth of one such head.
const HEADS: u64 = 16 << 20;

async fn huge_head() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(broken);
            let before = Vitals::of(scene.proxy()).resident;
            forget_peak(scene.proxy());
            misbehaves(scene, &scene.shop[0], Manner::HugeHead).await;
            let more = peak(scene.proxy()).saturating_sub(before);
            assert!(more < HEADS, "{more} bytes of memory for heads that are refused");
            scene.note(format!("at most {} KiB more while it sent them", more / 1024));
            is_well_again(scene).await;
        })
        .await
}

async fn endless_body() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(endless);
            misbehaves(scene, &scene.shop[0], Manner::EndlessBody).await;
            // It gets nothing new, and goes on with what it has: that ends because the clients have left, or never.
            let name = scene.shop[0].name().to_owned();
            let mut api = scene.api();
            let _ = api.patch(&name, &json!({"weight": 0})).await.expect(200);
            eventually(PATIENCE, "the backend is left", async || {
                let backend = api.backend(&name).await.expect(200).json();
                match backend["in_flight"].as_u64() {
                    Some(0) => Ok(()),
                    _ => Err(backend["in_flight"].to_string()),
                }
            })
            .await;
            let _ = api.patch(&name, &json!({"weight": 1})).await.expect(200);
            is_well_again(scene).await;
        })
        .await
}

/// Waits until it is out, or, if nothing of this counts as a failure, until a dozen requests have met it.
async fn misbehaves(scene: &Scene, villain: &Villain, manner: Manner) {
    let before = villain.wronged();
    villain.behave(manner);
    if manner.is_counted() {
        return until_out(scene, villain.name()).await;
    }
    eventually(PATIENCE, "a dozen requests have met it", async || {
        match villain.wronged() - before {
            12.. => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
}

const MANNERS: [Manner; 9] = [
    Manner::NeverAnswers,
    Manner::HalfHead,
    Manner::HalfBody,
    Manner::ResetsInBody,
    Manner::LengthTooLong,
    Manner::LengthTooShort,
    Manner::Garbage,
    Manner::HugeHead,
    Manner::EndlessBody,
];

async fn all_at_once() -> Told {
    let setup = setup()
        .set("MAX_ATTEMPTS", "100")
        .set("RETRY_BUDGET_PERCENT", "1000")
        .set("RETRY_BUDGET_PER_SEC", "1000000");
    let scene = Scene::of(setup).await;
    let name = |number: usize| format!("villain-{number}");
    let villains: Vec<_> = (0..MANNERS.len() + 2)
        .map(|number| Villain::start(&name(number)))
        .collect();
    for villain in &villains {
        scene.api().register_new(&registration(App::Shop, villain)).await;
    }
    scene
        .begun()
        .await
        .again_and_again(async |scene| {
            scene.begins(any_of_them);
            let (deaf, refuses) = (&villains[MANNERS.len()], &villains[MANNERS.len() + 1]);
            deaf.is_deaf().await;
            refuses.refuse().await;
            for (villain, manner) in villains.iter().zip(MANNERS) {
                villain.behave(manner);
            }
            for (villain, manner) in villains.iter().zip(MANNERS) {
                if manner.is_counted() {
                    until_out(scene, villain.name()).await;
                }
            }
            until_out(scene, deaf.name()).await;
            until_out(scene, refuses.name()).await;
            scene.flows().await;
            for (villain, _) in villains.iter().zip(MANNERS) {
                villain.behave(Manner::Serves);
            }
            deaf.listen();
            refuses.listen();
            let over = scene.is_over();
            for villain in &villains {
                until_back(scene, villain.name()).await;
            }
            scene.has_recovered(over);
        })
        .await
}

async fn all_gone() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(unreachable);
            for villain in &scene.shop {
                villain.refuse().await;
            }
            let before = scene.ledger.failures();
            eventually(PATIENCE, "a hundred requests have failed", async || {
                match scene.ledger.failures() - before {
                    100.. => Ok(()),
                    count => Err(count.to_string()),
                }
            })
            .await;
            for villain in &scene.shop {
                villain.listen();
            }
            let over = scene.is_over_once_probed().await;
            scene.flows().await;
            for villain in &scene.shop {
                until_back(scene, villain.name()).await;
            }
            scene.has_recovered(over);
        })
        .await
}
