//! How long looking a token up takes, by how much of it is right. To be read, not to be tested: the differences between the
//! rows are the machine's.

#![allow(clippy::print_stdout, reason = "it is for whoever runs it")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use edgeproxy_access::{AppPattern, Entry, Grants, Role, Token};

const TOKENS: usize = 1_000;
const ROUNDS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let tokens = (0..TOKENS)
        .map(|_| Token::generate())
        .collect::<Result<Vec<_>, _>>()?;
    let entry = |(index, token): (usize, &Token)| {
        Entry::new(format!("t{index}"), Role::Read, AppPattern::Any, token.digest()).to_string()
    };
    let file: String = tokens.iter().enumerate().map(entry).collect();
    let grants = Grants::parse(&file)?;
    let Some(right) = tokens.first().map(|token| token.reveal().as_bytes()) else {
        return Ok(());
    };
    // Characters that are right, from the first on; the last row is the token.
    let kept = [0, 10, 20, 30, 40, 50, 52, 53];
    let guesses: Vec<Vec<u8>> = kept
        .iter()
        .map(|kept| {
            let wrong = right.iter().map(|byte| if *byte == b'A' { b'B' } else { b'A' });
            right
                .iter()
                .copied()
                .take(*kept)
                .chain(wrong.skip(*kept))
                .collect()
        })
        .collect();
    // The rows take turns, in an order that changes, so that whatever else the machine does falls on all of them, and so
    // does whatever the row before has left in its caches.
    let mut taken: Vec<Vec<u128>> = guesses.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    let rows = guesses.len();
    for round in 0..ROUNDS {
        // Odd steps visit each of the eight rows once.
        let step = 1 + 2 * (round % 4);
        for turn in 0..rows {
            let row = (round / 4 + turn * step) % rows;
            let (Some(guess), Some(taken)) = (guesses.get(row), taken.get_mut(row)) else {
                continue;
            };
            let began = Instant::now();
            black_box(grants.of_token(black_box(guess)));
            taken.push(began.elapsed().as_nanos());
        }
    }
    println!("{TOKENS} tokens, {ROUNDS} rounds; nanoseconds");
    println!("{:>5} {:>8} {:>8} {:>8}", "right", "p25", "median", "p75");
    for (kept, mut taken) in kept.iter().zip(taken) {
        taken.sort_unstable();
        let at = |part: usize| taken.get(ROUNDS * part / 4).copied().unwrap_or_default();
        println!("{kept:>5} {:>8} {:>8} {:>8}", at(1), at(2), at(3));
    }
    Ok(())
}
