//! One request by either version of HTTP, to either kind of backend.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Limits};
use http::{Request, Response};

use crate::backend::{self, Reply};
use crate::client::Client;
use crate::http2;
use crate::stage::{endpoint, h2c};

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    Http1,
    Http2,
}

pub(crate) const FRONTS: [Front; 2] = [Front::Http1, Front::Http2];

/// A request without a body, unless one is given.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) fields: &'a [(&'a str, &'a str)],
    pub(crate) body: &'static [u8],
}

pub(crate) const GET: Ask<'static> = Ask {
    method: "GET",
    host: "app",
    path: "/",
    fields: &[],
    body: b"",
};

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    /// The proxy's own answer; empty if it is a backend's.
    pub(crate) word: String,
    pub(crate) body: String,
}

impl Told {
    pub(crate) fn own(&self) -> (u16, &str) {
        (self.status, &self.word)
    }
}

/// Asks on a connection of its own.
pub(crate) async fn ask(front: Front, addr: SocketAddr, ask: &Ask<'_>) -> Told {
    try_ask(front, addr, ask)
        .await
        .expect("the answer was broken off")
}

/// The same; `None`: the answer was broken off.
pub(crate) async fn try_ask(front: Front, addr: SocketAddr, ask: &Ask<'_>) -> Option<Told> {
    let Ask {
        method,
        host,
        path,
        fields,
        body,
    } = ask;
    match front {
        Front::Http1 => {
            let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
            for (name, value) in *fields {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            if !body.is_empty() || *method != "GET" {
                head.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            let mut client = Client::connect(addr).await;
            client.write(format!("{head}\r\n")).await;
            // Who is refused may be told before it has sent everything.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, body).await;
            let response = client.try_read(true).await?;
            Some(Told {
                status: response.status,
                word: response.all("x-edgeproxy-error").concat(),
                body: response.body,
            })
        }
        Front::Http2 => {
            let (sender, _conn) = http2::connect(addr).await;
            let mut request = Request::builder()
                .method(*method)
                .uri(format!("http://{host}{path}"));
            for (name, value) in *fields {
                request = request.header(*name, *value);
            }
            if !body.is_empty() {
                request = request.header("content-length", body.len());
            }
            let whole = http2::exchange(&sender, request.body(()).unwrap(), body)
                .await
                .ok()?;
            let word = whole.headers.get("x-edgeproxy-error");
            Some(Told {
                status: whole.status,
                word: word
                    .map(|word| word.to_str().unwrap().to_owned())
                    .unwrap_or_default(),
                body: String::from_utf8(whole.body).unwrap(),
            })
        }
    }
}

/// What a backend speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Back {
    Http1,
    H2c,
}

pub(crate) const BACKS: [Back; 2] = [Back::Http1, Back::H2c];

/// A backend of either kind.
pub(crate) enum Answering {
    Http1(backend::Backend),
    H2c(http2::Backend),
}

impl Answering {
    /// `answer` gets the method and the path of each request and its number, from 0, and gives status and body.
    pub(crate) async fn start(
        back: Back,
        answer: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        match back {
            Back::Http1 => Self::Http1(
                backend::Backend::start(move |n, seen| {
                    let (status, body) = answer(n, seen.line().trim_end_matches(" HTTP/1.1"));
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                    Reply::Send(format!("{head}{body}").into_bytes())
                })
                .await,
            ),
            Back::H2c => {
                let answer = Arc::new(answer);
                Self::H2c(
                    http2::Backend::start(move |n, request: Request<h2::RecvStream>, mut reply| {
                        let answer = Arc::clone(&answer);
                        async move {
                            let (parts, mut body) = request.into_parts();
                            if http2::drain(&mut body).await.is_err() {
                                return;
                            }
                            let asked = format!(
                                "{} {}",
                                parts.method,
                                parts.uri.path_and_query().map_or("", |path| path.as_str())
                            );
                            let (status, body) = answer(n, &asked);
                            let response = Response::builder().status(status).body(()).unwrap();
                            if let Ok(mut stream) = reply.send_response(response, false) {
                                let _ = stream.send_data(Bytes::from(body), true);
                            }
                        }
                    })
                    .await,
                )
            }
        }
    }

    pub(crate) fn endpoint(&self, number: u64) -> Arc<Endpoint> {
        match self {
            Self::Http1(backend) => endpoint(number, backend.addr, Limits::NONE),
            Self::H2c(backend) => h2c(number, backend.addr, Limits::NONE),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        match self {
            Self::Http1(backend) => backend.tally().requests,
            Self::H2c(backend) => backend.tally().requests,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        match self {
            Self::Http1(backend) => backend.tally().connections,
            Self::H2c(backend) => backend.tally().connections,
        }
    }
}
