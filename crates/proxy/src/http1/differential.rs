//! The codec beside hyper: made-up messages, most of them valid and all of them odd in some way, get the same
//! verdict from both, or differ for a reason that [`explained`] lists. What both accept means the same to hyper
//! before and behind the codec.
//!
//! A message follows from its number. `EDGEPROXY_DIFFERENTIAL_CASES` is how many are played, and
//! `EDGEPROXY_DIFFERENTIAL_FIRST` the number of the first; `cargo xtask differential` sets both.

#![allow(
    clippy::result_large_err,
    clippy::redundant_closure_for_method_calls,
    reason = "a verdict is large either way, and a method's lifetime is too narrow for the table"
)]

mod explained;
mod fields;
mod generate;
mod ours;
mod peer;
mod turns;

use std::collections::BTreeMap;

use explained::Table;

/// A request or a response as somebody reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Message {
    /// Of a request; empty otherwise.
    method: String,
    /// Path and query of a request, the status of a response.
    target: String,
    /// Of an absolute target.
    authority: Option<String>,
    minor: u8,
    /// In lower case, those of one name in their order, and by their names.
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    /// Whether the connection serves another message.
    keeps: bool,
}

/// What somebody makes of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// There is more to come.
    Waits,
    Refused(String),
    Read(Message),
}

/// As it is when nobody asks for more: some seconds without optimisation.
const CASES: u64 = 20_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is {text:?}, expected a number")),
    )
}

/// What came of a case: nothing to tell, a difference that is explained, or one that is not.
type Played = Result<Option<&'static str>, String>;

/// Unexplained differences that are told, at most.
const TOLD: usize = 5;

/// Plays every case and counts the differences that are explained.
fn play(table: Table, case: impl Fn(u64) -> Played) {
    let first = number("EDGEPROXY_DIFFERENTIAL_FIRST").unwrap_or(0);
    let cases = number("EDGEPROXY_DIFFERENTIAL_CASES").unwrap_or(CASES);
    let all = table.into_iter().flatten();
    let mut counts: BTreeMap<&str, u64> = all.map(|difference| (difference.what, 0)).collect();
    let (mut agreed, mut unexplained) = (0, Vec::new());
    for seed in first..first + cases {
        match case(seed) {
            Ok(None) => agreed += 1,
            Ok(Some(what)) => *counts.entry(what).or_default() += 1,
            Err(what) => unexplained.push(format!(
                "case {seed}: {what}\nreplay it with: cargo xtask differential --first {seed} --cases 1\n"
            )),
        }
        if unexplained.len() == TOLD {
            break;
        }
    }
    println!("{cases} cases from {first} on, {agreed} with the same verdict and meaning");
    for (what, count) in &counts {
        println!("{count:>8}  {what}");
    }
    assert!(
        unexplained.is_empty(),
        "unexplained:\n\n{}",
        unexplained.join("\n")
    );
    if cases >= CASES {
        let unmet: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
        assert!(unmet.is_empty(), "explained, and never met: {unmet:?}");
    }
}

/// What a message means to hyper `before` the codec and what became of it there, both held against each other.
fn judge(
    table: Table,
    bytes: &[u8],
    before: &Verdict,
    behind: &Result<Verdict, Verdict>,
    differ: impl Fn(&Message, &Message) -> Option<String>,
) -> Played {
    let difference = match (before, behind) {
        (Verdict::Waits, Err(Verdict::Waits)) | (Verdict::Refused(_), Err(Verdict::Refused(_))) => None,
        (Verdict::Read(before), Ok(Verdict::Read(behind))) => differ(before, behind),
        (_, Ok(Verdict::Refused(_) | Verdict::Waits)) => {
            Some("hyper does not take what is passed on".to_owned())
        }
        _ => Some("another verdict".to_owned()),
    };
    let Some(difference) = difference else {
        return Ok(None);
    };
    match explained::reason(table, bytes, behind) {
        Some(what) => Ok(Some(what)),
        None => Err(format!(
            "{difference}\n  bytes: {}\n  hyper: {before:?}\n  ours:  {behind:?}",
            bytes.escape_ascii()
        )),
    }
}

#[test]
fn a_request_means_the_same_to_hyper_before_and_behind_the_codec() {
    play(explained::REQUESTS, |seed| {
        let bytes = generate::request(&mut fastrand::Rng::with_seed(seed));
        let passed = ours::request(&bytes);
        let keeps = passed.as_ref().is_ok_and(|passed| passed.keeps);
        let behind = passed.map(|passed| peer::request(&passed.out));
        let all = [&bytes, peer::AFTER].concat();
        judge(
            explained::REQUESTS,
            &all,
            &peer::request(&bytes),
            &behind,
            |before, behind| fields::differ_requests(before, behind, keeps),
        )
    });
}

#[test]
fn a_response_means_the_same_to_hyper_before_and_behind_the_codec() {
    play(explained::RESPONSES, |seed| {
        let case = generate::response(&mut fastrand::Rng::with_seed(seed));
        let before = peer::response(&case.bytes, case.head, case.closes);
        let passed = ours::response(&case);
        let keeps = passed.as_ref().is_ok_and(|passed| passed.keeps);
        let behind = passed.map(|passed| peer::response(&passed.out, case.head, passed.closes));
        let played = judge(
            explained::RESPONSES,
            &case.bytes,
            &before,
            &behind,
            |before, behind| fields::differ_responses(before, behind, keeps),
        );
        let way = (case.head, case.minor, case.closes);
        played.map_err(|what| format!("{what}\n  to a HEAD, from HTTP/1., ends the connection: {way:?}"))
    });
}
