//! The tutorial, command by command, and what it says that they print.

use std::time::Duration;

use edgeproxy_tests::page;

const TUTORIAL: &str = include_str!("../../../docs/tutorial.md");
const EM_PORTUGUES: &str = include_str!("../../../docs/pt-BR/tutorial.md");

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
