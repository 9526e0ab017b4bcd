//! The dashboard's files, as a browser gets them.

use super::*;
use crate::endpoint::page;

/// Every place that a text names in quotes or brackets as a part of the page.
fn named(text: &str) -> Vec<String> {
    text.split(['"', '\'', '(', ')'])
        .filter_map(|word| word.strip_prefix("/ui/").or(word.strip_prefix("./")))
        .filter(|name| name.contains('.'))
        .map(str::to_owned)
        .collect()
}

async fn text_of(f: &Fixture, path: &str) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder()
        .uri(path)
        .header("host", "localhost")
        .header("accept", "text/html");
    request = request.header("user-agent", "a browser");
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(f.peer));
    let response = f.router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        parts.headers,
        String::from_utf8(bytes.to_vec()).unwrap(),
    )
}

#[tokio::test(start_paused = true)]
async fn the_page_is_whole_and_names_nothing_that_is_not_here() {
    let f = Fixture::new();
    let (status, headers, html) = text_of(&f, "/").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    let (_, _, reference) = text_of(&f, "/docs").await;
    let mut waiting = named(&(html.clone() + &reference));
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let (status, headers, text) = text_of(&f, &format!("/ui/{name}")).await;
        assert_eq!(status, 200, "{name}");
        let media = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(headers["content-type"], media);
        for outside in [
            "http://",
            "https://",
            "@import",
            "innerHTML",
            "document.write",
            "eval(",
        ] {
            let known = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!known.contains(outside), "{name} has {outside}");
        }
        waiting.extend(named(&text));
    }
    // Each part is somebody's.
    let all: std::collections::BTreeSet<String> = page::part_names().map(str::to_owned).collect();
    assert_eq!(seen, all);
    for inline in ["<style", "style=", " onclick", "javascript:"] {
        assert!(!html.contains(inline) && !reference.contains(inline), "{inline}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_policy_allows_nothing_but_the_pages_own_files() {
    let f = Fixture::new();
    for path in ["/", "/docs", "/ui/app.js", "/ui/base.css"] {
        let (_, headers, _) = text_of(&f, path).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert!(policy.contains("require-trusted-types-for 'script'"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_not_sent_again() {
    let f = Fixture::new();
    let (_, headers, text) = text_of(&f, "/ui/app.js").await;
    assert!(!text.is_empty());
    let tag = headers["etag"].to_str().unwrap().to_owned();
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let reply = f
            .send("GET", "/ui/app.js", &[("if-none-match", &known)], "")
            .await;
        assert_eq!(
            (reply.status, reply.headers["etag"].to_str().unwrap()),
            (StatusCode::NOT_MODIFIED, &*tag),
            "{known}"
        );
    }
    let reply = f
        .send("GET", "/ui/app.js", &[("if-none-match", "\"x\"")], "")
        .await;
    assert_eq!(reply.status, 200);
}
