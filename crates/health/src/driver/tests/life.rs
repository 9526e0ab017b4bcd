use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::TcpProbe;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn quick(kind: impl Into<Kind>) -> Monitor {
    Monitor::new(kind).with_interval(Monitor::MIN_INTERVAL).unwrap()
}

/// A monitor whose second probe never comes while a test runs.
fn once(kind: impl Into<Kind>) -> Monitor {
    Monitor::new(kind).with_interval(Monitor::MAX_INTERVAL).unwrap()
}

#[tokio::test]
async fn slow_ones_delay_nobody_else() {
    let (_silent_listener, silent) = listen().await;
    let (addr, _requests) = answering(OK).await;
    let mut rig = Rig::new();
    let slow = (1..=63).map(|number| target(number, silent, quick(HttpProbe::default())));
    let others = (101..=103).map(|number| target(number, addr, quick(HttpProbe::default())));
    rig.handle.set_targets(slow.chain(others));
    let mut reports = BTreeMap::new();
    for _ in 0..9 {
        let (number, outcome) = rig.next().await;
        assert!(outcome.passed(), "{number}: {outcome}");
        *reports.entry(number).or_insert(0) += 1;
    }
    assert!(reports.keys().eq(&[101, 102, 103]), "{reports:?}");
    assert!(reports.values().all(|count| *count >= 2), "{reports:?}");
}

#[tokio::test]
async fn the_next_probe_comes_by_itself_and_finds_what_has_changed() {
    let (socket, addr) = refusing();
    let mut rig = Rig::with(Config::default(), Pace::Changing);
    rig.handle
        .set_targets([target(1, addr, quick(TcpProbe::default()))]);
    for _ in 0..3 {
        assert!(!rig.next().await.1.passed());
    }
    let _listener = socket.listen(16).unwrap();
    while !rig.next().await.1.passed() {}
}

#[tokio::test]
async fn changes_add_and_remove_some_and_leave_the_others_alone() {
    let (addr, _requests) = answering(OK).await;
    let mut rig = Rig::new();
    let targets = (1..=2_000).map(|number| target(number, addr, once(TcpProbe::default())));
    rig.handle.change(targets.map(Change::Probe));
    let mut probed: Vec<u64> = Vec::new();
    for _ in 0..2_000 {
        probed.push(rig.next().await.0);
    }
    probed.sort_unstable();
    assert!(probed.iter().copied().eq(1..=2_000), "each is probed once");

    // One that is known and the same is no news, one that left and is there again is.
    let id = |number| Incarnation::new(number).unwrap();
    rig.handle.change([
        Change::Probe(target(1, addr, once(TcpProbe::default()))),
        Change::Leave(id(2), Class::Monitor),
        Change::Leave(id(3), Class::Monitor),
        Change::Probe(target(3, addr, once(TcpProbe::default()))),
    ]);
    assert_eq!(rig.next().await.0, 3);
    rig.finish().await;
}

#[tokio::test]
async fn never_more_than_max_concurrent_connections() {
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            MOST.fetch_max(OPEN.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::spawn(async move {
                read_head(&mut stream).await;
                tokio::task::yield_now().await;
                stream.write_all(OK.as_bytes()).await.unwrap();
                // The prober has gone only when this ends.
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 16]).await;
                OPEN.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let max_concurrent = NonZeroUsize::new(3).unwrap();
    let mut rig = Rig::with(
        Config {
            max_concurrent,
            ..Config::default()
        },
        Pace::Settled,
    );
    rig.handle
        .set_targets((1..=30).map(|number| target(number, addr, once(HttpProbe::default()))));
    let mut seen = Vec::new();
    for _ in 0..30 {
        let (number, outcome) = rig.next().await;
        assert!(outcome.passed(), "{outcome}");
        seen.push(number);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=30), "each once");
    rig.finish().await;
    let most = MOST.load(Ordering::SeqCst);
    // The backend may see a new connection before it has read the end of an old one.
    assert!((2..=6).contains(&most), "{most}");
}

/// A silent backend, and the end of the first connection to it.
async fn silent() -> (SocketAddr, mpsc::UnboundedReceiver<&'static str>) {
    let (listener, addr) = listen().await;
    let (tell, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            let _ = tell.send("asked");
            let _ = stream.read(&mut [0; 16]).await;
            let _ = tell.send("closed");
        }
    });
    (addr, events)
}

#[tokio::test]
async fn a_removed_targets_probe_is_cancelled_and_never_reported() {
    let (addr, mut events) = silent().await;
    let rig = Rig::new();
    rig.handle
        .set_targets([target(1, addr, once(HttpProbe::default()))]);
    assert_eq!(soon(events.recv()).await, Some("asked"));
    rig.handle.set_targets([]);
    assert_eq!(soon(events.recv()).await, Some("closed"));
    rig.finish().await;
}

#[tokio::test]
async fn a_changed_targets_probe_is_cancelled_and_a_new_one_begins() {
    let (addr, mut events) = silent().await;
    let (other, _requests) = answering(OK).await;
    let mut rig = Rig::new();
    rig.handle
        .set_targets([target(1, addr, once(HttpProbe::default()))]);
    assert_eq!(soon(events.recv()).await, Some("asked"));
    rig.handle
        .set_targets([target(1, other, once(HttpProbe::default()))]);
    assert_eq!(soon(events.recv()).await, Some("closed"));
    let (reported, outcome) = soon(rig.reports.recv()).await.unwrap();
    assert_eq!(reported.addr.socket_addr(), other);
    assert!(outcome.passed());
    rig.finish().await;
}

#[tokio::test]
async fn an_unchanged_targets_probe_goes_on() {
    let (addr, mut events) = silent().await;
    let mut rig = Rig::new();
    let first = target(1, addr, once(HttpProbe::default()));
    rig.handle.set_targets([first.clone()]);
    assert_eq!(soon(events.recv()).await, Some("asked"));
    let (_socket, refused) = refusing();
    for number in 2..10 {
        rig.handle
            .set_targets([first.clone(), target(number, refused, once(TcpProbe::default()))]);
        assert_eq!(rig.next().await.0, number);
    }
    assert!(events.try_recv().is_err(), "it was not closed");
}

#[tokio::test]
async fn when_the_last_handle_is_dropped_every_probe_is_cancelled_and_the_driver_ends() {
    let (addr, mut events) = silent().await;
    let rig = Rig::new();
    let second = rig.handle.clone();
    second.set_targets([target(1, addr, once(HttpProbe::default()))]);
    assert_eq!(soon(events.recv()).await, Some("asked"));
    drop(second);
    rig.finish().await;
    assert_eq!(soon(events.recv()).await, Some("closed"));
}

#[tokio::test]
async fn dropping_the_drivers_future_cancels_every_probe() {
    let (addr, mut events) = silent().await;
    let rig = Rig::new();
    rig.handle
        .set_targets([target(1, addr, once(HttpProbe::default()))]);
    assert_eq!(soon(events.recv()).await, Some("asked"));
    rig.driver.abort();
    assert_eq!(soon(events.recv()).await, Some("closed"));
}

#[tokio::test]
async fn a_suspect_is_probed_at_once_and_beside_its_monitor() {
    let (_listener, addr) = listen().await;
    let mut rig = Rig::new();
    let monitor = Target {
        first: First::Spread,
        ..target(1, addr, once(TcpProbe::default()))
    };
    let suspect = Target {
        class: Class::Suspect,
        ..monitor.clone()
    };
    rig.handle.set_targets([monitor, suspect]);
    let (target, outcome) = soon(rig.reports.recv()).await.unwrap();
    assert_eq!(target.class, Class::Suspect);
    assert!(outcome.passed());
    rig.finish().await;
}

#[tokio::test]
async fn of_several_sets_in_a_row_the_last_counts() {
    let (_listener, addr) = listen().await;
    let mut rig = Rig::new();
    for number in 1..=100 {
        rig.handle
            .set_targets([target(number, addr, once(TcpProbe::default()))]);
    }
    assert_eq!(rig.next().await.0, 100);
    rig.finish().await;
}
