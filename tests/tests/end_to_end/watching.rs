//! `edgeproxy events` and `edgeproxy top`, as a script or a person without a terminal meets them.

use std::process::Stdio;

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, Passing, Registration, Relay, within};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

fn edgeproxy(port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(Edgeproxy::binary());
    command
        .args(args)
        .env_clear()
        .env("EDGEPROXY_API", format!("http://127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What was printed on standard output, and on standard error; and the exit code.
async fn ask(port: u16, args: &[&str]) -> (String, String, Option<i32>) {
    let output = within(PATIENCE, "it ends", edgeproxy(port, args).output()).await;
    let output = output.expect("edgeproxy can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what is printed is text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// One that follows.
struct Following {
    _child: Child,
    out: Lines<BufReader<ChildStdout>>,
    told: Lines<BufReader<ChildStderr>>,
}

impl Following {
    fn start(port: u16, args: &[&str]) -> Self {
        let mut child = edgeproxy(port, args).spawn().expect("edgeproxy can be started");
        let out = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        let told = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        Self {
            _child: child,
            out,
            told,
        }
    }

    async fn line(&mut self) -> String {
        let line = within(PATIENCE, "a line is printed", self.out.next_line()).await;
        line.expect("it can be read").expect("it goes on")
    }

    async fn event(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// The next line on standard error that has this in it.
    async fn told(&mut self, part: &str) -> String {
        within(PATIENCE, part, async {
            loop {
                let line = self.told.next_line().await.expect("it can be read");
                let line = line.expect("it goes on");
                if line.contains(part) {
                    return line;
                }
            }
        })
        .await
    }
}

fn about(event: &Value) -> (&str, &str) {
    let text = |member: &str| event[member].as_str().unwrap_or_default();
    (text("type"), text("backend"))
}

#[tokio::test]
async fn events_are_printed_for_people_and_for_scripts() {
    let running = Edgeproxy::setup().start().await;
    let port = running.api_addr().port();
    let (printed, told, code) = ask(port, &["events"]).await;
    assert_eq!(
        (printed.as_str(), told.as_str(), code),
        ("", "nothing of that kind has happened lately\n", Some(0))
    );
    let backend = Backend::start("b").await;
    let mut api = running.api();
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    api.register_new(&Registration::new("b2", "search", backend.addr()))
        .await;
    let _ = api.patch("b1", &json!({"enabled": false})).await.expect(200);
    let (printed, told, code) = ask(port, &["events"]).await;
    assert_eq!((told.as_str(), code), ("", Some(0)));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    assert!(
        lines[0].ends_with("  registered  shop/b1    takes traffic"),
        "{printed}"
    );
    assert!(
        lines[1].ends_with("  registered  search/b2  takes traffic"),
        "{printed}"
    );
    assert!(
        lines[2].ends_with("  changed     shop/b1    disabled by an operator"),
        "{printed}"
    );
    let (printed, _, _) = ask(
        port,
        &["events", "--app", "shop", "--type", "registered", "--json"],
    )
    .await;
    let events: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(
        events.iter().map(about).collect::<Vec<_>>(),
        [("registered", "b1")]
    );
    // What came after one.
    let id = events[0]["id"].as_str().expect("an event has an id");
    let (printed, told, _) = ask(port, &["events", "--since", id]).await;
    assert_eq!((printed.lines().count(), told.as_str()), (2, ""), "{printed}");
    let (_, told, _) = ask(port, &["events", "--since", "0-1"]).await;
    assert!(told.contains("not kept any more"), "{told}");
    for args in [
        &["events", "--type", "explosions"][..],
        &["events", "--since", "yesterday"],
    ] {
        let (_, told, code) = ask(port, args).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("expected"), "{told}");
    }
}

#[tokio::test]
async fn events_that_happened_while_the_connection_was_broken_are_printed_once_it_is_there_again() {
    let running = Edgeproxy::setup().start().await;
    let backend = Backend::start("b").await;
    let mut api = running.api();
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    let relay = Relay::before(running.api_addr().port()).await;
    let mut following = Following::start(relay.port(), &["events", "--follow", "--json"]);
    assert_eq!(about(&following.event().await), ("registered", "b1"));
    // It follows: what happens is printed.
    api.register_new(&Registration::new("b2", "shop", backend.addr()))
        .await;
    assert_eq!(about(&following.event().await), ("registered", "b2"));
    relay.set(Passing::Neither);
    relay.cut();
    following.told("no connection since").await;
    for id in ["b3", "b4"] {
        api.register_new(&Registration::new(id, "shop", backend.addr()))
            .await;
    }
    relay.set(Passing::Both);
    following.told("connected again").await;
    for id in ["b3", "b4"] {
        assert_eq!(about(&following.event().await), ("registered", id));
    }
}

#[tokio::test]
async fn events_of_another_process_are_told_as_a_reset() {
    let running = Edgeproxy::setup().start().await;
    let api = running.api_addr();
    let backend = Backend::start("b").await;
    let registration = Registration::new("b1", "shop", backend.addr());
    running.api().register_new(&registration).await;
    let mut following = Following::start(api.port(), &["events", "--follow"]);
    assert!(following.line().await.contains("  registered  shop/b1"));
    let setup = running.killed().await;
    following.told("no connection since").await;
    let running = setup.set("API_LISTEN_ADDR", &api.to_string()).start().await;
    let reset = following.line().await;
    assert!(
        reset.contains("  reset ") && reset.contains("read /api/v1/backends anew"),
        "{reset}"
    );
    running
        .api()
        .register_new(&Registration::new("b2", "shop", backend.addr()))
        .await;
    loop {
        // Whether the first one comes back from the store is another matter.
        if following.line().await.contains("  registered  shop/b2") {
            break;
        }
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_what_follows() {
    let running = Edgeproxy::setup().start().await;
    let mut api = running.api();
    let backend = Backend::start("b").await;
    let mut child = edgeproxy(running.api_addr().port(), &["events", "-f", "-n", "0"])
        .spawn()
        .expect("edgeproxy can be started");
    drop(child.stdout.take());
    let ended = async {
        loop {
            let _ = api
                .register(&Registration::new("b1", "shop", backend.addr()))
                .await;
            let _ = api.delete("b1", "").await;
            if let Ok(Some(status)) = child.try_wait() {
                return status;
            }
        }
    };
    let status = within(PATIENCE, "it ends", ended).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn top_without_a_terminal_is_refused_with_what_there_is_instead() {
    let running = Edgeproxy::setup().start().await;
    let (printed, told, code) = ask(running.api_addr().port(), &["top"]).await;
    assert_eq!((printed.as_str(), code), ("", Some(2)));
    assert_eq!(
        told,
        "edgeproxy: top draws on a terminal, and its standard output is none; without one there are `edgeproxy backends` \
         and `edgeproxy events --follow`\n"
    );
}
