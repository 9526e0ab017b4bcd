//! The fault suite: the released binary under load, and one fault after the other. Each row of the table has a proxy, backends
//! and clients of its own.
//!
//! `cargo xtask faults` builds and runs it. What holds for every row: no request to the other app ever fails; none fails
//! that a retry may save; every answer is the one that was asked for; in the end nothing is in flight, as many descriptors
//! are open as in a proxy to which nobody has ever connected, and memory is within 10 % of what it was after the warm-up, and
//! within a bound of what it was when it was fresh. What a row allows besides is in its list.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by a panic that says why, and prints what it found"
)]

mod apart;
mod backends;
mod beats;
mod clients;
mod clock;
mod etcd;
mod files;
mod ledger;
mod load;
mod peak;
mod process;
mod registrations;
mod report;
mod row;
mod scene;
mod store;
mod villain;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::Line;
use crate::row::{Row, Runs, Verdict};

/// Every row, in the order of the table.
const FAMILIES: [&[Row]; 8] = [
    backends::ROWS,
    process::ROWS,
    clock::ROWS,
    store::ROWS,
    etcd::ROWS,
    files::ROWS,
    clients::ROWS,
    registrations::ROWS,
];

const USAGE: &str = "usage: faults [--list] [--quick] [--only ROW]… [--at-once ROWS] [--markdown FILE]";

/// How many rows run beside each other.
const AT_ONCE: usize = 4;

struct Arguments {
    lists: bool,
    is_quick: bool,
    only: Vec<String>,
    at_once: usize,
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    opens_all_it_may();
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(apart::APART) {
        return apart::serve(args);
    }
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Clients and backends are in this very process, ten thousand at a time: it takes what its hard limit has.
fn opens_all_it_may() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: hard,
        maximum: hard,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        println!("the limit of open files stays as it is: {error}");
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments {
        lists: false,
        is_quick: false,
        only: Vec::new(),
        at_once: AT_ONCE,
        markdown: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| format!("{arg} lacks its value; {USAGE}"))
        };
        match arg.as_str() {
            "--list" => found.lists = true,
            "--quick" => found.is_quick = true,
            "--only" => found.only.push(value()?),
            "--markdown" => found.markdown = Some(value()?.into()),
            "--at-once" => {
                let count = value()?.parse().ok().filter(|count| (1..=64).contains(count));
                found.at_once = count.ok_or_else(|| format!("--at-once takes 1 to 64; {USAGE}"))?;
            }
            _ => return Err(format!("found `{arg}`; {USAGE}")),
        }
    }
    Ok(found)
}

fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.into_iter().flatten()
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.lists {
        for row in rows() {
            println!("{:<24} {}", row.name, row.fault);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let unknown = arguments
        .only
        .iter()
        .find(|name| rows().all(|row| row.name != *name));
    if let Some(name) = unknown {
        return Err(format!("there is no row `{name}`; --list has them"));
    }
    let is_wanted = |row: &&Row| {
        let is_named = arguments.only.iter().any(|name| name == row.name);
        let fits = !arguments.is_quick || row.runs == Runs::Always;
        is_named || (arguments.only.is_empty() && fits)
    };
    let (alone, beside): (Vec<_>, Vec<_>) = rows().filter(is_wanted).partition(|row| row.runs == Runs::Alone);
    let began = Instant::now();
    let mut lines = all(beside, arguments.at_once);
    lines.extend(all(alone, 1));
    lines.sort_by_key(|line| rows().position(|row| row.name == line.row.name));

    println!();
    for line in &lines {
        println!("{}", line.text());
    }
    let count = |word| lines.iter().filter(|line| line.verdict.word() == word).count();
    println!(
        "\n{} rows in {:.0} s: {} as expected, {} failed, {} skipped",
        lines.len(),
        began.elapsed().as_secs_f64(),
        count("as expected"),
        count("FAILED"),
        count("skipped")
    );
    if let Some(path) = &arguments.markdown {
        if count("as expected") < lines.len() {
            return Err("the table is not written: a row failed, or was skipped".to_owned());
        }
        std::fs::write(path, report::markdown(&lines))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let is_good = !lines.is_empty() && lines.iter().all(|line| line.verdict.is_good());
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs these, so many beside each other.
fn all(rows: Vec<&'static Row>, at_once: usize) -> Vec<Line> {
    let left = Mutex::new(VecDeque::from(rows));
    let lines = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(row) = next else { return };
            println!("{}: {}", row.name, row.fault);
            let began = Instant::now();
            let line = Line {
                row,
                verdict: one(row),
                took: began.elapsed(),
            };
            println!("{}", line.text());
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    lines.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(row: &Row) -> Verdict {
    if let Some(why) = row.needs.iter().find_map(|need| need.missing()) {
        return Verdict::Skipped(why);
    }
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let told = runtime.block_on(async { tokio::time::timeout(row.limit, (row.commit)()).await });
        runtime.shutdown_background();
        told
    }));
    match ran {
        Ok(Ok(told)) => Verdict::Ran(told),
        Ok(Err(_)) => Verdict::Broke(format!("not done within {:?}", row.limit)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Verdict::Broke(text.unwrap_or_default())
        }
    }
}
