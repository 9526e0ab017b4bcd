//! What RFC 9113 §8 has a server refuse, row by row. A stream that is refused ends alone, but for what h2 finds
//! while it unpacks a head: that ends the connection, as §5.4.1 allows for any error of a stream.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::backend::{Backend, Seen, ok};
use crate::frames::{
    COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PROTOCOL_ERROR,
    RST_STREAM, Raw, block, frame, get, literal,
};
use crate::http2;
use crate::stage::{Stage, config};

async fn scene() -> (Backend, Stage, Raw) {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::with(config(), &[backend.addr]);
    let client = Raw::connect(stage.addr).await;
    (backend, stage, client)
}

const PSEUDO: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "app"),
];

/// How a head is answered: with a status, or its stream is reset with a code. The connection goes on, and the
/// backend has seen nothing.
async fn verdict(block: &[u8]) -> Verdict {
    let (backend, _stage, mut client) = scene().await;
    client.request(1, block).await;
    let first = client.next().await.expect("it ended without a word");
    assert_eq!(backend.tally().requests, 0);
    let verdict = match first.kind {
        HEADERS => Verdict::Status(first.status()),
        RST_STREAM => Verdict::Reset(first.code()),
        GOAWAY => return Verdict::Ended(first.code()),
        other => panic!("a frame of type {other}"),
    };
    client.request(3, &get("/")).await;
    assert_eq!(client.next_of(3).await.status(), 200);
    verdict
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Status(u16),
    Reset(u32),
    Ended(u32),
}

const MALFORMED: Verdict = Verdict::Reset(PROTOCOL_ERROR);
/// So is what h2 can't even unpack.
const UNREADABLE: Verdict = Verdict::Ended(PROTOCOL_ERROR);

async fn with(more: &[(&str, &str)]) -> Verdict {
    verdict(&[block(&PSEUDO), block(more)].concat()).await
}

#[tokio::test]
async fn s8_2_1_a_field_name_in_upper_case_is_malformed() {
    assert_eq!(with(&[("X-Upper", "1")]).await, UNREADABLE);
}

#[tokio::test]
async fn s8_2_1_a_field_name_with_what_no_name_has_is_malformed() {
    for name in ["a b", "a\0", "a\u{7f}", "", "a:b", ":"] {
        assert_eq!(with(&[(name, "1")]).await, UNREADABLE, "{name:?}");
    }
}

#[tokio::test]
async fn s8_2_1_cr_lf_or_nul_in_a_value_is_malformed() {
    for value in ["a\rb", "a\nb", "a\0b", "\r\nx: y"] {
        assert_eq!(with(&[("x", value)]).await, UNREADABLE, "{value:?}");
    }
}

#[tokio::test]
async fn s8_2_2_fields_of_a_connection_are_malformed() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        assert_eq!(with(&[(name, value)]).await, MALFORMED, "{name}: {value}");
    }
}

#[tokio::test]
async fn s8_3_a_pseudo_header_after_a_field_is_malformed() {
    let late = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        ("x", "1"),
        (":authority", "app"),
    ]);
    assert_eq!(verdict(&late).await, MALFORMED);
}

#[tokio::test]
async fn s8_3_a_pseudo_header_that_nobody_knows_is_malformed() {
    assert_eq!(with(&[(":unknown", "1")]).await, UNREADABLE);
    assert_eq!(with(&[(":status", "200")]).await, MALFORMED);
}

#[tokio::test]
async fn s8_3_1_a_pseudo_header_given_twice_is_malformed() {
    for (name, value) in PSEUDO {
        assert_eq!(with(&[(name, value)]).await, MALFORMED, "{name}");
    }
}

#[tokio::test]
async fn s8_3_1_a_missing_method_scheme_or_path_is_malformed() {
    for missing in 0..3 {
        let mut fields = PSEUDO.to_vec();
        let (name, _) = fields.remove(missing);
        assert_eq!(verdict(&block(&fields)).await, MALFORMED, "{name}");
    }
}

#[tokio::test]
async fn s8_3_1_an_empty_path_is_malformed() {
    let empty = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", ""),
        (":authority", "app"),
    ]);
    assert_eq!(verdict(&empty).await, MALFORMED);
}

#[tokio::test]
async fn s8_3_1_a_path_that_is_none_never_arrives() {
    for path in ["x", "a b", "/a b", "/a\rb", "http://app/", "/\0"] {
        let odd = block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "app"),
        ]);
        let verdict = verdict(&odd).await;
        assert!(
            matches!(verdict, MALFORMED | Verdict::Status(400)),
            "{path:?}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn s8_3_1_an_authority_that_contradicts_host_is_refused() {
    assert_eq!(with(&[("host", "other")]).await, Verdict::Status(400));
    assert_eq!(
        with(&[("host", "app"), ("host", "app")]).await,
        Verdict::Status(400)
    );
}

#[tokio::test]
async fn s8_3_1_no_authority_and_no_host_is_refused() {
    assert_eq!(verdict(&block(&PSEUDO[..3])).await, Verdict::Status(400));
}

#[tokio::test]
async fn s8_3_1_user_information_in_the_authority_is_refused() {
    let user = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a@app"),
    ]);
    let verdict = verdict(&user).await;
    assert!(matches!(verdict, MALFORMED | Verdict::Status(400)), "{verdict:?}");
}

#[tokio::test]
async fn s8_5_a_plain_connect_is_not_allowed() {
    let connect = block(&[(":method", "CONNECT"), (":authority", "app:80")]);
    assert_eq!(verdict(&connect).await, Verdict::Status(405));
}

#[tokio::test]
async fn s8_1_1_a_length_that_the_data_does_not_have_is_malformed() {
    for (length, data) in [
        ("3", &b"ab"[..]),
        ("1", b"ab"),
        ("x", b"ab"),
        ("-1", b"ab"),
        ("2, 3", b"ab"),
    ] {
        let (backend, _stage, mut client) = scene().await;
        let mut post = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "app"),
        ]);
        post.extend(literal(b"content-length", length.as_bytes()));
        client
            .write(&frame(HEADERS, END_HEADERS, 1, &post))
            .await
            .unwrap();
        client.write(&frame(DATA, END_STREAM, 1, data)).await.unwrap();
        let answer = client.next_of(1).await;
        match answer.kind {
            RST_STREAM => assert_eq!(answer.code(), PROTOCOL_ERROR, "{length}"),
            HEADERS => assert_eq!(answer.status(), 400, "{length}"),
            other => panic!("{length}: a frame of type {other}"),
        }
        client.request(3, &get("/")).await;
        assert_eq!(client.next_of(3).await.status(), 200);
        assert_eq!(
            backend.tally().requests,
            1,
            "{length}: none of it came through whole"
        );
    }
}

/// A POST whose trailers are `block`, sent in frames of at most 16 KiB: what becomes of it.
async fn trailed(block: &[u8]) -> (Backend, Verdict) {
    let (backend, stage, mut client) = scene().await;
    client
        .write(&frame(HEADERS, END_HEADERS, 1, &post()))
        .await
        .unwrap();
    client.write(&frame(DATA, 0, 1, b"ab")).await.unwrap();
    backend.until(|t| t.connections == 1).await;
    let mut parts = block.chunks(16 * 1024).peekable();
    let (mut kind, mut flags) = (HEADERS, END_STREAM);
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        client.write(&frame(kind, flags, 1, part)).await.unwrap();
        (kind, flags) = (CONTINUATION, 0);
    }
    let answer = client.next_of(1).await;
    let verdict = match answer.kind {
        HEADERS => Verdict::Status(answer.status()),
        RST_STREAM => Verdict::Reset(answer.code()),
        other => panic!("a frame of type {other}"),
    };
    client.request(3, &get("/")).await;
    assert_eq!(client.next_of(3).await.status(), 200);
    drop(stage);
    (backend, verdict)
}

fn post() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "app"),
    ])
}

#[tokio::test]
async fn s8_1_a_pseudo_header_in_trailers_is_malformed() {
    // In full, by the name's index, by the index of both, and among others, as h2 sees by itself.
    let other = block(&[("x", "1")]);
    for pseudo in [
        block(&[(":path", "/other")]),
        [&[0x04, 6][..], b"/other"].concat(),
        vec![0x84],
        [&[0x84], &other[..]].concat(),
        [&other[..], &[0x84]].concat(),
    ] {
        let (backend, verdict) = trailed(&pseudo).await;
        assert_eq!(verdict, MALFORMED, "{pseudo:x?}");
        assert_eq!(backend.tally().requests, 1, "none of it came through whole");
    }
    let (backend, verdict) = trailed(&other).await;
    assert_eq!(verdict, Verdict::Status(200));
    assert_eq!(backend.tally().requests, 2);
}

#[tokio::test]
async fn s8_1_a_pseudo_header_in_trailers_is_malformed_though_its_name_is_in_the_table() {
    let (backend, _stage, mut client) = scene().await;
    // `:path: /kept` is remembered, as the first of the dynamic table.
    let head = [
        &[0x83, 0x86, 0x44, 5][..],
        b"/kept",
        &block(&[(":authority", "app")]),
    ];
    client
        .write(&frame(HEADERS, END_HEADERS, 1, &head.concat()))
        .await
        .unwrap();
    client.write(&frame(DATA, 0, 1, b"ab")).await.unwrap();
    client.request(1, &[0x80 | 62]).await;
    let answer = client.next_of(1).await;
    assert_eq!((answer.kind, answer.code()), (RST_STREAM, PROTOCOL_ERROR));
    assert_eq!(backend.tally().requests, 0);
}

#[tokio::test]
async fn s8_1_trailers_that_are_too_large_are_never_passed_on_in_part() {
    let value = "v".repeat(100);
    let fields: Vec<_> = (0..300).map(|n| (format!("x-{n}"), &*value)).collect();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, *value)).collect();
    let (backend, verdict) = trailed(&block(&fields)).await;
    assert_eq!(verdict, MALFORMED);
    assert_eq!(backend.tally().requests, 1);
}

#[tokio::test]
async fn s8_1_a_pseudo_header_in_trailers_resets_a_stream_that_is_being_answered() {
    for protocol in ["http1", "h2c"] {
        let answering = http2::Backend::start(|_, request, mut reply| async move {
            let mut sending = reply.send_response(http2::ok(), false).unwrap();
            sending.send_data("first".into(), false).unwrap();
            let _ = http2::drain(&mut request.into_body()).await;
            let _ = sending.send_data("second".into(), true);
        })
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stage, endpoints) = if protocol == "h2c" {
            Stage::h2c(config(), &[answering.addr])
        } else {
            Stage::of(&[listener.local_addr().unwrap()])
        };
        let mut client = Raw::connect(stage.addr).await;
        client
            .write(&frame(HEADERS, END_HEADERS, 1, &post()))
            .await
            .unwrap();
        client.write(&frame(DATA, 0, 1, b"ab")).await.unwrap();
        let _backend = if protocol == "http1" {
            let (mut backend, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst";
            backend.write_all(answer).await.unwrap();
            Some(backend)
        } else {
            None
        };
        assert_eq!(client.next_of(1).await.status(), 200);
        assert_eq!(client.next_of(1).await.payload, b"first");
        client.request(1, &[0x84]).await;
        let reset = client.next_of(1).await;
        assert_eq!(
            (reset.kind, reset.code()),
            (RST_STREAM, PROTOCOL_ERROR),
            "{protocol}"
        );
        assert_eq!(endpoints[0].meter.in_flight(), 0, "{protocol}");
    }
}

#[tokio::test]
async fn s8_1_a_pseudo_header_in_a_backends_trailers_breaks_its_response_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stage, endpoints) = Stage::h2c(config(), &[listener.local_addr().unwrap()]);
    let backend = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut backend = Raw::serve(stream).await;
        for (stream, trailers) in [(1, block(&[("x-sum", "1")])), (3, vec![0x88])] {
            loop {
                let frame = backend.next().await.unwrap();
                if (frame.kind, frame.stream) == (HEADERS, stream) {
                    break;
                }
            }
            let answer = [
                frame(HEADERS, END_HEADERS, stream, &[0x88]),
                frame(DATA, 0, stream, b"body"),
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers),
            ];
            backend.write(&answer.concat()).await.unwrap();
        }
        backend
    });
    let (sender, _conn) = http2::connect(stage.addr).await;
    let whole = http2::get(&sender, "/").await;
    assert_eq!(whole.trailers.unwrap()["x-sum"], "1");
    let broken = http2::exchange(&sender, http2::request("GET", "/"), b"").await;
    assert_eq!(broken.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert_eq!(endpoints[0].meter.in_flight(), 0);
    drop(backend.await.unwrap());
}

#[tokio::test]
async fn s8_1_trailers_that_end_nothing_are_malformed() {
    let (_backend, _stage, mut client) = scene().await;
    let post = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "app"),
    ]);
    client
        .write(&frame(HEADERS, END_HEADERS, 1, &post))
        .await
        .unwrap();
    client
        .write(&frame(HEADERS, END_HEADERS, 1, &block(&[("x", "1")])))
        .await
        .unwrap();
    loop {
        let answer = client.next().await.expect("it ended without a word");
        if matches!(answer.kind, RST_STREAM | GOAWAY) {
            assert_eq!(answer.code(), PROTOCOL_ERROR);
            return;
        }
    }
}

#[tokio::test]
async fn s8_2_3_crumbs_of_a_cookie_are_joined() {
    let (backend, _stage, mut client) = scene().await;
    let crumbs = block(&[
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ]);
    client.request(1, &[block(&PSEUDO), crumbs].concat()).await;
    assert_eq!(client.next_of(1).await.status(), 200);
    assert_eq!(backend.take().one("cookie"), "a=1; b=2; c=3");
}

#[tokio::test]
async fn s8_1_a_truncated_upload_never_reaches_the_backend_whole() {
    let (backend, _stage, mut client) = scene().await;
    let post = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "app"),
    ]);
    client
        .write(&frame(HEADERS, END_HEADERS, 1, &post))
        .await
        .unwrap();
    client.write(&frame(DATA, 0, 1, b"half")).await.unwrap();
    backend.until(|t| t.connections == 1).await;
    client
        .write(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))
        .await
        .unwrap();
    backend.until(|t| t.closed == 1).await;
    assert_eq!(backend.tally().requests, 0);
}

#[tokio::test]
async fn s4_3_a_head_that_cannot_be_decompressed_ends_the_connection() {
    let (_backend, _stage, mut client) = scene().await;
    // An index that the table doesn't have.
    client.request(1, &[0xff, 0xff, 0x7f]).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.kind, GOAWAY);
    assert!(
        matches!(answer.code(), COMPRESSION_ERROR | PROTOCOL_ERROR),
        "{}",
        answer.code()
    );
}

#[tokio::test]
async fn the_host_of_http2_without_authority_is_its_host_field() {
    let (backend, _stage, mut client) = scene().await;
    client
        .request(1, &[block(&PSEUDO[..3]), block(&[("host", "named")])].concat())
        .await;
    assert_eq!(client.next_of(1).await.status(), 200);
    let seen: Seen = backend.take();
    assert_eq!(seen.one("host"), "named");
}
