//! The agent before an API that takes tokens, TLS and certificates.

use edgeproxy_tests::{AgentProcess, Backend, Edgeproxy, PATIENCE, Reply, Setup, curl, eventually};
use rustix::process::Signal;

use super::says;
use crate::access::Files;

/// An API inside TLS that takes tokens.
fn encrypted(files: &Files) -> Setup {
    files.certificates();
    files
        .setup()
        .set("API_TLS_CERT", &files.text("api.pem"))
        .set("API_TLS_KEY", &files.text("api.key"))
}

/// An agent for a server of the app `shop` that runs already.
fn agent(edgeproxy: &Edgeproxy, scheme: &str, server: &Backend, more: &[&str]) -> AgentProcess {
    let (api, port) = (
        format!("{scheme}://{}", edgeproxy.api_addr()),
        server.addr().port().to_string(),
    );
    let flags = [
        "--api", &api, "--app", "shop", "--region", "eu", "--id", "b-1", "--port", &port,
    ];
    AgentProcess::start(
        &[&flags[..], &["--ttl", "5s", "--drain", "1s"], more].concat(),
        &[],
    )
}

/// What the API says of the agent's backend.
async fn listed(edgeproxy: &Edgeproxy, token: &str, more: &[&str]) -> Reply {
    let scheme = if more.is_empty() { "http" } else { "https" };
    let url = format!("{scheme}://{}/api/v1/backends/b-1", edgeproxy.api_addr());
    let header = format!("Authorization: Bearer {token}");
    curl(&[&["-H", &header, &url][..], more].concat()).await
}

/// SIGTERM takes it out, and ends it.
async fn leaves(mut agent: AgentProcess) {
    agent.signal(Signal::TERM);
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(0), "{}", agent.logs().text());
}

/// It ends by itself, and says why.
async fn is_refused(mut agent: AgentProcess, why: &str) {
    let ended = agent.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(125), "{}", agent.logs().text());
    says(&agent, why).await;
}

#[tokio::test]
async fn an_agent_with_a_token_and_the_authority_is_registered_inside_tls_and_taken_out() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let operator = files.token("operator", "operate", "*").await;
    let edgeproxy = encrypted(&files).start().await;
    let server = Backend::start("b-1").await;
    let (token, ca) = (files.text("agent"), files.text("ca.pem"));
    let flags = ["--token-file", &token, "--ca-file", &ca];
    let agent = agent(&edgeproxy, "https", &server, &flags);
    says(&agent, "registered b-1").await;
    let cacert = ["--cacert", &ca];
    let _ = listed(&edgeproxy, &operator, &cacert).await.expect(200);
    leaves(agent).await;
    let _ = listed(&edgeproxy, &operator, &cacert).await.expect(404);
}

#[tokio::test]
async fn an_agent_with_a_certificate_needs_no_token() {
    let files = Files::new();
    let operator = files.token("operator", "operate", "*").await;
    let tokens = std::fs::read_to_string(files.path("tokens.toml")).expect("it was written");
    let certificates = "\n[[certificates]]\nname = \"agents\"\nsubject = \"spiffe://prod/agents/*\"\nrole = \"register\"\n\
                        app = \"shop\"\n";
    files.write("tokens.toml", &format!("{tokens}{certificates}"));
    let setup = encrypted(&files).set("API_TLS_CLIENT_CA", &files.text("ca.pem"));
    let edgeproxy = setup.set("API_TLS_CLIENT_AUTH", "optional").start().await;
    let server = Backend::start("b-1").await;
    let (ca, cert, key) = (
        files.text("ca.pem"),
        files.text("agent.pem"),
        files.text("agent.key"),
    );
    let flags = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let registered = agent(&edgeproxy, "https", &server, &flags);
    says(&registered, "registered b-1").await;
    let _ = listed(&edgeproxy, &operator, &["--cacert", &ca])
        .await
        .expect(200);
    leaves(registered).await;

    // One of the same authority that nobody has granted anything.
    let (cert, key) = (files.text("other.pem"), files.text("other.key"));
    let flags = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let other = agent(&edgeproxy, "https", &server, &flags);
    is_refused(
        other,
        "403: the certificate is for other.internal; none of that is a subject",
    )
    .await;
}

#[tokio::test]
async fn an_agent_that_may_not_register_this_app_ends_and_says_why() {
    let files = Files::new();
    let _ = files.token("banker", "register", "bank").await;
    let _ = files.token("reader", "read", "*").await;
    let edgeproxy = files.setup().start().await;
    let server = Backend::start("b-1").await;
    files.write("wrong", "edgeproxy_wrong\n");
    for (token, why) in [
        (
            Some("banker"),
            "403: the token \"banker\" is for app bank, not for \"shop\"",
        ),
        (Some("reader"), "403: "),
        (Some("wrong"), "401: the token is none of those that are known"),
        (None, "401: this API takes a token"),
    ] {
        let file = token.map(|name| files.text(name));
        let flags: Vec<&str> = file.iter().flat_map(|file| ["--token-file", file]).collect();
        is_refused(agent(&edgeproxy, "http", &server, &flags), why).await;
    }
}

#[tokio::test]
async fn a_token_that_is_replaced_costs_the_agent_nothing() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let edgeproxy = files.setup().start().await;
    let server = Backend::start("b-1").await;
    let token = files.text("agent");
    let agent = agent(&edgeproxy, "http", &server, &["--token-file", &token]);
    says(&agent, "registered b-1").await;
    files.write("tokens.toml", "");
    let operator = files.token("operator", "operate", "*").await;
    // The old one is worth nothing any more, which the next heartbeat is told.
    says(&agent, "401: the token is none of those that are known").await;
    let _ = files.token("agent", "register", "shop").await;
    says(&agent, "after the trouble began").await;
    let (_, _) = eventually(PATIENCE, "it is registered", async || {
        let reply = listed(&edgeproxy, &operator, &[]).await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply.text().to_owned())
        }
    })
    .await;
    leaves(agent).await;
}

#[tokio::test]
async fn an_agent_that_does_not_trust_the_apis_certificate_says_so_and_goes_on_trying() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let edgeproxy = encrypted(&files).start().await;
    let server = Backend::start("b-1").await;
    let others = Files::new();
    others.certificates();
    let (token, ca) = (files.text("agent"), others.text("ca.pem"));
    let flags = ["--token-file", &token, "--ca-file", &ca];
    let agent = agent(&edgeproxy, "https", &server, &flags);
    says(&agent, "certificate").await;
    // It was never registered, so there is nothing to be taken out.
    leaves(agent).await;
}

#[tokio::test]
async fn an_agent_without_the_certificate_that_is_required_says_so_and_goes_on_trying() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let setup = encrypted(&files).set("API_TLS_CLIENT_CA", &files.text("ca.pem"));
    let edgeproxy = setup.start().await;
    let server = Backend::start("b-1").await;
    let (token, ca) = (files.text("agent"), files.text("ca.pem"));
    let flags = ["--token-file", &token, "--ca-file", &ca];
    let agent = agent(&edgeproxy, "https", &server, &flags);
    says(&agent, "ertificate").await;
    leaves(agent).await;
}

#[tokio::test]
async fn an_agent_that_speaks_http_to_an_api_inside_tls_is_told_to_use_https() {
    let files = Files::new();
    let _ = files.token("agent", "register", "shop").await;
    let edgeproxy = encrypted(&files).start().await;
    let server = Backend::start("b-1").await;
    let token = files.text("agent");
    let told = agent(&edgeproxy, "http", &server, &["--token-file", &token]);
    is_refused(told, "400: this port speaks TLS; use https:// instead of http://").await;
}
