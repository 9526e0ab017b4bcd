//! Registrations on a disk: the store's file beside redb, an embedded database, holding the same JSON.
//!
//! Plain, without criterion: what is measured waits for the disk, and leaves something there.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Protocol, Region, Weight,
};
use edgeproxy_registry::{Record, Write};
use edgeproxy_store::{FileStore, Loaded, Store};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

const MANY: u32 = 100_000;
const DAMAGED: u32 = 1_000;
const PLACES: usize = 400;

fn record(number: u32, incarnation: u64) -> Record {
    let [_, a, b, c] = number.to_be_bytes();
    let backend = Backend::new(
        BackendId::parse(&format!("backend-eu-{number:07}")).expect("an id"),
        AppName::parse(&format!("app-{}", number % 100)).expect("a name"),
        Region::parse("eu").expect("a region"),
        Country::parse("DE").expect("a country"),
        BackendAddr::new([10, a, b, c].into(), 8080).expect("an address"),
    );
    let incarnation = Incarnation::new(incarnation).expect("not 0");
    Record {
        backend,
        incarnation,
        ttl: Duration::from_secs(60),
    }
}

fn batch(from: u32, len: u32) -> Vec<Write> {
    (from..from + len)
        .map(|n| Write::Registered(record(n, u64::from(n) + 1)))
        .collect()
}

/// What both are asked for.
trait Kept: Sized {
    const NAME: &'static str;
    fn open(folder: &Path) -> Result<(Self, Vec<Record>), String>;
    fn commit(&self, writes: &[Write]);
}

struct File {
    store: FileStore,
    runtime: tokio::runtime::Runtime,
}

impl Kept for File {
    const NAME: &'static str = "file";

    fn open(folder: &Path) -> Result<(Self, Vec<Record>), String> {
        let store = FileStore::open(folder.join("file"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let loaded: Loaded = runtime
            .block_on(store.load())
            .map_err(|error| error.to_string())?;
        Ok((Self { store, runtime }, loaded.records))
    }

    fn commit(&self, writes: &[Write]) {
        self.runtime
            .block_on(self.store.commit(writes))
            .expect("it can be kept");
    }
}

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registered");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

struct Redb(Database);

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    incarnation: u64,
    ttl_ms: u64,
    app: &'a str,
    region: &'a str,
    country: &'a str,
    ip: std::net::IpAddr,
    port: u16,
    weight: u16,
    soft_limit: u32,
    hard_limit: u32,
    protocol: &'a str,
}

impl Form<'_> {
    fn json(
        Record {
            backend,
            incarnation,
            ttl,
        }: &Record,
    ) -> Vec<u8> {
        let form = Form {
            incarnation: incarnation.get(),
            ttl_ms: ttl.as_millis() as u64,
            app: backend.app.as_str(),
            region: backend.region.as_str(),
            country: backend.country.as_str(),
            ip: backend.addr.ip(),
            port: backend.addr.port(),
            weight: backend.weight.get(),
            soft_limit: backend.limits.soft(),
            hard_limit: backend.limits.hard(),
            protocol: backend.protocol.as_str(),
        };
        serde_json::to_vec(&form).expect("JSON")
    }

    fn record(id: &str, json: &[u8]) -> Result<Record, Box<dyn std::error::Error>> {
        let form: Form<'_> = serde_json::from_slice(json)?;
        let mut backend = Backend::new(
            BackendId::parse(id)?,
            AppName::parse(form.app)?,
            Region::parse(form.region)?,
            Country::parse(form.country)?,
            BackendAddr::new(form.ip, form.port)?,
        );
        backend.weight = Weight::new(form.weight.into())?;
        backend.limits = Limits::new(form.soft_limit, form.hard_limit)?;
        backend.protocol = Protocol::from_name(form.protocol).ok_or("no protocol")?;
        let incarnation = Incarnation::new(form.incarnation).ok_or("0")?;
        Ok(Record {
            backend,
            incarnation,
            ttl: Duration::from_millis(form.ttl_ms),
        })
    }
}

impl Kept for Redb {
    const NAME: &'static str = "redb";

    fn open(folder: &Path) -> Result<(Self, Vec<Record>), String> {
        let read = || -> Result<_, Box<dyn std::error::Error>> {
            let path = folder.join("redb");
            let database = if path.exists() {
                Database::open(&path)?
            } else {
                Database::create(&path)?
            };
            let mut records = Vec::new();
            if let Ok(table) = database.begin_read()?.open_table(TABLE) {
                for entry in table.iter()? {
                    let (id, json) = entry?;
                    records.push(Form::record(id.value(), json.value())?);
                }
            }
            records.sort_unstable_by_key(|record: &Record| record.incarnation);
            Ok((Self(database), records))
        };
        read().map_err(|error| error.to_string())
    }

    fn commit(&self, writes: &[Write]) {
        let transaction = self.0.begin_write().expect("the only writer");
        {
            let mut table = transaction.open_table(TABLE).expect("the table");
            let mut numbers = transaction.open_table(NUMBERS).expect("the table");
            for write in writes {
                let Write::Registered(record) = write else {
                    unreachable!("only these are measured")
                };
                table
                    .insert(record.backend.id.as_str(), &*Form::json(record))
                    .expect("it fits");
                numbers
                    .insert("latest", record.incarnation.get())
                    .expect("it fits");
            }
        }
        transaction.commit().expect("it can be kept");
    }
}

fn folder() -> tempfile::TempDir {
    // Where the reports are: a real disk, while a temporary folder may be in memory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(target).expect("a folder");
    tempfile::tempdir_in(target).expect("a folder")
}

fn millis(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |index: usize| times[index].as_secs_f64() * 1_000.0;
    format!(
        "{:.2} ms ({:.2}–{:.2})",
        at(times.len() / 2),
        at(0),
        at(times.len() - 1)
    )
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.metadata().expect("metadata") {
            metadata if metadata.is_dir() => bytes_in(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}

fn commits<K: Kept>() {
    for (len, rounds) in [(1, 200), (100, 50), (10_000, 7)] {
        let folder = folder();
        let (kept, _) = K::open(folder.path()).expect("it is new");
        kept.commit(&batch(0, 1_000));
        let times = (0..rounds).map(|round| {
            let writes = batch(1_000 + round * len, len);
            let begun = Instant::now();
            kept.commit(&writes);
            begun.elapsed()
        });
        println!("{:5} commit of {len:>6}: {}", K::NAME, millis(times.collect()));
    }
}

fn loads<K: Kept>() {
    let folder = folder();
    let (kept, _) = K::open(folder.path()).expect("it is new");
    for from in (0..MANY).step_by(10_000) {
        kept.commit(&batch(from, 10_000));
    }
    let fresh = bytes_in(folder.path());
    drop(kept);
    let mut times = Vec::new();
    for _ in 0..9 {
        let begun = Instant::now();
        let (kept, records) = K::open(folder.path()).expect("it opens");
        times.push(begun.elapsed());
        assert_eq!(records.len(), MANY as usize);
        black_box((kept, records));
    }
    println!(
        "{:5} load of {MANY}: {}, {fresh} bytes on disk",
        K::NAME,
        millis(times)
    );

    let (kept, _) = K::open(folder.path()).expect("it opens");
    for life in 1..=10 {
        for from in (0..MANY).step_by(10_000) {
            let writes =
                (from..from + 10_000).map(|n| Write::Registered(record(n, u64::from(life * MANY + n) + 1)));
            kept.commit(&writes.collect::<Vec<_>>());
        }
    }
    drop(kept);
    println!(
        "{:5} after each of them has moved 10 times: {} bytes on disk",
        K::NAME,
        bytes_in(folder.path())
    );
}

/// What each says to a file with damage in it: at a random byte, or cut at a random one.
fn damage<K: Kept>(what: &str, harm: impl Fn(&mut Vec<u8>, usize)) {
    let sound = folder();
    let (kept, _) = K::open(sound.path()).expect("it is new");
    for from in (0..DAMAGED).step_by(100) {
        kept.commit(&batch(from, 100));
    }
    drop(kept);
    let expected: Vec<_> = (0..DAMAGED).map(|n| record(n, u64::from(n) + 1)).collect();
    let name = if K::NAME == "file" {
        "file/registrations.log"
    } else {
        "redb"
    };
    let bytes = std::fs::read(sound.path().join(name)).expect("it is there");
    let mut random = fastrand::Rng::with_seed(7);
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut fewest = expected.len();
    for _ in 0..PLACES {
        let mut bytes = bytes.clone();
        let at = random.usize(..bytes.len());
        harm(&mut bytes, at);
        let damaged = folder();
        std::fs::create_dir_all(damaged.path().join("file")).expect("a folder");
        std::fs::write(damaged.path().join(name), bytes).expect("there is room");
        let opened = catch_unwind(AssertUnwindSafe(|| {
            K::open(damaged.path()).map(|(_, records)| records)
        }));
        let outcome = match opened {
            Err(_) => "panics",
            Ok(Err(_)) => "refuses to open, with all of it",
            Ok(Ok(records)) if records == expected => "all there",
            Ok(Ok(records)) if records.iter().all(|record| expected.contains(record)) => {
                fewest = fewest.min(records.len());
                "some missing"
            }
            Ok(Ok(_)) => "wrong records",
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!(
        "{:5} {what}, {PLACES} times: {outcomes:?}; fewest found: {fewest} of {DAMAGED}",
        K::NAME
    );
}

fn damages<K: Kept>() {
    damage::<K>("a byte flipped", |bytes, at| bytes[at] ^= 0x10);
    damage::<K>("cut", |bytes, at| bytes.truncate(at));
    damage::<K>("4 KiB of zeros", |bytes, at| {
        let end = (at + 4_096).min(bytes.len());
        bytes[at..end].fill(0);
    });
}

fn main() {
    // What a panic says is counted, not read.
    std::panic::set_hook(Box::new(|_| {}));
    // In turn, since a disk is not as fast in one minute as in the next.
    for _ in 0..3 {
        commits::<File>();
        commits::<Redb>();
    }
    for _ in 0..2 {
        loads::<File>();
        loads::<Redb>();
    }
    damages::<File>();
    damages::<Redb>();
}
