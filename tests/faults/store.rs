//! The file that registrations are kept in.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edgeproxy_tests::{Api, Edgeproxy, PATIENCE, Registration, Reply, eventually};

use crate::process::{SMALL_DISK, away, disk, empty, fill, nothing};
use crate::row::{Need, Row, Runs, Told};
use crate::scene::{Scene, setup};

const MODES: &str = "failure-modes.md#the-proxy";
const RESTART: &str = "leases.md#a-restart";
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "store-corrupted",
        fault: "bytes in the middle of the file of registrations are overwritten while the proxy is down",
        expects: "it starts, serves what could be read, names the damage in its log, and keeps the file as it was beside",
        rule: RESTART,
        limit: LIMIT,
        runs: Runs::Always,
        needs: &[],
        commit: || Box::pin(corrupted()),
    },
    Row {
        name: "store-slow",
        fault: "every write to the disk takes two seconds (`strace` delays it)",
        expects: "a registration waits for the disk; no request and no heartbeat does",
        rule: "architecture.md#threads",
        limit: LIMIT,
        runs: Runs::Thorough,
        needs: &[Need::Strace],
        commit: || Box::pin(slow()),
    },
    Row {
        name: "store-full",
        fault: "the disk of the file of registrations is full, then it is not",
        expects: "registrations are accepted with a warning and used at once; they are in the file when there is room",
        rule: MODES,
        limit: LIMIT,
        runs: Runs::Thorough,
        needs: &[Need::Mounts],
        commit: || Box::pin(full()),
    },
    Row {
        name: "store-read-only",
        fault: "every write to the file of registrations fails with `EROFS`, then none does",
        expects: "the same",
        rule: MODES,
        limit: LIMIT,
        runs: Runs::Thorough,
        needs: &[Need::Strace],
        commit: || Box::pin(read_only()),
    },
];

const FILE: &str = "registrations.log";

/// Nobody's app, so that nobody asks for what is not there.
async fn registers(api: &mut Api, scene: &Scene, id: &str) -> Reply {
    let registration = Registration::new(id, "third", scene.shop[0].addr()).with("ttl_secs", 3_600);
    api.register(&registration).await.expect(201)
}

async fn corrupted() -> Told {
    Scene::of(setup().set("STORE", "file").set("DATA_DIR", "state"))
        .await
        .once(async |scene| {
            let mut api = scene.api();
            for number in 0..20 {
                let _ = registers(&mut api, scene, &format!("third-{number:02}")).await;
            }
            scene.begins(away);
            scene
                .replaced(async |proxy| {
                    let setup = proxy.killed().await;
                    let path = setup.folder().join("state").join(FILE);
                    let mut bytes = std::fs::read(&path).expect("it is there");
                    // One of the third app's, in the middle: nobody else is to be concerned.
                    let at = bytes
                        .windows(8)
                        .position(|window| window == b"third-10")
                        .expect("it is in there");
                    bytes[at..at + 8].copy_from_slice(&[0xff; 8]);
                    std::fs::write(&path, bytes).expect("it can be written");
                    setup.start().await
                })
                .await;
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
            let said = |line: &str| line.contains("damaged").then(|| line.to_owned());
            let told = scene.proxy().logs().find(said).await.expect("it runs");
            assert!(told.contains(FILE), "{told}");
            let kept = scene
                .proxy()
                .folder()
                .join("state")
                .join("registrations.damaged-1");
            assert!(kept.exists(), "the file as it was is there");
            let (ids, _) = scene.api().ids().await;
            let lost: Vec<_> = (0..20)
                .map(|number| format!("third-{number:02}"))
                .filter(|id| !ids.contains(id))
                .collect();
            assert_eq!(lost, ["third-10"], "what could be read is there");
            assert_eq!(ids.len(), scene.shop.len() + scene.other.len() + 19);
        })
        .await
}

/// Another process that meddles with system calls of the proxy, until it is dropped.
struct Meddler(Child);

impl Meddler {
    /// `strace` with these arguments, once it has the proxy in hand.
    async fn with(proxy: &Edgeproxy, args: &[&str]) -> Self {
        let notes = proxy.folder().join("strace.txt");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(&notes)
            .args(args)
            .args(["-p", &proxy.id().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace starts");
        let meddler = Self(child);
        eventually(PATIENCE, "strace has all threads in hand", async || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("it runs");
            let free = tasks.flatten().filter(|task| {
                let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                status.contains("TracerPid:\t0\n")
            });
            match free.count() {
                0 => Ok(()),
                count => Err(format!("{count} are free")),
            }
        })
        .await;
        meddler
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // By SIGTERM it lets go of the threads; by SIGKILL the system would.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

async fn slow() -> Told {
    Scene::of(setup().set("STORE", "file").set("DATA_DIR", "state"))
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let calls = "inject=fsync,fdatasync:delay_enter=2000000";
            let meddler = Meddler::with(scene.proxy(), &["-e", "trace=fsync,fdatasync", "-e", calls]).await;
            let mut api = scene.api();
            let began = std::time::Instant::now();
            let registering = registers(&mut api, scene, "third");
            let beating = async {
                let mut api = scene.api();
                let mut slowest = Duration::ZERO;
                for _ in 0..20 {
                    let began = std::time::Instant::now();
                    let _ = api.heartbeat("shop-0").await.expect(200);
                    slowest = slowest.max(began.elapsed());
                }
                scene.flows().await;
                slowest
            };
            let (registered, slowest) = tokio::join!(registering, beating);
            let took = began.elapsed();
            assert!(
                registered.json()["warnings"].is_null(),
                "it is in the file: {registered:?}"
            );
            assert!(took >= Duration::from_secs(2), "it waited for the disk: {took:?}");
            assert!(slowest < Duration::from_secs(1), "heartbeats don't: {slowest:?}");
            drop(meddler);
            let over = scene.is_over();
            let _ = api.delete("third", "").await.expect(200);
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}

/// Whether the API says that it is not kept.
fn is_warned(reply: &Reply) -> bool {
    let warned = reply.json()["warnings"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    warned.starts_with("kept in memory only")
}

/// Waits until the file has it.
async fn until_written(path: &PathBuf, id: &str) {
    eventually(PATIENCE, &format!("{id} is in the file"), async || {
        let bytes = std::fs::read(path).unwrap_or_default();
        if bytes.windows(id.len()).any(|window| window == id.as_bytes()) {
            Ok(())
        } else {
            Err(format!("{} bytes without it", bytes.len()))
        }
    })
    .await;
}

/// Registers what can't be kept, and waits until it is warned of.
async fn registers_in_vain(scene: &Scene, id: &str) {
    let mut api = scene.api();
    let number = std::cell::Cell::new(0);
    eventually(PATIENCE, "a registration is not kept", async || {
        number.set(number.get() + 1);
        let reply = registers(&mut api, scene, &format!("{id}-{}", number.get())).await;
        if is_warned(&reply) {
            Ok(())
        } else {
            Err(reply.text().to_owned())
        }
    })
    .await;
    let reply = registers(&mut api, scene, id).await;
    assert!(is_warned(&reply), "{reply:?}");
    assert_eq!(api.state(id).await, "routable", "it is used all the same");
    let health = api.get("/health").await.expect(200).json();
    assert!(!health["store"]["degraded"].is_null(), "{health}");
    scene.flows().await;
    for number in 1..=number.get() {
        let _ = api.delete(&format!("{id}-{number}"), "").await.expect(200);
    }
}

async fn until_kept(scene: &Scene, path: &PathBuf, id: &str) {
    until_written(path, id).await;
    let mut api = scene.api();
    eventually(PATIENCE, "the store is well", async || {
        let health = api.get("/health").await.expect(200).json();
        if health["store"]["degraded"].is_null() {
            Ok(())
        } else {
            Err(health.to_string())
        }
    })
    .await;
}

async fn full() -> Told {
    let setup = setup()
        .prepared(SMALL_DISK)
        .set("STORE", "file")
        .set("DATA_DIR", "disk");
    Scene::of(setup)
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let disk = disk(scene.proxy());
            fill(&disk);
            registers_in_vain(scene, "third").await;
            empty(&disk);
            let over = scene.is_over();
            until_kept(scene, &disk.join(FILE), "third").await;
            scene.has_recovered(over);
            let _ = scene.api().delete("third", "").await.expect(200);
        })
        .await
}

async fn read_only() -> Told {
    Scene::of(setup().set("STORE", "file").set("DATA_DIR", "state"))
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let path = scene.proxy().folder().join("state").join(FILE);
            let beside = scene.proxy().folder().join("state").join("registrations.new");
            let calls = "openat,write,writev,pwrite64,ftruncate,fallocate";
            let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=EROFS"));
            let (path_text, beside) = (path.display().to_string(), beside.display().to_string());
            let args = ["-P", &path_text, "-P", &beside, "-e", &trace, "-e", &inject];
            let meddler = Meddler::with(scene.proxy(), &args).await;
            registers_in_vain(scene, "third").await;
            drop(meddler);
            let over = scene.is_over();
            until_kept(scene, &path, "third").await;
            scene.has_recovered(over);
            let _ = scene.api().delete("third", "").await.expect(200);
        })
        .await
}
