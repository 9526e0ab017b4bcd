//! `edgeproxy top` in a real terminal: a window of tmux, read as a person reads it, against the real binary.
//!
//! It takes `tmux`; see [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use edgeproxy_tests::{
    Backend, Behaviour, Edgeproxy, FreePort, PATIENCE, Registration, Tmux, block_on, eventually, outside,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const TESTS: [(&str, fn()); 6] = [
    ("it_shows_the_same_backends_and_states_as_the_api", || {
        block_on(same_as_the_api());
    }),
    ("it_fits_the_terminal_whatever_its_size", || {
        block_on(resized());
    }),
    ("quit_leaves_the_terminal_as_it_was", || {
        block_on(restored());
    }),
    ("a_lost_connection_is_told_and_made_again", || {
        block_on(lost());
    }),
    ("a_backend_is_drained_and_enabled_by_a_key_and_a_yes", || {
        block_on(drained());
    }),
    ("a_thousand_backends_are_scrolled_and_filtered", || {
        block_on(a_thousand());
    }),
];

fn main() -> ExitCode {
    outside(Tmux::missing(), TESTS)
}

/// A terminal of 80 by 24 in which `top` looks at that API.
fn watching(api: SocketAddr) -> Tmux {
    let terminal = Tmux::start(80, 24);
    run(&terminal, api);
    terminal
}

fn run(terminal: &Tmux, api: SocketAddr) {
    terminal.line(&format!("edgeproxy top --api http://{api}; echo ended with $?"));
}

/// The line of a backend.
fn row<'a>(screen: &'a str, id: &str) -> Option<&'a str> {
    screen
        .lines()
        .find(|line| line.split_whitespace().next() == Some(id))
}

/// The word of a row that ends where a heading of the table of backends does: figures are on the right of their columns.
fn below<'a>(screen: &str, row: &'a str, heading: &str) -> Option<&'a str> {
    let headings = screen.lines().rfind(|line| line.contains("BACKEND "))?;
    let at = headings.find(heading)?;
    let end = headings.get(..at)?.chars().count() + heading.chars().count();
    let end = row.char_indices().nth(end).map_or(row.len(), |(at, _)| at);
    row.get(..end)?.split(' ').next_back()
}

async fn same_as_the_api() {
    let edgeproxy = Edgeproxy::setup().set("MAX_FAILURES", "3").start().await;
    let (well, ill) = (Backend::start("well").await, Backend::start("ill").await);
    ill.behave(Behaviour::CloseUnanswered);
    let mut api = edgeproxy.api();
    let limits = |registration: Registration| registration.with("soft_limit", 5).with("hard_limit", 8);
    api.register_new(&limits(Registration::new("well-1", "shop", well.addr())))
        .await;
    api.register_new(&limits(Registration::new("ill-1", "shop", ill.addr())))
        .await;
    api.register_new(&limits(Registration::new("off-1", "search", well.addr())))
        .await;
    let _ = api.patch("off-1", &json!({"enabled": false})).await.expect(200);
    let terminal = watching(edgeproxy.api_addr());
    terminal
        .shows(PATIENCE, "it is live and shows the three", |screen| {
            screen.contains("live") && row(screen, "off-1").is_some_and(|row| row.contains("disabled"))
        })
        .await;
    // What happens while it looks, by requests of a client.
    let mut client = edgeproxy.client();
    eventually(PATIENCE, "the one that answers nothing is ejected", async || {
        let _ = client.get("shop", "/").await;
        match api.state("ill-1").await {
            state if state == "ejected" => Ok(()),
            state => Err(state),
        }
    })
    .await;
    let screen = terminal
        .shows(PATIENCE, "the ejection is a row and an event", |screen| {
            // Figures come once a second, and the last ones may be of a moment at which a request was under way.
            let is_at_rest = |id| row(screen, id).is_some_and(|row| row.contains("0/8"));
            ["well-1", "ill-1", "off-1"].into_iter().all(is_at_rest)
                && row(screen, "ill-1")
                    .is_some_and(|row| row.contains("ejected") && row.contains("3 consecutive requests"))
                && screen
                    .lines()
                    .any(|line| line.contains("ejected") && line.contains(':'))
        })
        .await;
    let page = api.get("/api/v1/backends").await.expect(200).json();
    let listed = page["backends"].as_array().expect("a page has backends");
    assert_eq!(listed.len(), 3);
    for backend in listed {
        let text = |member: &str| backend[member].as_str().expect("it is text");
        let row = row(&screen, text("id")).unwrap_or_else(|| panic!("{backend} has no row\n{screen}"));
        for member in ["app", "state"] {
            let is_there = row.split_whitespace().any(|word| word == text(member));
            assert!(is_there, "{} is not in {row:?}", text(member));
        }
    }
    let health = api.get("/health").await.expect(200).json();
    let version = health["version"].as_str().expect("a version is text");
    let head = screen.lines().next().expect("a first line");
    assert!(head.starts_with(&format!("edgeproxy {version}  up ")), "{head:?}");
    assert!(screen.contains("1/3 take traffic"), "{screen}");
    // Figures of what a client sends, within a few seconds.
    let (_, _) = eventually(PATIENCE, "requests a second are shown", async || {
        let _ = client.get("shop", "/").await;
        let screen = terminal.screen();
        let row = row(&screen, "well-1").unwrap_or_default();
        let rate = below(&screen, row, "REQ/S").and_then(|word| word.parse::<f64>().ok());
        if rate.is_some_and(|rate| rate > 0.0) {
            Ok(())
        } else {
            Err(screen)
        }
    })
    .await;
    // Everything of one.
    for _ in 0..3 {
        terminal.key("Up");
    }
    terminal.key("Enter");
    terminal
        .shows(PATIENCE, "everything of the first one", |screen| {
            screen.contains("incarnation") && screen.contains(&format!("{}", ill.addr()))
        })
        .await;
}

async fn resized() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    let mut api = edgeproxy.api();
    for n in 0..12 {
        let registration = Registration::new(&format!("backend-{n}"), "shop", backend.addr());
        api.register_new(&registration).await;
    }
    let terminal = watching(edgeproxy.api_addr());
    for (columns, lines) in [(80, 24), (40, 10), (120, 40), (20, 5), (80, 24)] {
        terminal.resize(columns, lines);
        terminal
            .shows(PATIENCE, "it fits", |screen| {
                let lines_of: Vec<_> = screen.lines().collect();
                let last = lines_of.last().copied().unwrap_or_default();
                let first = lines_of.first().copied().unwrap_or_default();
                lines_of.len() == usize::from(lines)
                    && last.starts_with("q quit")
                    && first.trim_end().ends_with("live")
                    && first.chars().count() == usize::from(columns)
                    && row(screen, "backend-0").is_some_and(|row| row.contains("routable"))
            })
            .await;
    }
}

/// Whether the shell waits for the next command.
fn has_ended(screen: &str) -> bool {
    screen.starts_with("what was before") && screen.trim_end().ends_with(['$', '#'])
}

async fn restored() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let terminal = Tmux::start(80, 24);
    terminal.line("stty -a > before; clear; echo what was before");
    terminal.shows(PATIENCE, "a prompt", has_ended).await;
    for end in ["q", "Escape", "C-c", "TERM"] {
        run(&terminal, edgeproxy.api_addr());
        terminal
            .shows(PATIENCE, "it takes the screen", |screen| {
                screen.contains("no backend is registered") && !screen.contains("what was before")
            })
            .await;
        assert_eq!(terminal.fact("alternate_on"), "1");
        let expected = if end == "TERM" {
            terminal.signal(Signal::TERM);
            "ended with 143"
        } else {
            terminal.key(end);
            "ended with 0"
        };
        terminal
            .shows(
                PATIENCE,
                &format!("after {end} what was there is there again"),
                |screen| screen.contains(expected) && has_ended(screen),
            )
            .await;
        assert_eq!(terminal.fact("alternate_on"), "0", "after {end}");
        assert_eq!(terminal.fact("cursor_flag"), "1", "after {end}");
        terminal.line("clear; echo what was before; stty -a | cmp - before && echo the same modes");
        terminal
            .shows(PATIENCE, "keys are read as before", |screen| {
                screen.lines().any(|line| line == "the same modes")
            })
            .await;
        terminal.line("clear; echo what was before");
        terminal
            .shows(PATIENCE, "a prompt", |screen| {
                !screen.contains("the same modes") && has_ended(screen)
            })
            .await;
    }
    // Where nothing listens it says so before it takes the screen.
    let nobody = FreePort::take();
    run(&terminal, nobody.addr());
    let screen = terminal
        .shows(PATIENCE, "an error", |screen| screen.contains("ended with 1"))
        .await;
    assert!(screen.contains("can't be asked"), "{screen}");
}

async fn lost() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let api = edgeproxy.api_addr().to_string();
    let backend = Backend::start("b").await;
    edgeproxy
        .api()
        .register_new(&Registration::new("before", "shop", backend.addr()))
        .await;
    let terminal = watching(edgeproxy.api_addr());
    terminal
        .shows(PATIENCE, "it is live", |screen| {
            row(screen, "before").is_some() && screen.contains("live")
        })
        .await;
    let setup = edgeproxy.killed().await;
    terminal
        .shows(
            PATIENCE,
            "the loss is told, and what was known is there",
            |screen| {
                screen.contains("no connection since")
                    && screen.contains("retrying in")
                    && row(screen, "before").is_some()
            },
        )
        .await;
    let edgeproxy = setup.set("API_LISTEN_ADDR", &api).start().await;
    edgeproxy
        .api()
        .register_new(&Registration::new("after", "shop", backend.addr()))
        .await;
    terminal
        .shows(
            PATIENCE,
            "it is live again, and shows the one that has come",
            |screen| {
                screen.contains("live") && row(screen, "after").is_some_and(|row| row.contains("routable"))
            },
        )
        .await;
}

async fn drained() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    let mut api = edgeproxy.api();
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    let terminal = watching(edgeproxy.api_addr());
    let has = |state: &'static str| {
        move |screen: &str| {
            row(screen, "b1").is_some_and(|row| row.split_whitespace().any(|word| word == state))
        }
    };
    terminal
        .shows(PATIENCE, "it is live and routable", |screen| {
            screen.contains("d drain") && has("routable")(screen)
        })
        .await;
    terminal.key("d");
    terminal
        .shows(PATIENCE, "it asks", |screen| screen.contains("drain b1?"))
        .await;
    terminal.key("n");
    terminal
        .shows(PATIENCE, "no is no", |screen| screen.contains("q quit"))
        .await;
    assert_eq!(api.state("b1").await, "routable");
    for (key, question, state) in [("d", "drain b1?", "disabled"), ("e", "enable b1?", "routable")] {
        terminal.key(key);
        terminal
            .shows(PATIENCE, "it asks", |screen| screen.contains(question))
            .await;
        terminal.key("y");
        terminal.shows(PATIENCE, state, has(state)).await;
        assert_eq!(api.state("b1").await, state);
    }
}

async fn a_thousand() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let registering = (0..8_u16).map(|begin| {
        let mut api = edgeproxy.api();
        tokio::spawn(async move {
            for number in (begin..1_000).step_by(8) {
                let addr = SocketAddr::from(([10, 0, 0, 1], 10_000 + number));
                let registration = Registration::new(&format!("b-{number}"), "shop", addr)
                    .with("ttl_secs", 3_600)
                    .with(
                        "metadata",
                        Value::from_iter([("rack", format!("r{}", number % 7))]),
                    );
                api.register_new(&registration).await;
            }
        })
    });
    for registered in registering.collect::<Vec<_>>() {
        registered.await.expect("they are registered");
    }
    let terminal = watching(edgeproxy.api_addr());
    let soon = Duration::from_secs(5);
    terminal
        .shows(PATIENCE, "all of them", |screen| {
            screen.contains("1000/1000 take traffic") && row(screen, "b-0").is_some()
        })
        .await;
    terminal.key("End");
    terminal
        .shows(soon, "the last one", |screen| {
            row(screen, "b-999").is_some() && row(screen, "b-0").is_none()
        })
        .await;
    terminal.key("/");
    terminal.line("b-77 r0");
    terminal
        .shows(soon, "those that fit", |screen| {
            // Of 77 and 770 to 779 those whose remainder by 7 is 0.
            screen.contains("/b-77 r0 (3)")
                && ["b-77", "b-770", "b-777"]
                    .iter()
                    .all(|id| row(screen, id).is_some())
        })
        .await;
}
