//! Requests over HTTP/1.1.

use std::net::SocketAddr;

use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Traffic, refusal};
use crate::fault::App;
use crate::ledger::{Form, Problem};
use crate::pattern::{Check, Pattern};

/// A client with a connection that it keeps as long as it is kept for it.
pub(crate) struct Client {
    proxy: SocketAddr,
    connection: Option<SendRequest<Pattern>>,
}

impl Client {
    pub(crate) fn new(proxy: SocketAddr) -> Self {
        Self {
            proxy,
            connection: None,
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Pattern,
    ) -> Result<Response<Incoming>, Problem> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.proxy).await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, App::Shop.name())
            .body(body)
            .expect("it is well formed");
        connection
            .ready()
            .await
            .map_err(|error| Problem::new(Form::NoAnswer, format!("closed unannounced: {error}")))?;
        let response = connection
            .send_request(request)
            .await
            .map_err(|error| Problem::new(Form::NoAnswer, format!("{error:?}")))?;
        let closes = response
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|value| value == "close");
        if !closes {
            self.connection = Some(connection);
        }
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let problem = refusal(response.status(), response.headers());
        let _ = response.into_body().collect().await;
        Err(problem)
    }

    /// Uploads that much and has it counted.
    async fn upload(&mut self, length: usize, body: Pattern) -> Result<usize, Problem> {
        let response = self.ask(Method::POST, "/sink", body).await?;
        counted(response, length).await
    }

    async fn download(&mut self, path: &str, length: usize) -> Result<usize, Problem> {
        let path = format!("{path}?{length}");
        let response = self.ask(Method::GET, &path, Pattern::of_length(0)).await?;
        received(response.into_body(), length).await
    }
}

async fn connect(proxy: SocketAddr) -> Result<SendRequest<Pattern>, Problem> {
    let unreachable = |error: std::io::Error| Problem::new(Form::Unreachable, error);
    let stream = TcpStream::connect(proxy).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Problem::new(Form::Unreachable, error))?;
    // What goes wrong with it is told to whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

/// The backend's own count of what it got.
pub(super) async fn counted(response: Response<Incoming>, length: usize) -> Result<usize, Problem> {
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| Problem::new(Form::Cut, error))?.to_bytes();
    if body == length.to_string() {
        Ok(length)
    } else {
        let said = String::from_utf8_lossy(&body);
        Err(Problem::new(
            Form::Wrong,
            format!("{length} bytes were sent, the backend says: {said}"),
        ))
    }
}

/// A body of the pattern, to its end.
pub(super) async fn received(mut body: Incoming, length: usize) -> Result<usize, Problem> {
    let mut check = Check::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(
                Form::Cut,
                format!("after {} of {length} bytes: {error}", check.count()),
            )
        })?;
        if let Some(data) = frame.data_ref() {
            check
                .take(data)
                .map_err(|wrong| Problem::new(Form::Wrong, wrong))?;
        }
    }
    if check.count() == length {
        Ok(length)
    } else {
        Err(Problem::new(
            Form::Wrong,
            format!("{} of {length} bytes, and an end in peace", check.count()),
        ))
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident, $words:literal, |$client:ident, $rng:ident| $once:expr;)+) => { $(
        $(#[doc = $doc])+
        pub(crate) struct $name {
            client: Client,
            rng: Rng,
        }

        impl $name {
            pub(crate) fn new(proxy: SocketAddr, rng: Rng) -> Self {
                Self { client: Client::new(proxy), rng }
            }
        }

        impl Traffic for $name {
            const NAME: &'static str = $words;
            const APP: App = App::Shop;

            async fn once(&mut self) -> Result<usize, Problem> {
                let ($client, $rng) = (&mut self.client, &mut self.rng);
                $once
            }

            fn forget(&mut self) {
                self.client.connection = None;
            }
        }
    )+ };
}

kinds! {
    /// Small answers, one after the other.
    KeptAlive, "HTTP/1 kept alive", |client, rng| client.download("/length", rng.usize(0..2_048)).await;

    /// A connection for each.
    Churn, "HTTP/1 churn", |client, rng| {
        client.connection = None;
        client.download("/length", rng.usize(0..2_048)).await
    };

    /// Bodies of a length that is told.
    Upload, "HTTP/1 uploads", |client, rng| {
        let length = rng.usize(0..2 << 20);
        client.upload(length, Pattern::of_length(length)).await
    };

    /// Answers of a length that is told.
    Download, "HTTP/1 downloads", |client, rng| client.download("/length", rng.usize(0..2 << 20)).await;

    /// Both ways, in turn.
    Chunks, "HTTP/1 chunked", |client, rng| {
        let length = rng.usize(0..256 << 10);
        if rng.bool() {
            client.upload(length, Pattern::in_chunks(length)).await
        } else {
            client.download("/chunks", length).await
        }
    };
}
