use super::*;

const ASKED: Asked = Asked {
    method: Method::Get,
    minor: 1,
    upgrade: false,
};

fn read_for(text: &str, asked: Asked, keep: bool) -> Result<Option<(Head, String)>, ResponseError> {
    let pseudonym = Pseudonym::parse("here").unwrap();
    let mut out = Vec::new();
    let read = read(text.as_bytes(), 0, asked, |head, fields| {
        let manner = Manner {
            pseudonym: &pseudonym,
            asked,
            persist: head.persist(asked, keep),
            date: &|| *b"Thu, 01 Jan 1970 00:00:00 GMT",
        };
        head.write(text.as_bytes(), fields, &manner, &mut out)
    })?;
    Ok(read.map(|(head, ())| (head, String::from_utf8(out).unwrap())))
}

fn passed(text: &str) -> (Head, String) {
    read_for(text, ASKED, true).unwrap().expect("it is not whole")
}

const DATE: &str = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

#[test]
fn lines_are_kept_as_they_came_and_the_proxys_own_follow() {
    let (head, out) = passed("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nX: y\r\n\r\nabc");
    assert_eq!(
        out,
        format!("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nX: y\r\nvia: 1.1 here\r\n{DATE}\r\n")
    );
    assert_eq!(
        (head.length, head.keep_alive, head.status),
        (Length::Known(3), true, 200)
    );
    assert_eq!(head.delivery(1), Delivery::AsIs);
}

#[test]
fn what_is_between_neighbours_goes() {
    let (head, out) = passed(
        "HTTP/1.1 404\r\nDate: now\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n\
         Transfer-Encoding: Chunked\r\nTrailer: x\r\n\r\n",
    );
    assert_eq!(
        out,
        "HTTP/1.1 404 \r\nDate: now\r\nTrailer: x\r\nvia: 1.1 here\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!((head.length, head.keep_alive), (Length::Chunked, false));
}

#[test]
fn an_old_backend_is_given_the_proxys_version_and_its_end_becomes_chunks() {
    let (head, out) = passed("HTTP/1.0 200 OK\r\nDate: now\r\n\r\n");
    assert_eq!(
        out,
        "HTTP/1.1 200 OK\r\nDate: now\r\nvia: 1.0 here\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!((head.length, head.keep_alive), (Length::UntilClose, false));
    assert_eq!(head.delivery(1), Delivery::Chunked);
    assert!(
        passed("HTTP/1.0 204 No\r\nConnection: keep-alive\r\n\r\n")
            .0
            .keep_alive
    );
}

#[test]
fn an_old_client_gets_neither_chunks_nor_an_open_end_without_being_told() {
    let old = Asked { minor: 0, ..ASKED };
    let chunked = "HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (head, out) = read_for(chunked, old, true).unwrap().unwrap();
    assert_eq!(
        out,
        "HTTP/1.1 200 OK\r\nDate: now\r\nvia: 1.1 here\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(head.delivery(0), Delivery::Bare);
    let known = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 1\r\n\r\n";
    let (_, out) = read_for(known, old, true).unwrap().unwrap();
    assert!(out.ends_with("connection: keep-alive\r\n\r\n"), "{out}");
}

#[test]
fn some_have_no_body_whatever_they_say() {
    let head_request = Asked {
        method: Method::Head,
        ..ASKED
    };
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (head, out) = read_for(text, head_request, true).unwrap().unwrap();
    assert!(
        head.length == Length::NONE && out.contains("Content-Length: 5"),
        "{out}"
    );
    let (head, out) = passed("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    assert!(
        head.length == Length::NONE && out.contains("Content-Length: 5"),
        "{out}"
    );
    let (head, out) = passed("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    assert!(
        head.length == Length::NONE && !out.contains("Content-Length"),
        "{out}"
    );
    let (head, out) = passed("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200");
    assert_eq!(
        out,
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\nvia: 1.1 here\r\n\r\n"
    );
    assert!(head.is_interim());
}

#[test]
fn protocols_are_switched_only_when_asked() {
    let text = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-X: 1\r\n\r\n";
    assert_eq!(read_for(text, ASKED, true).unwrap_err(), ResponseError::Unasked);
    let asked = Asked {
        upgrade: true,
        ..ASKED
    };
    let (head, out) = read_for(text, asked, true).unwrap().unwrap();
    assert!(head.switches() && !head.is_interim());
    assert_eq!(
        out,
        format!(
            "HTTP/1.1 101 Switching\r\nSec-X: 1\r\nvia: 1.1 here\r\n{DATE}connection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
    );
}

#[test]
fn what_is_malformed_or_ambiguous_is_refused() {
    for (text, error) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            FramingError::SeveralLengths.into(),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            FramingError::Both.into(),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            FramingError::TransferEncoding.into(),
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            FramingError::Version.into(),
        ),
        (
            "HTTP/1.1 204 OK\r\nContent-Length: x\r\n\r\n",
            FramingError::ContentLength.into(),
        ),
        ("HTTP/1.1 099 OK\r\n\r\n", ResponseError::Status),
        ("HTTP/1.1 600 OK\r\n\r\n", ResponseError::Status),
        ("HTTP/1.1 abc OK\r\n\r\n", HeadError::StatusLine.into()),
        ("HTTP/2.0 200 OK\r\n\r\n", HeadError::Version.into()),
        ("HTTP/1.1 200 OK\nX: y\r\n\r\n", HeadError::LineEnd.into()),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::StatusLine.into()),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", HeadError::Name.into()),
        ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", HeadError::Name.into()),
        ("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", HeadError::Value.into()),
    ] {
        assert_eq!(read_for(text, ASKED, true).unwrap_err(), error, "{text:?}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD));
    assert_eq!(read_for(&long, ASKED, true).unwrap_err(), ResponseError::TooLong);
}
