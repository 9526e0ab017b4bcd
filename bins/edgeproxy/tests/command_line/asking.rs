//! Commands that ask a running edgeproxy, where there is none. Those where there is one are end to end.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::{edgeproxy, stderr, stdout};

#[test]
fn nobody_there_is_told_with_the_next_step() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for args in [
        &["backends"][..],
        &["apps"],
        &["explain", "shop"],
        &["drain", "b1"],
    ] {
        let output = edgeproxy(&[args, &["--api", &api]].concat());
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(
            told.starts_with(&format!("edgeproxy: {api} can't be asked")),
            "{told}"
        );
        assert!(
            told.contains("is edgeproxy running there, with api_enabled = true?"),
            "{told}"
        );
        assert!(told.contains("Connection refused"), "{told}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn an_address_that_is_none_is_told() {
    let output = edgeproxy(&["backends", "--api", "ftp://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("expected a URL such as http://127.0.0.1:8081"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn somebody_else_who_answers_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .unwrap();
    });
    let output = edgeproxy(&["apps", "--api", &api]);
    answering.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("404 Not Found"), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("is that the API of edgeproxy?"),
        "{}",
        stderr(&output)
    );
}
