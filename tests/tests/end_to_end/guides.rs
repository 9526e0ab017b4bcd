//! The how-to guides, command by command, and what they say that is printed. That of several regions takes etcd and is among
//! the tests that share one.

use std::time::Duration;

use edgeproxy_tests::page;

/// All commands of a guide together.
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_guide_to_canaries_is_executed_command_by_command() {
    let guide = include_str!("../../../docs/canaries.md");
    page::run(guide, &["8080", "8081", "9001", "9002", "9003"], LIMIT).await;
}

#[tokio::test]
async fn the_guide_to_tls_is_executed_command_by_command() {
    let guide = include_str!("../../../docs/tls.md");
    page::run(guide, &["8081", "8443", "8444", "9001"], LIMIT).await;
}

#[tokio::test]
async fn the_guide_to_deploys_is_executed_command_by_command_and_no_request_fails_in_it() {
    let guide = include_str!("../../../docs/deploys.md");
    let ports = ["8080", "8081", "9001", "9002", "9003", "9004"];
    page::run(guide, &ports, LIMIT).await;
}

/// The words that begin so.
fn named<'p>(page: &'p str, begin: &'p str) -> impl Iterator<Item = &'p str> {
    page.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(move |word| word.starts_with(begin))
}

#[test]
fn the_runbook_names_metrics_that_there_are_and_every_alert() {
    let runbook = include_str!("../../../docs/runbook.md");
    let metrics = include_str!("../../../docs/metrics.md");
    let alerts = include_str!("../../../docs/metrics/alerts.yml");
    assert!(named(runbook, "edgeproxy_").count() > 20);
    // That is where log levels are set.
    for metric in named(runbook, "edgeproxy_").filter(|word| *word != "edgeproxy_proxy") {
        assert!(metrics.contains(&format!("| `{metric}` |")), "{metric}");
    }
    for line in alerts.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            assert!(runbook.contains(&format!("`{alert}`")), "{alert}");
        }
    }
    for alert in named(runbook, "Edgeproxy") {
        assert!(alerts.contains(&format!("- alert: {alert}\n")), "{alert}");
    }
}
