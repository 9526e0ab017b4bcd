//! Pages of other sites, in the browser of somebody who can reach the API.

use anyhow::{Result, ensure};
use edgeproxy_tests::{Registration, Reply};
use http::Method;

use crate::row::{Did, Row};
use crate::stage::{SHOP, SHOP_ID, Stage};

pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "browser-other-origins",
        "changes by pages of other sites, and their preflights",
        |stage| Box::pin(origins(stage)),
    )
    .quick(),
    Row::new(
        "browser-dns-rebinding",
        "changes by a page whose name now leads to the API",
        |stage| Box::pin(rebinding(stage)),
    ),
    Row::new(
        "browser-dashboard",
        "the dashboard framed, sniffed, and asked for other files",
        |stage| Box::pin(dashboard(stage)),
    ),
];

/// Everything that changes something.
fn changes(stage: &Stage) -> Vec<(Method, String, String)> {
    let registration = Registration::new("evil", SHOP, stage.origin.addr).to_json();
    vec![
        (Method::POST, "/api/v1/register".to_owned(), registration),
        (
            Method::POST,
            format!("/api/v1/heartbeat/{SHOP_ID}"),
            r#"{"draining":true}"#.to_owned(),
        ),
        (
            Method::DELETE,
            format!("/api/v1/backends/{SHOP_ID}"),
            String::new(),
        ),
        (
            Method::PATCH,
            format!("/api/v1/backends/{SHOP_ID}"),
            r#"{"enabled":false}"#.to_owned(),
        ),
    ]
}

fn shares_nothing(reply: &Reply) -> Result<()> {
    let shared = reply
        .headers
        .keys()
        .find(|name| name.as_str().starts_with("access-control-"));
    ensure!(shared.is_none(), "{shared:?} is sent: {reply:?}");
    Ok(())
}

async fn unchanged(stage: &Stage) -> Result<()> {
    let shop = stage
        .operator()
        .get(&format!("/api/v1/backends/{SHOP_ID}"))
        .await?
        .expect(200)
        .json();
    ensure!(shop["state"] == "routable", "{shop}");
    let evil = stage.operator().get("/api/v1/backends/evil").await?;
    ensure!(evil.status == 404, "{evil:?}");
    Ok(())
}

async fn origins(stage: &Stage) -> Result<Did> {
    let api = stage.edgeproxy.api_addr();
    let own = format!("http://{api}");
    let origins = [
        "http://evil.example".to_owned(),
        "null".to_owned(),
        "file://".to_owned(),
        "chrome-extension://abc".to_owned(),
        format!("{own}.evil.example"),
        format!("{own}@evil.example"),
        format!("http://evil.example#{own}"),
        format!("http://127.0.0.1:{}", api.port() ^ 1),
        "http://localhost".to_owned(),
        format!("{own} http://evil.example"),
        String::new(),
    ];
    let mut sent = 0;
    for (method, path, body) in changes(stage) {
        for origin in &origins {
            let fields = [("content-type", "application/json"), ("origin", origin.as_str())];
            let reply = stage
                .operator()
                .ask(method.clone(), &path, &fields, body.clone())
                .await?;
            ensure!(reply.status == 403, "{method} {path} from {origin:?}: {reply:?}");
            shares_nothing(&reply)?;
            sent += 1;
        }
        // What a form may send without being asked.
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let fields = [("content-type", kind), ("origin", "http://evil.example")];
            let reply = stage
                .operator()
                .ask(method.clone(), &path, &fields, body.clone())
                .await?;
            ensure!(
                reply.status == 403 || reply.status == 415,
                "{method} {path} as {kind}: {reply:?}"
            );
            sent += 1;
        }
        let asks = [
            ("origin", "http://evil.example"),
            ("access-control-request-method", method.as_str()),
            ("access-control-request-headers", "content-type"),
            ("access-control-request-private-network", "true"),
        ];
        let reply = stage.operator().ask(Method::OPTIONS, &path, &asks, "").await?;
        shares_nothing(&reply)?;
        sent += 1;
    }
    let reply = stage
        .operator()
        .ask(
            Method::GET,
            "/api/v1/backends",
            &[("origin", "http://evil.example")],
            "",
        )
        .await?;
    shares_nothing(&reply)?;
    unchanged(stage).await?;
    Ok(Did::new(
        sent + 1,
        "403, or 415; no preflight is granted, and no answer shared",
    ))
}

async fn rebinding(stage: &Stage) -> Result<Did> {
    let port = stage.edgeproxy.api_addr().port();
    let mut sent = 0;
    for (method, path, body) in changes(stage) {
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            format!("127.0.0.1.evil.example:{port}"),
            format!("localhost.evil.example:{port}"),
            "evil.example.".to_owned(),
            format!("1.0.0.127.in-addr.arpa:{port}"),
            "0x7f000001.evil".to_owned(),
        ] {
            let origin = format!("http://{host}");
            let fields = [
                ("content-type", "application/json"),
                ("host", host.as_str()),
                ("origin", origin.as_str()),
            ];
            let reply = stage
                .operator()
                .ask(method.clone(), &path, &fields, body.clone())
                .await?;
            ensure!(reply.status == 403, "{method} {path} for {host}: {reply:?}");
            sent += 1;
        }
    }
    unchanged(stage).await?;
    Ok(Did::new(
        sent,
        "403 for each: the page's own name is in `Host`, and it isn't the API's",
    ))
}

async fn dashboard(stage: &Stage) -> Result<Did> {
    let mut operator = stage.operator();
    let mut sent = 0;
    for path in ["/", "/docs"] {
        let reply = operator.get(path).await?.expect(200);
        let policy = reply
            .header("content-security-policy")
            .unwrap_or_default()
            .to_owned();
        ensure!(
            policy.contains("frame-ancestors 'none'"),
            "{path} may be framed: {policy:?}"
        );
        ensure!(
            !policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"),
            "{policy:?}"
        );
        ensure!(
            policy.contains("default-src 'none'") || policy.contains("default-src 'self'"),
            "{policy:?}"
        );
        ensure!(
            reply.header("x-content-type-options") == Some("nosniff"),
            "{path}: {:?}",
            reply.headers
        );
        sent += 1;
    }
    for path in [
        "/ui/../../../../etc/passwd",
        "/ui/..%2f..%2f..%2fetc%2fpasswd",
        "/ui/%2e%2e/%2e%2e/etc/passwd",
        "/ui/....//....//etc/passwd",
        "/ui//etc/passwd",
        "/ui/..%5c..%5cetc%5cpasswd",
        "/ui/index.html%00.js",
        "/ui/.%00./Cargo.toml",
        "/../edgeproxy.toml",
        "/.git/config",
        "/api/v1/backends/..%2f..%2fhealth",
        "/api/v1/backends/%2e%2e",
    ] {
        let reply = operator.get(path).await?;
        ensure!(matches!(reply.status.as_u16(), 400 | 404), "{path}: {reply:?}");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        ensure!(
            !text.contains("root:") && !text.contains("[package]"),
            "{path}: {text}"
        );
        sent += 1;
    }
    Ok(Did::new(
        sent,
        "no frame, no inline script, no sniffing; 404, or 400, for whatever isn't one of its files",
    ))
}
