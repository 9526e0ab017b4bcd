//! The dashboard in a real browser: `tests/page` drives it, against the real binary.
//!
//! It takes chromium, node, and what `npm ci` installs in `tests/page`; `.ci/run` sees to that. See [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic, and reports on its standard output"
)]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use edgeproxy_tests::{Edgeproxy, block_on, is_installed, outside};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Each is a function of the scripts.
const TESTS: [&str; 12] = [
    "starts_empty_and_shows_a_backend_within_a_second_of_its_registration",
    "shows_an_ejection_with_its_reason_and_the_return",
    "goes_on_where_it_was_after_the_connection_was_lost",
    "text_of_backends_is_text_and_never_markup",
    "drains_one_by_a_click_with_a_token_and_refuses_without",
    "disables_enables_and_weighs_by_click",
    "explains_a_pick_and_says_why_not_the_others",
    "axe_finds_nothing_serious_in_light_and_dark",
    "everything_can_be_reached_by_keyboard",
    "a_phone_shows_all_of_it_without_scrolling_sideways",
    "a_thousand_backends_stay_under_50_ms_a_frame",
    "the_reference_is_complete_offline_and_by_keyboard",
];

/// The one for which there are tokens.
const TAKES_TOKENS: &str = "drains_one_by_a_click_with_a_token_and_refuses_without";

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page");

fn main() -> ExitCode {
    outside(missing(), TESTS.map(|name| (name, move || run(name))))
}

/// Why they can't run.
fn missing() -> Option<&'static str> {
    if !is_installed("node") {
        return Some("there is no node");
    }
    if !is_installed("chromium") {
        return Some("there is no chromium");
    }
    let there = |package: &str| Path::new(SCRIPTS).join("node_modules").join(package).is_dir();
    (!there("playwright-core") || !there("axe-core"))
        .then_some("playwright-core or axe-core is missing: npm ci --prefix tests/page")
}

fn run(name: &str) {
    let folder = TempDir::with_prefix("edgeproxy-page-").expect("a temporary folder can be made");
    let file = folder.path().join("tokens.toml");
    let mut tokens = Map::new();
    let mut setup = Edgeproxy::setup();
    if PROBED.contains(&name) {
        // Quick enough to be watched.
        setup = setup
            .set("MAX_FAILURES", "3")
            .set("HEALTH_MONITOR", "tcp")
            .set("HEALTH_INTERVAL", "1s");
    }
    if name == TAKES_TOKENS {
        for role in ["read", "register", "operate"] {
            tokens.insert(role.to_owned(), token(role, &file).into());
        }
        setup = setup.set("API_TOKENS_FILE", file.to_str().expect("the path is text"));
    }
    block_on(async {
        let edgeproxy = setup.start().await;
        let about = json!({
            "api": format!("http://{}", edgeproxy.api_addr()),
            "proxy": format!("http://{}", edgeproxy.proxy()),
            "tokens": tokens,
            "tokensFile": file,
        });
        let name = name.to_owned();
        let played = tokio::task::spawn_blocking(move || play(&name, &about));
        played.await.expect("it was waited for");
    });
}

/// Their backends are there; those of the others are addresses where nothing listens.
const PROBED: [&str; 2] = [
    "starts_empty_and_shows_a_backend_within_a_second_of_its_registration",
    "shows_an_ejection_with_its_reason_and_the_return",
];

/// A new token with that role for all apps.
fn token(role: &str, file: &Path) -> String {
    let name = format!("page-{role}");
    let made = Command::new(Edgeproxy::binary())
        .args([
            "token", "new", "--name", &name, "--role", role, "--app", "*", "--append",
        ])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("edgeproxy runs");
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout)
        .expect("a token is text")
        .trim()
        .to_owned()
}

fn play(name: &str, about: &Value) {
    let played = Command::new("node")
        .arg("run.mjs")
        .arg(name)
        .current_dir(SCRIPTS)
        .env("EDGEPROXY_TEST_PAGE", about.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&played.stdout);
    print!("{said}");
    assert!(
        played.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&played.stderr)
    );
}
