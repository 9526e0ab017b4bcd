//! `kill -9` at random moments, 40 of them or `EDGEPROXY_TEST_KILLS`: what was acknowledged is there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::{Record, Write};
use edgeproxy_store::testing::{gone, registered};
use edgeproxy_store::{FileStore, Loaded, Store as _};

const FOLDER: &str = "EDGEPROXY_TEST_FOLDER";
const KILLS: &str = "EDGEPROXY_TEST_KILLS";
/// Of these ids; each batch concerns some of them.
const IDS: u64 = 40;
/// Of so many writes; then its bytes take a while, so that a kill can meet them.
const BATCH: u64 = 100;

/// The batch of that number: lives are numbered one by one, and every seventh write is a leave.
fn batch(number: u64) -> Vec<Write> {
    let first = number * BATCH;
    (first..first + BATCH)
        .map(|life| {
            let of = u32::try_from(life * 31 % IDS).expect("small");
            if life % 7 == 3 {
                gone(of, life + 1)
            } else {
                registered(of, life + 1)
            }
        })
        .collect()
}

/// What is registered, by id.
#[derive(Clone, PartialEq, Default, Debug)]
struct Left(BTreeMap<BackendId, Record>);

impl Left {
    fn take(&mut self, write: Write) {
        match write {
            Write::Registered(record) => drop(self.0.insert(record.backend.id.clone(), record)),
            Write::Gone { id, .. } => drop(self.0.remove(&id)),
            Write::Overridden { .. } => {}
        }
    }

    /// How many writes of the batch must have been kept, for this to be what is left by it.
    fn part_of(&self, batch: &[Write], found: &Self) -> Option<usize> {
        let mut left = self.clone();
        (0..=batch.len()).find(|part| {
            if let Some(write) = part.checked_sub(1).and_then(|last| batch.get(last)) {
                left.take(write.clone());
            }
            left == *found
        })
    }
}

impl From<Loaded> for Left {
    fn from(loaded: Loaded) -> Self {
        let records = loaded.records.into_iter();
        Self(
            records
                .map(|record| (record.backend.id.clone(), record))
                .collect(),
        )
    }
}

#[tokio::test]
async fn kill_9_at_random_moments_loses_nothing_that_was_acknowledged() {
    let seed = 20_261_126;
    let kills: u64 = std::env::var(KILLS).map_or(40, |kills| kills.parse().expect("a number"));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut left) = (0, Left::default());
    let (mut torn, mut in_part, mut whole) = (0, 0, 0);
    for kill in 0..kills {
        let before = acknowledged;
        acknowledged = killed_after(folder.path(), before, random.u64(0..8), random.u32(..60_000));
        (before..acknowledged)
            .flat_map(batch)
            .for_each(|write| left.take(write));
        let loaded = FileStore::open(folder.path()).load().await.unwrap();
        assert!(
            loaded.findings.iter().all(|finding| !finding.is_loss),
            "kill {kill}: {:?}",
            loaded.findings
        );
        torn += loaded.findings.len();
        let used = loaded.next_incarnation.map_or(1, Incarnation::get);
        assert!(used > acknowledged * BATCH, "kill {kill}: {used} was used");
        // The batch that it was killed in is there, or not, or up to some write.
        let next = batch(acknowledged);
        let part = left.part_of(&next, &loaded.into());
        let part = part
            .unwrap_or_else(|| panic!("kill {kill}: after {acknowledged} batches it isn't what they left"));
        whole += usize::from(part == next.len());
        in_part += usize::from(part > 0 && part < next.len());
    }
    println!(
        "{kills} kills, {acknowledged} batches of {BATCH} acknowledged; of the one that it was killed in {whole} were \
         there whole and {in_part} in part, {torn} with a torn line"
    );
    assert!(acknowledged > kills, "it was committed to");
}

/// Starts a child that goes on after so many batches, and kills it in the one after a few more. Returns how many were
/// acknowledged.
fn killed_after(folder: &Path, before: u64, more: u64, spins: u32) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "commits_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env("RUST_TEST_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{before}").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = before;
    let mut take = |line: std::io::Result<String>| {
        if let Some(number) = line.unwrap().strip_prefix("acknowledged ") {
            acknowledged = number.parse().unwrap();
        }
        acknowledged
    };
    while take(lines.next().expect("it goes on until it is killed")) < before + more {}
    // Some way into the next one.
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it has said before it ended; the last line may not be whole, and then it has not been said.
    for line in lines {
        take(line);
    }
    acknowledged
}

#[tokio::test]
#[ignore = "a child of the test above, which kills it"]
async fn commits_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("the parent names it");
    let mut before = String::new();
    std::io::stdin().read_line(&mut before).unwrap();
    let mut number: u64 = before.trim().parse().unwrap();
    let store = FileStore::open(folder);
    store.load().await.unwrap();
    loop {
        store.commit(&batch(number)).await.unwrap();
        number += 1;
        // In one call, so that it is said whole or not at all.
        std::io::stdout()
            .write_all(format!("acknowledged {number}\n").as_bytes())
            .unwrap();
        std::io::stdout().flush().unwrap();
    }
}
