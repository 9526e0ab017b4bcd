//! Each client before each backend: bodies of known and unknown length both ways, trailers, answers without a body,
//! expectations; on one connection wherever that may be.

use std::time::Duration;

use edgeproxy_tests::{Edgeproxy, ForeignBackend, foreign_client, has, shell};

use crate::stage::{before, script};

/// Bytes of each body; `EDGEPROXY_TEST_BODY_BYTES` sets another number, such as 1073741824.
fn body_bytes() -> u64 {
    std::env::var("EDGEPROXY_TEST_BODY_BYTES").map_or(64 << 20, |bytes| {
        bytes.parse().expect("EDGEPROXY_TEST_BODY_BYTES is a number")
    })
}

/// A second for each 4 MiB, which is slow even for a build without optimisation, and some to start with.
fn limit() -> Duration {
    Duration::from_secs(60 + body_bytes() / (4 << 20))
}

const PYTHON: (&str, &str) = ("python3", "backend.py");
const NODE: (&str, &str) = ("node", "backend.js");

async fn stage((interpreter, backend): (&str, &str)) -> Option<(Edgeproxy, ForeignBackend)> {
    if !has(interpreter) {
        return None;
    }
    let backend = ForeignBackend::start(interpreter, &script(backend)).await;
    Some((before(backend.addr()).await, backend))
}

async fn run(interpreter: &str, client: &str, backend: (&str, &str), expected: &[&str]) {
    if !has(interpreter) {
        return;
    }
    let Some((edgeproxy, _backend)) = stage(backend).await else {
        return;
    };
    let args = [edgeproxy.proxy().to_string(), body_bytes().to_string()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let printed = foreign_client(interpreter, &script(client), &args, limit()).await;
    let done: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();
    assert_eq!(done, expected);
}

const BY_PYTHON: [&str; 11] = [
    "upload of a length",
    "upload in chunks",
    "download of a length",
    "download in chunks",
    "HEAD",
    "204",
    "304",
    "all on one connection",
    "an answer that ends with its connection",
    "a form by urllib",
    "404 by urllib",
];

const BY_NODE: [&str; 13] = [
    "upload of a length",
    "upload in chunks with a trailer",
    "download of a length",
    "download in chunks with a trailer",
    "HEAD",
    "204",
    "304",
    "100-continue granted",
    "all on one connection",
    "100-continue refused with 417",
    "100-continue refused with 401",
    "100-continue ignored",
    "an answer that ends with its connection",
];

#[tokio::test]
async fn pythons_client_before_pythons_server() {
    run("python3", "client.py", PYTHON, &BY_PYTHON).await;
}

#[tokio::test]
async fn pythons_client_before_nodes_server() {
    run("python3", "client.py", NODE, &BY_PYTHON).await;
}

#[tokio::test]
async fn nodes_client_before_pythons_server() {
    run("node", "client.js", PYTHON, &BY_NODE).await;
}

#[tokio::test]
async fn nodes_client_before_nodes_server() {
    run("node", "client.js", NODE, &BY_NODE).await;
}

/// curl has a mind of its own about expectations: it sends one with every longer upload.
async fn by_curl(backend: (&str, &str)) {
    let Some((edgeproxy, _backend)) = stage(backend).await else {
        return;
    };
    let proxy = edgeproxy.proxy();
    // A mebibyte: `shell` gives it 20 seconds, and the sizes are the other clients' matter.
    let printed = shell(&format!(
        r#"
        call() {{ curl --silent --show-error --fail-with-body --noproxy '*' --max-time 15 "$@"; }}
        url=http://{proxy}
        folder=$(mktemp -d)
        trap 'rm -r "$folder"' EXIT
        head -c 2000000 /dev/zero > "$folder/body"
        sum=$(sha256sum < "$folder/body" | cut -d ' ' -f 1)
        for framing in 'Expect: 100-continue' 'Expect:' 'Transfer-Encoding: chunked'; do
            call -T "$folder/body" -H "$framing" "$url/upload" | grep -q "$sum" && echo "ok upload, $framing"
        done
        [ "$(call "$url/download?2000000" | wc -c)" = 2000000 ] && echo 'ok download of a length'
        call -D "$folder/head" -o "$folder/got" "$url/chunks?2000000"
        grep -qi "^x-sum: $(sha256sum < "$folder/got" | cut -d ' ' -f 1)" "$folder/head" && echo 'ok trailer'
        call --head "$url/download?7" | grep -qi '^content-length: 7' && echo 'ok HEAD'
        [ "$(call --http1.0 "$url/chunks?100000" | wc -c)" = 100000 ] && echo 'ok HTTP/1.0'
        [ "$(call "$url/to-the-end?100000" | wc -c)" = 100000 ] && echo 'ok to the end'
        for status in 417 401; do
            code=$(curl -s --max-time 15 -o /dev/null -w '%{{http_code}}' --expect100-timeout 10 \
                -T "$folder/body" -H 'Expect: 100-continue' "$url/expect/$status")
            [ "$code" = "$status" ] && echo "ok refused with $status"
        done
        call --expect100-timeout 0.2 -T "$folder/body" -H 'Expect: 100-continue' "$url/expect/ignore" \
            | grep -q "$sum" && echo 'ok ignored'
        code=$(curl -s --max-time 15 -o /dev/null -w '%{{http_code}}' -X POST -T "$folder/body" -H 'Expect:' "$url/early/413")
        [ "$code" = 413 ] && echo 'ok early 413'
        [ "$(call -X POST -T "$folder/body" -H 'Expect:' "$url/early/200")" = early ] && echo 'ok early 200'
        call -w ' %{{num_connects}}' "$url/download?1" -o /dev/null "$url/status/204" "$url/download?1" -o /dev/null \
            | tail -c 2 | grep -q 0 && echo 'ok kept alive'
        "#
    ))
    .await;
    let done: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();
    let expected = [
        "upload, Expect: 100-continue",
        "upload, Expect:",
        "upload, Transfer-Encoding: chunked",
        "download of a length",
        "trailer",
        "HEAD",
        "HTTP/1.0",
        "to the end",
        "refused with 417",
        "refused with 401",
        "ignored",
        "early 413",
        "early 200",
        "kept alive",
    ];
    assert_eq!(done, expected, "{printed}");
}

#[tokio::test]
async fn curl_before_pythons_server() {
    by_curl(PYTHON).await;
}

#[tokio::test]
async fn curl_before_nodes_server() {
    by_curl(NODE).await;
}
