//! Backends at addresses that the proxy must not be made to speak to.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use edgeproxy_tests::Registration;
use http::Method;

use crate::row::{Did, Row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "ssrf-registrations",
        "cloud metadata, the API's own port, unspecified, multicast, mapped and odd addresses",
        |stage| Box::pin(addresses(stage)),
    )
    .quick(),
    Row::new(
        "ssrf-networks",
        "addresses outside `allowed_backend_cidrs`, in disguise",
        |stage| Box::pin(networks(stage)),
    )
    .with(|setup| setup.set("ALLOWED_BACKEND_CIDRS", "127.0.0.0/8,10.1.0.0/16")),
    Row::new(
        "ssrf-same-address",
        "somebody else's address, where only one's own may be registered",
        |stage| Box::pin(same(stage)),
    )
    .with(|setup| setup.set("REGISTER_SOURCE", "same_address")),
    Row::new(
        "api-through-the-proxy",
        "the API asked for at the clients' port, by path and by host",
        |stage| Box::pin(through(stage)),
    )
    .quick(),
];

async fn refused(stage: &Stage, ip: &str, port: &str, statuses: &[u16]) -> Result<()> {
    let body = format!(r#"{{"id":"evil","app":"evil","region":"eu","ip":"{ip}","port":{port}}}"#);
    let reply = stage
        .operator()
        .call(Method::POST, "/api/v1/register", body)
        .await?;
    ensure!(
        statuses.contains(&reply.status.as_u16()),
        "{ip} {port}: {reply:?}"
    );
    Ok(())
}

async fn addresses(stage: &Stage) -> Result<Did> {
    let api = stage.edgeproxy.api_addr().port().to_string();
    let proxy = stage.proxy().port().to_string();
    let mut sent = 0;
    for (ip, port) in [
        ("169.254.169.254", "80"),
        ("169.254.0.1", "80"),
        ("::ffff:169.254.169.254", "80"),
        ("::ffff:a9fe:a9fe", "80"),
        ("fe80::1", "80"),
        ("febf::1", "80"),
        ("fd00:ec2::254%eth0", "80"),
        ("0.0.0.0", "80"),
        ("::", "80"),
        ("::ffff:0.0.0.0", "80"),
        ("0.0.0.1", "80"),
        ("224.0.0.1", "80"),
        ("239.255.255.250", "1900"),
        ("::ffff:224.0.0.1", "80"),
        ("ff02::1", "80"),
        ("255.255.255.255", "80"),
        ("::ffff:255.255.255.255", "80"),
        ("127.0.0.1", &api),
        ("::ffff:127.0.0.1", &api),
        ("127.0.0.1", &proxy),
        ("::ffff:7f00:1", &proxy),
        ("localhost", "80"),
        ("evil.example", "80"),
        ("2130706433", "80"),
        ("0x7f000001", "80"),
        ("127.1", "80"),
        ("0177.0.0.1", "80"),
        ("127.0.0.1 ", "80"),
        ("127.0.0.1\\u0000", "80"),
        ("127.0.0.1:80", "80"),
        ("[::1]", "80"),
        ("127.0.0.1", "0"),
        ("127.0.0.1", "65536"),
        ("127.0.0.1", "-1"),
        ("127.0.0.1", "80.5"),
        ("127.0.0.1", "\"80\""),
        ("\\u0661\\u0662\\u0667.0.0.1", "80"),
    ] {
        refused(stage, ip, port, &[422]).await?;
        sent += 1;
    }
    let reply = stage.operator().get("/api/v1/apps/evil").await?;
    ensure!(reply.status == 404, "something was registered: {reply:?}");
    Ok(Did::new(sent, "422 for each, with the reason"))
}

async fn networks(stage: &Stage) -> Result<Did> {
    let mut sent = 0;
    for ip in [
        "10.2.0.1",
        "192.168.0.1",
        "8.8.8.8",
        "::ffff:10.2.0.1",
        "::1",
        "fd00::1",
        "64:ff9b::a01:1",
        "2002:a01:1::",
    ] {
        refused(stage, ip, "80", &[422]).await?;
        sent += 1;
    }
    let mapped = Registration::new("good", "good", SocketAddr::new("::ffff:10.1.2.3".parse()?, 80));
    let _ = stage.operator().register(&mapped).await?.expect(201);
    Ok(Did::new(
        sent,
        "422 for each; an IPv4 address is the same however it is written",
    ))
}

async fn same(stage: &Stage) -> Result<Did> {
    let mut sent = 0;
    for ip in ["127.0.0.2", "10.0.0.1", "::1"] {
        refused(stage, ip, "80", &[403]).await?;
        sent += 1;
    }
    refused(stage, "127.0.0.1", "9", &[201]).await?;
    // What others say about where it comes from is nothing.
    let body = r#"{"id":"evil-2","app":"evil","region":"eu","ip":"10.0.0.1","port":80}"#;
    for field in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let value = if field == "forwarded" {
            "for=10.0.0.1"
        } else {
            "10.0.0.1"
        };
        let fields = [("content-type", "application/json"), (field, value)];
        let reply = stage
            .operator()
            .ask(Method::POST, "/api/v1/register", &fields, body)
            .await?;
        ensure!(reply.status == 403, "{reply:?}");
        sent += 1;
    }
    Ok(Did::new(sent, "403 for each, whatever `X-Forwarded-For` says"))
}

async fn through(stage: &Stage) -> Result<Did> {
    let api = stage.edgeproxy.api_addr();
    let mut sent = 0;
    for (target, host) in [
        ("/api/v1/backends", "shop".to_owned()),
        ("/metrics", "shop".to_owned()),
        ("/ready", "shop".to_owned()),
        ("/api/v1/register", "shop".to_owned()),
    ] {
        let mut wire = stage.wire().await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        let reply = wire.reply().await?;
        // The backend's own words for it.
        ensure!(reply.status == 200 && reply.text() == target, "{reply:?}");
        sent += 1;
    }
    let _ = stage
        .operator()
        .register(&Registration::new(
            "bank-1",
            "bank",
            SocketAddr::from(([10, 0, 0, 1], 9)),
        ))
        .await?
        .expect(201);
    for host in [
        api.to_string(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "api".to_owned(),
        "[::1]".to_owned(),
        "shop.".to_owned() + "evil",
    ] {
        for target in [
            "/api/v1/backends".to_owned(),
            format!("http://{host}/api/v1/backends"),
        ] {
            let mut wire = stage.wire().await;
            wire.send(
                format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await;
            let reply = wire.reply().await?;
            let is_shop = host == "shop.evil" && reply.status == 200;
            ensure!(is_shop || reply.status == 404, "{host}: {reply:?}");
            sent += 1;
        }
    }
    Ok(Did::new(
        sent,
        "to the app's backend, or 404 `no_route`; never to the API",
    ))
}
