//! What becomes of a hand-over that fails: always one of the two serves.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use edgeproxy_tests::{Backend, Client, Edgeproxy, PATIENCE, Setup, within};
use rustix::process::Signal;

use super::{listed, logged};

async fn world() -> (Backend, Setup) {
    let backend = Backend::start("b").await;
    let setup = Edgeproxy::setup().toml(&listed("b", "shop", backend.addr()));
    (backend, setup)
}

async fn serves(edgeproxy: &Edgeproxy) {
    for _ in 0..4 {
        let reply = Client::new(edgeproxy.proxy()).get("shop", "/").await;
        let _ = reply.expect("an answer").expect(200);
    }
    let _ = edgeproxy.api().get("/ready").await.expect(200);
}

#[tokio::test]
async fn a_new_process_with_a_broken_configuration_leaves_the_old_one_as_it_was() {
    let (backend, setup) = world().await;
    let mut edgeproxy = setup.start().await;
    let mut kept = edgeproxy.client();
    let _ = kept.get("shop", "/").await.expect("an answer").expect(200);
    edgeproxy.rewrite("max_failures = = 1\n");
    edgeproxy.signal(Signal::USR2);
    let line = logged(&edgeproxy, "not handed over").await;
    assert!(
        line.contains("exit status: 2") && line.contains("this process goes on"),
        "{line}"
    );
    logged(&edgeproxy, "edgeproxy.toml:1").await;
    serves(&edgeproxy).await;
    let reply = kept.get("shop", "/").await.expect("an answer").expect(200);
    assert_eq!(
        reply.header("connection"),
        None,
        "nothing has changed for its clients"
    );
    let registered = edgeproxy_tests::Registration::new("new", "shop", backend.addr());
    edgeproxy.api().register_new(&registered).await;
    // And it can be asked again.
    edgeproxy.rewrite(&listed("b", "shop", backend.addr()));
    edgeproxy.hand_over().await;
    serves(&edgeproxy).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_to_the_old_process_which_goes_on() {
    let (backend, setup) = world().await;
    let edgeproxy = setup.start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let addr = taken.local_addr().expect("it is bound");
    edgeproxy.rewrite(&format!(
        "{}[[listeners]]\nname = \"inner\"\naddr = \"{addr}\"\nprotocol = \"http\"\n",
        listed("b", "shop", backend.addr())
    ));
    edgeproxy.signal(Signal::USR2);
    let line = logged(&edgeproxy, "not handed over").await;
    assert!(
        line.contains("refused") && line.contains(&addr.to_string()),
        "{line}"
    );
    serves(&edgeproxy).await;
}

/// A proxy whose successors are what the test puts in the place of its binary.
struct Gated {
    backend: Backend,
    edgeproxy: Edgeproxy,
    folder: PathBuf,
}

impl Gated {
    async fn start() -> Self {
        let (backend, setup) = world().await;
        // The folder is known only from within, and nothing else is to be found by that name.
        let script = format!(
            "mkdir bin && ln -s {} bin/edgeproxy && mkfifo gate
             export EDGEPROXY_LISTEN_ADDR=127.0.0.1:0 EDGEPROXY_WORKERS=2
             export EDGEPROXY_API_ENABLED=true EDGEPROXY_API_LISTEN_ADDR=127.0.0.1:0
             export EDGEPROXY_STORE=file EDGEPROXY_DATA_DIR=state
             PATH=$PWD/bin:${{PATH#*:}} exec edgeproxy run",
            Edgeproxy::binary().display()
        );
        let edgeproxy = setup.start_by_shell(&script).await;
        let folder = edgeproxy.config().parent().expect("it is in a folder").to_owned();
        Self {
            backend,
            edgeproxy,
            folder,
        }
    }

    /// Puts a script in the place of the binary, as an upgrade puts another one.
    fn upgrade(&self, script: &str) {
        let (beside, binary) = (self.folder.join("bin/next"), self.folder.join("bin/edgeproxy"));
        std::fs::write(&beside, script).expect("the folder can be written to");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&beside, mode).expect("it can be made executable");
        std::fs::rename(beside, binary).expect("the folder can be written to");
    }

    /// Asks for a hand-over to a process that waits until [`open`](Self::open), and returns its id.
    async fn hand_over_to_one_that_waits(&self) -> u32 {
        let real = Edgeproxy::binary();
        self.upgrade(&format!(
            "#!/bin/sh\nread -r _ < gate\nexec {} \"$@\"\n",
            real.display()
        ));
        self.edgeproxy.signal(Signal::USR2);
        logged(&self.edgeproxy, "a new process was started").await;
        *self.edgeproxy.started().last().expect("there is one")
    }

    /// Lets it go on.
    async fn open(&self) {
        let gate = self.folder.join("gate");
        let opening = tokio::task::spawn_blocking(move || std::fs::write(gate, "\n"));
        let opened = within(PATIENCE, "it waits at the gate", opening).await;
        opened.expect("no panic").expect("it can be opened");
    }
}

#[tokio::test]
async fn a_new_process_that_is_killed_before_it_serves_leaves_the_old_one_as_it_was() {
    let gated = Gated::start().await;
    let new = gated.hand_over_to_one_that_waits().await;
    gated.edgeproxy.signal_to(new, Signal::KILL);
    let line = logged(&gated.edgeproxy, "not handed over").await;
    assert!(line.contains("signal: 9"), "{line}");
    serves(&gated.edgeproxy).await;
}

/// It says that it could serve, so that the old one changes nothing any more, and ends.
#[tokio::test]
async fn a_new_process_that_ends_when_it_has_the_state_leaves_the_old_one_as_it_was() {
    let gated = Gated::start().await;
    gated.upgrade(
        r#"#!/usr/bin/env python3
import json, os, socket, sys
channel = socket.socket(fileno=os.dup(0))
def receive():
    head, _, _, _ = channel.recvmsg(4, 1024)
    while len(head) < 4: head += channel.recv(4 - len(head))
    left, text = int.from_bytes(head, "big"), b""
    while len(text) < left: text += channel.recv(left - len(text))
    return json.loads(text)
def send(message):
    text = json.dumps(message).encode()
    channel.sendall(len(text).to_bytes(4, "big") + text)
offer = receive()
for _ in range(offer["sockets"]): assert receive()["is"] == "socket"
send({"is": "prepared", "untaken": []})
assert receive()["is"] == "state"
sys.exit(7)
"#,
    );
    gated.edgeproxy.signal(Signal::USR2);
    let line = logged(&gated.edgeproxy, "not handed over").await;
    assert!(line.contains("exit status: 7"), "{line}");
    serves(&gated.edgeproxy).await;
    let registered = edgeproxy_tests::Registration::new("late", "shop", gated.backend.addr());
    let registered = gated.edgeproxy.api().register_new(&registered).await;
    let warned = registered["warnings"].as_array().map_or(0, Vec::len);
    assert_eq!(warned, 0, "it has the store again: {registered}");
}

#[tokio::test]
async fn a_binary_that_is_gone_is_named_and_the_old_process_goes_on() {
    let gated = Gated::start().await;
    std::fs::remove_file(gated.folder.join("bin/edgeproxy")).expect("it is there");
    gated.upgrade("#!/no/such/interpreter\n");
    gated.edgeproxy.signal(Signal::USR2);
    let line = logged(&gated.edgeproxy, "not handed over").await;
    assert!(line.contains("edgeproxy can't be started"), "{line}");
    serves(&gated.edgeproxy).await;
}

#[tokio::test]
async fn a_second_hand_over_while_one_is_under_way_is_refused_with_the_reason() {
    let gated = Gated::start().await;
    gated.hand_over_to_one_that_waits().await;
    gated.edgeproxy.signal(Signal::USR2);
    logged(
        &gated.edgeproxy,
        "not handed over again: a hand-over is under way",
    )
    .await;
    gated.edgeproxy.signal(Signal::HUP);
    logged(
        &gated.edgeproxy,
        "the configuration is not read again: a hand-over is under way",
    )
    .await;
    serves(&gated.edgeproxy).await;
    gated.open().await;
    logged(&gated.edgeproxy, "this one serves").await;
    serves(&gated.edgeproxy).await;
    let mut gated = gated;
    assert_eq!(gated.edgeproxy.ended(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn an_old_process_that_is_killed_meanwhile_is_replaced_all_the_same() {
    let mut gated = Gated::start().await;
    gated.hand_over_to_one_that_waits().await;
    logged(&gated.edgeproxy, "the sockets were offered").await;
    gated.edgeproxy.signal(Signal::KILL);
    let status = gated.edgeproxy.ended(PATIENCE).await;
    assert_eq!(status.code(), None, "a signal has ended it");
    gated.open().await;
    logged(&gated.edgeproxy, "going on alone").await;
    logged(&gated.edgeproxy, "this one serves").await;
    serves(&gated.edgeproxy).await;
}

#[tokio::test]
async fn a_signal_to_end_ends_a_hand_over_that_is_under_way() {
    let mut gated = Gated::start().await;
    let new = gated.hand_over_to_one_that_waits().await;
    gated.edgeproxy.signal(Signal::TERM);
    assert_eq!(gated.edgeproxy.ended(PATIENCE).await.code(), Some(0));
    gated.edgeproxy.gone(new, PATIENCE).await;
}

#[tokio::test]
async fn another_number_of_workers_accepts_on_every_socket() {
    let (backend, setup) = world().await;
    let text = |workers: usize| format!("workers = {workers}\n{}", listed("b", "shop", backend.addr()));
    let mut edgeproxy = setup.unset("WORKERS").toml(&text(3)).start().await;
    for workers in [1, 4, 2] {
        edgeproxy.rewrite(&text(workers));
        edgeproxy.hand_over().await;
        // The system spreads them among the three sockets that there were at first.
        for number in 0..30 {
            let reply = Client::new(edgeproxy.proxy()).get("shop", "/").await;
            let reply = within(PATIENCE, "an answer", std::future::ready(reply)).await;
            let reply =
                reply.unwrap_or_else(|error| panic!("{workers} workers, request {number}: {error:#}"));
            let _ = reply.expect(200);
        }
    }
}
