//! The attack suite: the real binary under attack from outside, while well-behaved clients go on.
//!
//! `cargo xtask attacks` builds and runs it. Each [`Row`] is one attack. It has a proxy of its own, and in front of that
//! [bystanders](bystander), none of whose requests may fail, slow down or get somebody else's answer; behind it an
//! [origin] that writes down every byte it gets, and reads it as strictly as a parser can. A row says what the
//! product has to do; what it may do to others is the same for all rows, and judged by [`report`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by a panic that says why, and prints what it found"
)]

mod bombs;
mod browser;
mod bystander;
mod call;
mod confusion;
mod floods;
mod forged;
mod frames;
mod guessing;
mod handshakes;
mod hostile;
mod injection;
mod liar;
mod logs;
mod loops;
mod origin;
mod registrations;
mod report;
mod row;
mod slow;
mod smuggling;
mod smuggling_http2;
mod ssrf;
mod stage;
mod terminal;
mod vitals;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::Report;
use crate::row::Row;

const FAMILIES: [&[Row]; 17] = [
    smuggling::ROWS,
    smuggling_http2::ROWS,
    confusion::ROWS,
    floods::ROWS,
    slow::ROWS,
    handshakes::ROWS,
    bombs::ROWS,
    loops::ROWS,
    forged::ROWS,
    registrations::ROWS,
    ssrf::ROWS,
    guessing::ROWS,
    browser::ROWS,
    injection::ROWS,
    logs::ROWS,
    terminal::ROWS,
    hostile::ROWS,
];

const USAGE: &str = "usage: attacks [--list] [--quick] [--only ROW]... [--markdown FILE]";

#[derive(Default)]
struct Asked {
    lists: bool,
    is_quick: bool,
    only: Vec<String>,
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let asked = match arguments(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let rows = || FAMILIES.into_iter().flatten();
    if asked.lists {
        for row in rows() {
            println!("{:<28} {}", row.name, row.about);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = asked
        .only
        .iter()
        .find(|name| !rows().any(|row| row.name == **name))
    {
        eprintln!("found the row `{unknown}`, expected one that --list names");
        return ExitCode::from(2);
    }
    let chosen = rows().filter(|row| {
        if asked.only.is_empty() {
            !asked.is_quick || row.is_quick
        } else {
            asked.only.iter().any(|name| name == row.name)
        }
    });
    let mut report = Report::default();
    println!("{}", report::HEADINGS);
    for row in chosen {
        let line = row::run(row);
        println!("{line}");
        report.add(line);
    }
    println!("\n{report}");
    if asked.markdown.is_some() && !report.is_whole() {
        eprintln!("the table is not written: an attack came through, or was skipped");
        return ExitCode::FAILURE;
    }
    if let Some(file) = &asked.markdown
        && let Err(error) = std::fs::write(file, report.markdown())
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::from(2);
    }
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arguments(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} takes a value; {USAGE}"));
        match arg.as_str() {
            "--list" => asked.lists = true,
            "--quick" => asked.is_quick = true,
            "--only" => asked.only.push(value()?),
            "--markdown" => asked.markdown = Some(value()?.into()),
            _ => return Err(format!("found `{arg}`; {USAGE}")),
        }
    }
    Ok(asked)
}
