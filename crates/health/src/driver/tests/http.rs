use super::*;
use crate::StatusCodes;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn get() -> HttpProbe {
    HttpProbe::get("/health").unwrap()
}

#[tokio::test]
async fn the_request_is_what_the_settings_say() {
    let (addr, mut requests) = answering(OK).await;
    assert!(
        probe(addr, HttpProbe::get("/health?deep=1").unwrap())
            .await
            .passed()
    );
    assert_eq!(
        requests.recv().await.unwrap(),
        format!(
            "GET /health?deep=1 HTTP/1.1\r\nhost: {addr}\r\nuser-agent: edgeproxy-health/{}\r\nconnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let full = get()
        .with_method("POST")
        .and_then(|probe| probe.with_header("Host", "shop.example"))
        .and_then(|probe| probe.with_header("User-Agent", "us"))
        .and_then(|probe| probe.with_header("X-A", "1"))
        .and_then(|probe| probe.with_header("X-A", "2"))
        .and_then(|probe| probe.with_body("ping"))
        .unwrap();
    assert!(probe(addr, full).await.passed());
    let request = requests.recv().await.unwrap();
    assert_eq!(
        request,
        "POST /health HTTP/1.1\r\nhost: shop.example\r\nuser-agent: us\r\nx-a: 1\r\nx-a: 2\r\nconnection: close\r\n\
         content-length: 4\r\n\r\n"
    );
}

#[tokio::test]
async fn the_body_is_sent() {
    let (listener, addr) = listen().await;
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        body
    });
    let probe_it = get()
        .with_method("PUT")
        .and_then(|probe| probe.with_body("ping"))
        .unwrap();
    assert!(probe(addr, probe_it).await.passed());
    assert_eq!(&backend.await.unwrap(), b"ping");
}

#[tokio::test]
async fn the_id_header_differs_from_probe_to_probe() {
    let (addr, mut requests) = answering(OK).await;
    let mut ids = Vec::new();
    let mut rig = Rig::with(
        Config {
            seed: 0xfeed,
            ..Config::default()
        },
        Pace::Settled,
    );
    for number in 1..=2 {
        rig.handle
            .set_targets([target(number, addr, Monitor::new(get().with_id_header()))]);
        assert!(rig.next().await.1.passed());
        let request = requests.recv().await.unwrap();
        ids.extend(
            request
                .lines()
                .find_map(|line| line.strip_prefix("x-edgeproxy-health-check-id: "))
                .map(str::to_owned),
        );
    }
    assert_eq!(
        ids,
        ["000000000000feed/backend-1/1/1", "000000000000feed/backend-2/2/2"]
    );
}

#[tokio::test]
async fn success_codes_decide() {
    for (answer, codes, passes) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "200", true),
        ("HTTP/1.0 200 OK\r\n\r\n", "200", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", "200", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", "200,204", true),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", "300-399", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "200",
            true,
        ),
    ] {
        let (addr, _requests) = answering(answer).await;
        let codes: StatusCodes = codes.parse().unwrap();
        let outcome = probe(addr, get().with_success_codes(codes)).await;
        assert_eq!(outcome.passed(), passes, "{answer} {codes} {outcome}");
    }
}

#[tokio::test]
async fn a_failure_says_what_was_found_and_what_was_expected() {
    let wants = |name, value| get().with_success_header(name, value).unwrap();
    for (answer, probe_it, words) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            get().with_success_codes("200-204,301".parse().unwrap()),
            "response: status 503, expected 200-204,301",
        ),
        (
            "HTTP/1.1 200 OK\r\nx-state: starting\r\n\r\n",
            wants("X-State", "ready"),
            "response: header x-state is \"starting\", expected \"ready\"",
        ),
        (
            OK,
            wants("X-State", "ready"),
            "response: no header x-state, expected \"ready\"",
        ),
        ("", get(), "response: connection closed before message completed"),
        (
            "HTTP/1.1 200",
            get(),
            "response: connection closed before message completed",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n",
            get(),
            "response: not HTTP/1.1: invalid HTTP version parsed",
        ),
        (
            "HTTP/1.1 2x0 OK\r\n\r\n",
            get(),
            "response: not HTTP/1.1: invalid HTTP status-code parsed",
        ),
        (
            "\0\u{1}\u{2}\r\n\r\n",
            get(),
            "response: not HTTP/1.1: invalid HTTP version parsed",
        ),
        (
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            get(),
            "response: not HTTP/1.1: invalid HTTP header parsed",
        ),
    ] {
        let (addr, _requests) = answering(answer).await;
        assert_eq!(
            reason(probe(addr, probe_it).await).to_string(),
            words,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_refused_is_told_as_such() {
    let (_socket, addr) = refusing();
    assert_eq!(
        reason(probe(addr, get()).await).to_string(),
        "connect: connection refused"
    );
}

/// A backend that sends a beginning, and then the same over and over for as long as somebody reads.
async fn endless(beginning: &'static str, more: &'static str) -> SocketAddr {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        while stream.write_all(more.as_bytes()).await.is_ok() {}
    });
    addr
}

#[tokio::test]
async fn an_endless_head_is_given_up_at_its_limit() {
    let expected = Failure::HeadTooLarge {
        max_bytes: 32_768,
        max_fields: 100,
    };
    for (beginning, more) in [
        ("HTTP/1.1 200 OK\r\n", "x-a: 1\r\n"),
        ("HTTP/1.1 200 OK\r\nx-a: ", "aaaaaaaaaaaaaaaa"),
        ("HTTP/1.1 200 ", "OK"),
    ] {
        assert_eq!(
            reason(probe(endless(beginning, more).await, get()).await),
            expected,
            "{more}"
        );
    }
    assert_eq!(
        expected.to_string(),
        "response: the head is larger than 32 KiB or 100 fields"
    );
}

#[tokio::test]
async fn a_head_of_almost_the_limit_is_read() {
    let head = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(32_000));
    let (addr, _requests) = answering(head).await;
    assert!(probe(addr, get()).await.passed());
}

#[tokio::test]
async fn a_whole_head_above_the_limit_fails_too() {
    let fields = |count: usize, len: usize| {
        let fields: String = (0..count)
            .map(|_| format!("x-a: {}\r\n", "a".repeat(len)))
            .collect();
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
    };
    for head in [fields(1, 33_000), fields(40, 1_000), fields(101, 1)] {
        let (addr, _requests) = answering(head).await;
        assert!(matches!(
            reason(probe(addr, get()).await),
            Failure::HeadTooLarge { .. }
        ));
    }
    let (addr, _requests) = answering(fields(100, 200)).await;
    assert!(probe(addr, get()).await.passed());
}

#[tokio::test]
async fn an_endless_body_doesnt_matter() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
    ] {
        assert!(
            probe(endless(head, "1\r\na\r\n").await, get()).await.passed(),
            "{head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_holds_the_verdict_for_a_second_at_most() {
    // Three bytes are worth a second's wait for the sake of a clean end; a hundred million are not.
    for (length, most) in [
        (3, Duration::from_millis(1_100)),
        (100_000_000, Duration::from_millis(100)),
    ] {
        let (listener, addr) = listen().await;
        let backend = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let began = tokio::time::Instant::now();
        assert!(probe(addr, get()).await.passed());
        assert!(began.elapsed() <= most, "{:?}", began.elapsed());
        backend.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_backend_whose_body_was_read_is_left_with_a_fin() {
    let (listener, addr) = listen().await;
    let backend = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let body = "x".repeat(10_000);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.read(&mut [0; 16]).await
    });
    assert!(probe(addr, get()).await.passed());
    assert_eq!(
        backend.await.unwrap().unwrap(),
        0,
        "an RST would have been an error"
    );
}

/// The connection waits in the listener's queue, which is enough for it to be made.
#[tokio::test(start_paused = true)]
async fn one_that_accepts_and_never_answers_fails_after_the_read_timeout() {
    let (_listener, addr) = listen().await;
    let limit = Duration::from_secs(7);
    let began = tokio::time::Instant::now();
    let probe_it = get().with_read_timeout(limit).unwrap();
    assert_eq!(
        reason(probe(addr, probe_it).await),
        Failure::ReadTimeout { limit }
    );
    assert!(
        began.elapsed() >= limit && began.elapsed() < limit * 2,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_trickles_fails_after_the_read_timeout_too() {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let limit = Duration::from_secs(7);
    let probe_it = get().with_read_timeout(limit).unwrap();
    assert_eq!(
        reason(probe(addr, probe_it).await),
        Failure::ReadTimeout { limit }
    );
}
