//! The wall clock, moved while the proxy runs. The clock of the machine is left alone: a library answers for it
//! (libfaketime), to the proxy alone, and the monotonic clock goes on, as it does when an operator or NTP sets the time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgeproxy_tests::{PATIENCE, eventually};

use crate::process::{away, keeps_all, nothing};
use crate::row::{Need, Row, Runs, Told, faketime};
use crate::scene::{Scene, TTL, setup};

const RULE: &str = "leases.md#when-to-distrust-oneself";
const YEAR: i64 = 365 * 24 * 3_600;

macro_rules! row {
    ($name:literal, $fault:literal, $by:expr) => {
        Row {
            name: $name,
            fault: $fault,
            expects: "no lease ends, no request fails, heartbeats count; after a restart all registrations are there",
            rule: RULE,
            limit: Duration::from_secs(180),
            runs: Runs::Thorough,
            needs: &[Need::Faketime],
            commit: || Box::pin(moved($by)),
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    row!(
        "clock-ahead",
        "the wall clock jumps a year ahead, and the proxy is restarted there; leases of 5 s",
        YEAR
    ),
    row!(
        "clock-back",
        "the wall clock jumps a year back, and the proxy is restarted there; leases of 5 s",
        -YEAR
    ),
];

/// Where the library reads how far the clock is off.
fn offset(folder: &Path) -> PathBuf {
    folder.join("offset")
}

async fn moved(by: i64) -> Told {
    let setup = setup()
        .set("STORE", "file")
        .set("DATA_DIR", "state")
        .file("offset", "+0\n")
        .variable("LD_PRELOAD", faketime().expect("it was looked for"))
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("DONT_FAKE_MONOTONIC", "1");
    let path = offset(setup.folder()).display().to_string();
    let (scene, beats) = Scene::of_leases(setup.variable("FAKETIME_TIMESTAMP_FILE", &path)).await;
    scene
        .once(async |scene| {
            scene.begins(nothing);
            let before = said(scene).await;
            std::fs::write(&path, format!("{by:+}\n")).expect("the folder can be written to");
            eventually(PATIENCE, "its clock has moved", async || {
                let moved = said(scene).await - before;
                if (moved - by).abs() < 3_600 {
                    Ok(())
                } else {
                    Err(format!("by {moved} s"))
                }
            })
            .await;
            scene.flows().await;
            keeps_all(scene, &beats, 2 * TTL).await;

            // What the file says of leases was written by the other clock.
            scene.begins(away);
            scene
                .replaced(async |proxy| proxy.killed().await.start().await)
                .await;
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
            keeps_all(scene, &beats, 2 * TTL).await;
        })
        .await
}

/// The time in a `Date` of the proxy's own, in seconds since 1970.
async fn said(scene: &Scene) -> i64 {
    let reply = scene
        .proxy()
        .client()
        .get("nobody", "/")
        .await
        .expect("an answer");
    let date = reply.header("date").expect("there is a Date").to_owned();
    seconds_of(&date)
}

/// RFC 9110 §5.6.7, as a proxy writes it.
fn seconds_of(text: &str) -> i64 {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<_> = text.split([' ', ':']).collect();
    let number = |at: usize| words[at].parse::<i64>().expect("a number");
    let month = MONTHS
        .iter()
        .position(|month| *month == words[2])
        .expect("a month") as i64
        + 1;
    // Days since 1970, by Howard Hinnant's algorithm of the civil calendar.
    let year = number(3) - i64::from(month <= 2);
    let (era, shifted) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year - era * 400;
    let of_year = (153 * shifted + 2) / 5 + number(1) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days * 86_400 + number(4) * 3_600 + number(5) * 60 + number(6)
}
