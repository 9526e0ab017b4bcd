//! The tutorial and the README, command by command, and what they say that they print.

use std::time::Duration;

use edgeproxy_tests::page;

const TUTORIAL: &str = include_str!("../../../docs/tutorial.md");
const EM_PORTUGUES: &str = include_str!("../../../docs/pt-BR/tutorial.md");

const README: &str = include_str!("../../../README.md");
const LEIAME: &str = include_str!("../../../docs/pt-BR/README.md");

/// Ports that the text names.
const PORTS: [&str; 5] = ["8080", "8081", "9001", "9002", "9003"];

/// All commands together.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_tutorial_is_executed_command_by_command() {
    assert!(page::steps(TUTORIAL).len() > 15);
    page::run(TUTORIAL, &PORTS, LIMIT).await;
}

#[test]
fn the_tutorial_in_portuguese_has_the_same_commands_and_prints() {
    assert_eq!(page::steps(EM_PORTUGUES), page::steps(TUTORIAL));
}

/// The commands of a README that put a server of one's own behind the proxy, but for the first two, which build it.
fn beginning<'a>(readme: &'a str, heading: &str) -> &'a str {
    let (_, section) = readme.split_once(heading).expect("the section is there");
    let (_, block) = section.split_once("```sh\n").expect("it has commands");
    let (commands, _) = block.split_once("```").expect("they end");
    assert!(
        commands.lines().count() <= 5,
        "with the clone before them six at the most"
    );
    let rest = commands
        .strip_prefix("cargo build --release --package edgeproxy --package edgeproxy-agent-bin\n")
        .and_then(|rest| rest.strip_prefix("export PATH=\"$PWD/target/release:$PATH\"\n"));
    rest.expect("it is built first")
}

#[tokio::test]
async fn the_readme_s_commands_put_a_server_of_one_s_own_behind_the_proxy() {
    let beginnings = [
        beginning(README, "\n## Put your own server behind it\n"),
        beginning(LEIAME, "\n## Um servidor seu atrás dele\n"),
    ];
    for commands in beginnings {
        // Beside others that may use the usual addresses, and without what an earlier try has left.
        let page = format!(
            "```sh\nexport EDGEPROXY_LISTEN_ADDR=127.0.0.1:8080 EDGEPROXY_DATA_DIR=data\n```\n\
             ```sh\n{commands}```\n```text\n…Directory listing for /…\n```\n\
             ```sh\nedgeproxy backends --json | grep -c '\"state\": \"routable\"'\nkill %2\nwait %2 || true\nkill %1\nwait %1\n```\n\
             ```text\n1\n```\n"
        );
        page::run(&page, &["8080", "8081", "9000"], LIMIT).await;
    }
}
