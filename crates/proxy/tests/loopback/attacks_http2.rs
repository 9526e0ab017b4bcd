//! Clients that would have the proxy work for nothing. Each is ended with the right code, and costs nobody else
//! anything.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_proxy::Config;
use tokio::sync::Semaphore;

use crate::backend::{Backend, Reply, ok};
use crate::client::Client;
use crate::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
    HEADERS, PING, PRIORITY, REFUSED_STREAM, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame, get, literal,
};
use crate::stage::{Stage, config};

const MIB: u64 = 1 << 20;

/// An answer that a hundred streams can't have in the buffers of a socket. The backend is in this process too.
const LARGE: usize = 256 * 1024;

/// What this process has in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// A proxy under attack: one worker, so that everybody else is on the same one.
struct Scene {
    backend: Backend,
    stage: Stage,
    resident: u64,
}

impl Scene {
    async fn set(config: Config) -> Self {
        let backend = Backend::start(|_, _| ok("x")).await;
        let one = Config { workers: 1, ..config };
        let (stage, _) = Stage::with(one, &[backend.addr]);
        assert_eq!(Client::connect(stage.addr).await.get("/").await.body, "x");
        Self {
            resident: resident(),
            backend,
            stage,
        }
    }

    /// Others are served, and memory is what it was.
    async fn is_unharmed(&self) {
        let grown = resident().saturating_sub(self.resident);
        assert!(grown <= 64 * MIB, "{} MiB more", grown / MIB);
        assert_eq!(Client::connect(self.stage.addr).await.get("/").await.body, "x");
    }
}

async fn ended_by(again: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let scene = Scene::set(config()).await;
    let attacker = Raw::connect(scene.stage.addr).await;
    let other = tokio::spawn({
        let addr = scene.stage.addr;
        async move {
            let mut client = Client::connect(addr).await;
            for _ in 0..20 {
                assert_eq!(client.get("/").await.body, "x");
            }
        }
    });
    let code = attacker.flood(again).await;
    other.await.unwrap();
    scene.is_unharmed().await;
    code
}

#[tokio::test]
async fn rapid_reset_is_calmed_down_before_it_has_cost_a_thousand_requests() {
    let scene = Scene::set(config()).await;
    let attacker = Raw::connect(scene.stage.addr).await;
    let code = attacker
        .flood(|n| {
            let stream = 2 * n + 1;
            let mut both = frame(HEADERS, END_HEADERS | 1, stream, &get("/"));
            both.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            both
        })
        .await;
    assert_eq!(code, ENHANCE_YOUR_CALM);
    scene.is_unharmed().await;
    let requests = scene.backend.tally().requests;
    assert!(requests < 1_000, "{requests}");
}

#[tokio::test]
async fn resets_that_the_proxy_is_made_to_send_are_counted_too() {
    // A request, and a window update of too much, which is an error of its stream.
    let code = ended_by(|n| {
        let stream = 2 * n + 1;
        let mut both = frame(HEADERS, END_HEADERS, stream, &get("/"));
        both.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 255, 255, 255]));
        both
    })
    .await;
    assert_eq!(code, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_flood_of_pings_is_calmed_down() {
    assert_eq!(ended_by(|_| frame(PING, 0, 0, &[0; 8])).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_flood_of_settings_is_calmed_down() {
    assert_eq!(
        ended_by(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])).await,
        ENHANCE_YOUR_CALM
    );
}

#[tokio::test]
async fn a_flood_of_priorities_is_calmed_down() {
    assert_eq!(
        ended_by(|_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])).await,
        ENHANCE_YOUR_CALM
    );
}

#[tokio::test]
async fn a_flood_of_window_updates_is_calmed_down() {
    assert_eq!(
        ended_by(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await,
        ENHANCE_YOUR_CALM
    );
}

#[tokio::test]
async fn a_flood_of_frames_that_nobody_knows_is_calmed_down() {
    assert_eq!(ended_by(|_| frame(0x42, 0, 0, b"")).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_flood_of_empty_data_is_calmed_down() {
    let code = ended_by(|n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &get("/")),
        _ => frame(DATA, 0, 1, b""),
    })
    .await;
    assert_eq!(code, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_head_that_goes_on_and_on_is_calmed_down() {
    let code = ended_by(|n| match n {
        0 => frame(HEADERS, 0, 1, &get("/")),
        n => frame(CONTINUATION, 0, 1, &literal(format!("x-{n}").as_bytes(), b"y")),
    })
    .await;
    assert_eq!(code, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    let scene = Scene::set(config()).await;
    let mut attacker = Raw::connect(scene.stage.addr).await;
    // A field of 4,000 bytes that is remembered, and then named four thousand times by one byte.
    let mut bomb = get("/");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4_000]);
    bomb.extend([0xbe; 4_000]);
    let mut ends = Vec::new();
    attacker.request(1, &bomb).await;
    while let Some(frame) = attacker.next().await {
        match frame.kind {
            HEADERS => ends.push(u32::from(frame.status())),
            RST_STREAM | GOAWAY => ends.push(frame.code()),
            _ => {}
        }
        if frame.kind == GOAWAY {
            break;
        }
    }
    assert!(
        ends.iter().all(|end| matches!(*end, 431 | ENHANCE_YOUR_CALM)) && !ends.is_empty(),
        "{ends:?}"
    );
    scene.is_unharmed().await;
    assert_eq!(
        scene.backend.tally().requests,
        2,
        "none of them is the attacker's"
    );
}

#[tokio::test]
async fn a_frame_above_the_size_that_was_agreed_is_a_frame_size_error() {
    assert_eq!(
        ended_by(|_| frame(DATA, 0, 1, &[0; 16_385])).await,
        FRAME_SIZE_ERROR
    );
}

#[tokio::test]
async fn a_window_that_overflows_is_a_flow_control_error() {
    let most = 0x7fff_ffff_u32.to_be_bytes();
    assert_eq!(
        ended_by(|_| frame(WINDOW_UPDATE, 0, 0, &most)).await,
        FLOW_CONTROL_ERROR
    );
}

#[tokio::test]
async fn data_beyond_the_window_is_a_flow_control_error() {
    let permits = Arc::new(Semaphore::new(0));
    let never = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| Reply::Hold(Vec::new(), Arc::clone(&never), Vec::new())).await;
    let (stage, _) = Stage::with(config(), &[backend.addr]);
    let before = resident();
    let attacker = Raw::connect(stage.addr).await;
    let code = attacker
        .flood(|n| match n {
            0 => {
                let fields = crate::frames::block(&[("content-length", "100000000")]);
                frame(HEADERS, END_HEADERS, 1, &[get("/"), fields].concat())
            }
            _ => frame(DATA, 0, 1, &[0; 16_384]),
        })
        .await;
    assert_eq!(code, FLOW_CONTROL_ERROR);
    assert!(resident().saturating_sub(before) <= 64 * MIB);
}

#[tokio::test]
async fn more_streams_than_are_allowed_are_refused_one_by_one() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |_, _| {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec();
        Reply::Hold(Vec::new(), Arc::clone(&held), whole)
    })
    .await;
    let few = Config {
        max_streams: 4,
        ..config()
    };
    let (stage, endpoints) = Stage::with(few, &[backend.addr]);
    let mut client = Raw::connect(stage.addr).await;
    for n in 0..5 {
        client.request(2 * n + 1, &get("/")).await;
    }
    let refused = client.next_of(9).await;
    assert_eq!((refused.kind, refused.code()), (RST_STREAM, REFUSED_STREAM));
    backend.until(|t| t.in_flight == 4).await;
    assert_eq!(endpoints[0].meter.in_flight(), 4);
    permits.add_permits(4);
    assert_eq!(client.next_of(1).await.status(), 200);
}

#[tokio::test]
async fn a_window_that_never_opens_gives_its_backend_back_after_the_send_time_out() {
    let backend = Backend::start(|_, _| ok(&"x".repeat(LARGE))).await;
    let hurried = Config {
        send_timeout: Duration::from_millis(200),
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::with(hurried, &[backend.addr]);
    let before = resident();
    // No window at all for answers.
    let mut attacker = Raw::with(stage.addr, &[(4, 0)]).await;
    for n in 0..100 {
        attacker.request(2 * n + 1, &get("/")).await;
    }
    let mut resets = 0;
    while resets < 100 {
        let frame = attacker.next().await.unwrap();
        assert_ne!(frame.kind, GOAWAY);
        assert!(frame.kind != DATA || frame.payload.is_empty());
        if frame.kind == RST_STREAM {
            assert_eq!(frame.code(), CANCEL);
            resets += 1;
        }
    }
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    assert!(resident().saturating_sub(before) <= 64 * MIB);
    let mut other = Client::connect(stage.addr).await;
    assert_eq!(other.get("/").await.body.len(), LARGE);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_dropped_after_the_send_time_out() {
    let backend = Backend::start(|_, _| ok(&"x".repeat(LARGE))).await;
    let hurried = Config {
        send_timeout: Duration::from_millis(200),
        workers: 1,
        ..config()
    };
    let (stage, endpoints) = Stage::with(hurried, &[backend.addr]);
    let before = resident();
    let mut attacker = Raw::with(stage.addr, &[(4, 0x7fff_ffff)]).await;
    attacker
        .write(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()))
        .await
        .unwrap();
    for n in 0..100 {
        attacker.request(2 * n + 1, &get("/")).await;
    }
    // Not until all of them have: on a busy machine the time-out comes first.
    backend.until(|t| t.requests > 0).await;
    let all_ended = async {
        while endpoints[0].meter.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all_ended)
        .await
        .expect("a place is still held");
    assert!(
        resident().saturating_sub(before) <= 64 * MIB,
        "{} MiB",
        resident().saturating_sub(before) / MIB
    );
    let mut other = Client::connect(stage.addr).await;
    assert_eq!(other.get("/").await.body.len(), LARGE);
}
