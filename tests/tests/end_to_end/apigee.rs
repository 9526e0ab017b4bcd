//! What `edgeproxy import apigee` writes is run, and does what Apigee's documentation says, mended where that calls it an
//! anti-pattern.

use std::time::Duration;

use edgeproxy_tests::{Backend, Behaviour, Client, Edgeproxy, Load, PATIENCE, Setup, eventually, within};
use http::{Method, Response, StatusCode};
use serde_json::json;
use tokio::process::Command;

/// A set-up with what is written of an endpoint with that balancer, and of target servers that are these backends.
async fn imported(connection: &str, targets: &[&Backend]) -> Setup {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let servers: Vec<_> = targets
        .iter()
        .map(|target| {
            let addr = target.addr();
            json!({"name": target.name(), "host": addr.ip().to_string(), "port": addr.port(), "isEnabled": true})
        })
        .collect();
    let endpoint = format!(
        "<TargetEndpoint name=\"default\">\n<HTTPTargetConnection>\n{connection}\n</HTTPTargetConnection>\n</TargetEndpoint>"
    );
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("the folder can be written to");
    };
    write("targetservers.json", json!(servers).to_string());
    write("default.xml", endpoint);
    let mut import = Command::new(Edgeproxy::binary());
    import
        .args(["import", "apigee", "--region", "eu"])
        .arg(folder.path())
        .env_clear();
    let output = within(PATIENCE, "edgeproxy imports", import.output()).await;
    let output = output.expect("edgeproxy can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    // Findings are what some of these are about; what can't be read would be a mistake of the test.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{told}");
    Edgeproxy::setup().toml(&String::from_utf8_lossy(&output.stdout))
}

/// `<Server name="…"/>` for each, with what is inside of it.
fn servers(inside: &[(&Backend, &str)]) -> String {
    let server = |(target, inside): &(&Backend, &str)| {
        format!("<Server name=\"{}\">{inside}</Server>\n", target.name())
    };
    inside.iter().map(server).collect()
}

async fn two_targets() -> (Backend, Backend) {
    (Backend::start("target1").await, Backend::start("target2").await)
}

async fn statuses(client: &mut Client, requests: usize) -> Vec<StatusCode> {
    let mut statuses = Vec::with_capacity(requests);
    for _ in 0..requests {
        let reply = client.get("shop", "/x?y=1").await.expect("an answer");
        statuses.push(reply.status);
    }
    statuses
}

fn all(statuses: &[StatusCode], wanted: StatusCode) -> bool {
    statuses.iter().all(|status| *status == wanted)
}

fn answering(status: u16) -> Behaviour {
    Behaviour::respond(move |_| {
        Response::builder()
            .status(status)
            .body(Default::default())
            .expect("a legal response")
    })
}

/// "If five consecutive requests fail for target1, it is removed from rotation and all subsequent requests are sent to
/// target2 alone."
#[tokio::test]
async fn max_failures_5_over_two_targets() {
    let (target1, target2) = two_targets().await;
    let balancer = format!(
        "<LoadBalancer>{}<MaxFailures>5</MaxFailures></LoadBalancer>",
        servers(&[(&target1, ""), (&target2, "")])
    );
    let edgeproxy = imported(&balancer, &[&target1, &target2]).await.start().await;
    target1.behave(Behaviour::CloseUnanswered);
    let statuses = statuses(&mut edgeproxy.client(), 40).await;
    assert!(all(&statuses, StatusCode::OK), "{statuses:?}");
    assert_eq!((target1.connections(), target2.requests()), (5, 40));
    let mut api = edgeproxy.api();
    eventually(PATIENCE, "target1 is ejected", async || {
        let state = api.state("target1").await;
        if state == "ejected" { Ok(()) } else { Err(state) }
    })
    .await;
}

/// The anti-pattern: in Apigee 503 until somebody deploys again. Here its users see its own errors, and no longer than those
/// last.
#[tokio::test]
async fn the_single_target_is_never_stuck() {
    let target1 = Backend::start("target1").await;
    let balancer = format!(
        "<LoadBalancer><Algorithm>RoundRobin</Algorithm>{}<MaxFailures>5</MaxFailures></LoadBalancer>",
        servers(&[(&target1, "")])
    );
    let edgeproxy = imported(&balancer, &[&target1]).await.start().await;
    let mut client = edgeproxy.client();
    target1.behave(Behaviour::CloseUnanswered);
    let failed = statuses(&mut client, 20).await;
    assert!(all(&failed, StatusCode::BAD_GATEWAY), "{failed:?}");
    target1.behave(Behaviour::Answer);
    let healed = statuses(&mut client, 20).await;
    assert!(all(&healed, StatusCode::OK), "{healed:?}");
}

/// The recommended practice, with a path.
#[tokio::test]
async fn a_tcp_monitor_every_5_s_brings_a_target_back() {
    let (target1, target2) = two_targets().await;
    let connection = format!(
        "<LoadBalancer><Algorithm>RoundRobin</Algorithm>{}<MaxFailures>5</MaxFailures></LoadBalancer><Path>/test</Path>\
         <HealthMonitor><IsEnabled>true</IsEnabled><IntervalInSec>5</IntervalInSec><TCPMonitor><ConnectTimeoutInSec>10\
         </ConnectTimeoutInSec></TCPMonitor></HealthMonitor>",
        servers(&[(&target1, ""), (&target2, "")])
    );
    let edgeproxy = imported(&connection, &[&target1, &target2]).await.start().await;
    let (mut api, mut client) = (edgeproxy.api(), edgeproxy.client());
    target1.kill().await;
    let statuses = statuses(&mut client, 40).await;
    assert!(all(&statuses, StatusCode::OK), "{statuses:?}");
    assert_eq!(target2.requests(), 40);
    assert_eq!(target2.last_seen().target.to_string(), "/test/x?y=1");
    eventually(PATIENCE, "target1 is out", async || {
        let state = api.state("target1").await;
        if state == "routable" { Err(state) } else { Ok(()) }
    })
    .await;
    target1.listen();
    // Two intervals, and what a busy machine takes.
    let limit = Duration::from_secs(2 * 5 + 5);
    eventually(limit, "target1 takes traffic again", async || {
        let _ = client.get("shop", "/").await.map_err(|error| error.to_string())?;
        match target1.requests() {
            0 => Err("no request".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn weighted_1_to_2() {
    let (target1, target2) = two_targets().await;
    let balancer = format!(
        "<LoadBalancer><Algorithm>Weighted</Algorithm>{}<MaxFailures>0</MaxFailures></LoadBalancer>",
        servers(&[(&target1, "<Weight>1</Weight>"), (&target2, "<Weight>2</Weight>")])
    );
    let edgeproxy = imported(&balancer, &[&target1, &target2]).await.start().await;
    let tally = Load::limited(edgeproxy.proxy(), Method::GET, "shop", 16, 3_000)
        .done()
        .await;
    assert_eq!((tally.ok, tally.failed), (3_000, 0), "{tally:?}");
    let found = (target1.requests(), target2.requests());
    assert!(
        found.0.abs_diff(1_000) <= 2 && found.1.abs_diff(2_000) <= 2,
        "{found:?}"
    );
}

#[tokio::test]
async fn a_fallback_gets_nothing_until_every_other_one_is_out() {
    let (target1, target2) = two_targets().await;
    let target3 = Backend::start("target3").await;
    let balancer = format!(
        "<LoadBalancer>{}<MaxFailures>2</MaxFailures></LoadBalancer>",
        servers(&[
            (&target1, ""),
            (&target2, ""),
            (&target3, "<IsFallback>true</IsFallback>")
        ])
    );
    let edgeproxy = imported(&balancer, &[&target1, &target2, &target3])
        .await
        .start()
        .await;
    let mut client = edgeproxy.client();
    statuses(&mut client, 20).await;
    assert_eq!(
        (target1.requests(), target2.requests(), target3.requests()),
        (10, 10, 0)
    );
    target1.kill().await;
    target2.kill().await;
    eventually(PATIENCE, "the fallback answers", async || {
        let reply = client.get("shop", "/").await.map_err(|error| error.to_string())?;
        if reply.text() == "target3" {
            Ok(())
        } else {
            Err(reply.text().to_owned())
        }
    })
    .await;
    let statuses = statuses(&mut client, 20).await;
    assert!(all(&statuses, StatusCode::OK), "{statuses:?}");
}

#[tokio::test]
async fn server_unhealthy_responses_are_failures() {
    for unhealthy in [404, 500, 502, 503] {
        let (target1, target2) = two_targets().await;
        let balancer = format!(
            "<LoadBalancer>{}<MaxFailures>5</MaxFailures><ServerUnhealthyResponse><ResponseCode>404</ResponseCode>\
             <ResponseCode>500</ResponseCode><ResponseCode>502</ResponseCode><ResponseCode>503</ResponseCode>\
             </ServerUnhealthyResponse></LoadBalancer>",
            servers(&[(&target1, ""), (&target2, "")])
        );
        let edgeproxy = imported(&balancer, &[&target1, &target2]).await.start().await;
        // A status that is not listed is an answer.
        target1.behave(answering(501));
        let mut client = edgeproxy.client();
        let listed = statuses(&mut client, 20).await;
        let answers = listed
            .iter()
            .filter(|status| **status == StatusCode::NOT_IMPLEMENTED);
        assert_eq!((answers.count(), target1.requests()), (10, 10), "{listed:?}");
        target1.behave(answering(unhealthy));
        let after = statuses(&mut client, 40).await;
        assert!(all(&after, StatusCode::OK), "{unhealthy}: {after:?}");
        assert_eq!(target1.requests(), 10 + 5, "{unhealthy}");
    }
}

#[tokio::test]
async fn with_retry_enabled_false_each_failure_is_the_client_s() {
    let (target1, target2) = two_targets().await;
    let balancer = format!(
        "<LoadBalancer>{}<MaxFailures>5</MaxFailures><RetryEnabled>false</RetryEnabled></LoadBalancer>",
        servers(&[(&target1, ""), (&target2, "")])
    );
    let edgeproxy = imported(&balancer, &[&target1, &target2]).await.start().await;
    target1.behave(Behaviour::CloseUnanswered);
    let statuses = statuses(&mut edgeproxy.client(), 40).await;
    let failed = statuses
        .iter()
        .filter(|status| **status == StatusCode::BAD_GATEWAY)
        .count();
    assert_eq!(
        (failed, target1.requests(), target2.requests()),
        (5, 5, 35),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_enabled_gets_nothing() {
    let (target1, target2) = two_targets().await;
    let balancer = format!(
        "<LoadBalancer>{}<MaxFailures>0</MaxFailures></LoadBalancer>",
        servers(&[(&target1, "<IsEnabled>false</IsEnabled>"), (&target2, "")])
    );
    let edgeproxy = imported(&balancer, &[&target1, &target2]).await.start().await;
    let statuses = statuses(&mut edgeproxy.client(), 10).await;
    assert!(all(&statuses, StatusCode::OK), "{statuses:?}");
    assert_eq!((target1.requests(), target2.requests()), (0, 10));
}
