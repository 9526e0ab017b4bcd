//! Many seeds, on all cores: `simulate-whole SEEDS [FROM] [MIX]`, or one again: `simulate-whole seed SEED MIX`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a person")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use edgeproxy_whole::{Mix, Summary, Violation, simulate};

const USAGE: &str = "simulate-whole --seeds COUNT [--from SEED] [--mix NAME], or --seed SEED --mix NAME";

struct Wish {
    from: u64,
    count: u64,
    mixes: Vec<Mix>,
}

fn wish(args: &[String]) -> Option<Wish> {
    let (mut wish, mut is_one) = (
        Wish {
            from: 0,
            count: 1_000,
            mixes: Mix::ALL.to_vec(),
        },
        false,
    );
    for pair in args.chunks(2) {
        let [name, value] = pair else { return None };
        match name.as_str() {
            "--seeds" => wish.count = value.parse().ok()?,
            "--from" => wish.from = value.parse().ok()?,
            "--seed" => {
                wish.from = value.parse().ok()?;
                is_one = true;
            }
            "--mix" => wish.mixes = vec![Mix::from_name(value)?],
            _ => return None,
        }
    }
    if is_one {
        wish.count = wish.mixes.len() as u64;
        wish.from *= wish.mixes.len() as u64;
    }
    Some(wish)
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let Some(Wish { from, count, mixes }) = wish(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let of = mixes.len() as u64;
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let all = Mutex::new((0_u64, Summary::default()));
    let first: Mutex<Option<Box<Violation>>> = Mutex::new(None);
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= from + count {
                        return;
                    }
                    let mix = usize::try_from(at % of).ok().and_then(|at| mixes.get(at));
                    let Some(mix) = mix else { return };
                    match simulate(at / of, *mix) {
                        Ok(summary) => {
                            let mut all = all.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            all.0 += 1;
                            all.1.add(&summary);
                        }
                        Err(violation) => {
                            failed.store(true, Ordering::Relaxed);
                            let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            first.get_or_insert(violation);
                        }
                    }
                }
            });
        }
    });
    let (runs, sum) = all.into_inner().unwrap_or_default();
    println!(
        "{runs} seeds without a violation in {:.1} s: {} requests, {} answered, {} failed, {} found all full, {} found \
         nobody, {} were cut off; {} events",
        began.elapsed().as_secs_f64(),
        sum.requests,
        sum.answered,
        sum.failed,
        sum.full,
        sum.nobody,
        sum.lost,
        sum.events
    );
    match first.into_inner().unwrap_or_default() {
        Some(violation) => {
            println!("{violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
