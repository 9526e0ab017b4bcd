//! Streams over HTTP/2 in cleartext, three at a time.

use std::net::SocketAddr;

use fastrand::Rng;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::http1::{counted, received};
use super::{Traffic, refusal};
use crate::fault::App;
use crate::ledger::{Form, Problem};
use crate::pattern::Pattern;

pub(crate) struct Streams {
    proxy: SocketAddr,
    rng: Rng,
    connection: Option<SendRequest<Pattern>>,
}

impl Streams {
    pub(crate) fn new(proxy: SocketAddr, rng: Rng) -> Self {
        Self {
            proxy,
            rng,
            connection: None,
        }
    }

    async fn connection(&mut self) -> Result<SendRequest<Pattern>, Problem> {
        if let Some(connection) = &self.connection
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let unreachable = |error: std::io::Error| Problem::new(Form::Unreachable, error);
        let stream = TcpStream::connect(self.proxy).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| Problem::new(Form::Unreachable, error))?;
        tokio::spawn(connection);
        self.connection = Some(sender.clone());
        Ok(sender)
    }
}

async fn ask(
    mut connection: SendRequest<Pattern>,
    method: Method,
    path: &str,
    body: Pattern,
) -> Result<Response<Incoming>, Problem> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", App::Shop.name()))
        .body(body)
        .expect("it is well formed");
    let response = connection
        .send_request(request)
        .await
        .map_err(|error| Problem::new(Form::NoAnswer, format!("{error:?}")))?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let problem = refusal(response.status(), response.headers());
    let _ = response.into_body().collect().await;
    Err(problem)
}

impl Traffic for Streams {
    const NAME: &'static str = "HTTP/2 streams";
    const APP: App = App::Shop;

    async fn once(&mut self) -> Result<usize, Problem> {
        let connection = self.connection().await?;
        let (small, up, down) = (
            self.rng.usize(0..1_024),
            self.rng.usize(0..128 << 10),
            self.rng.usize(0..128 << 10),
        );
        let get = async |length: usize| {
            let path = format!("/length?{length}");
            let response = ask(connection.clone(), Method::GET, &path, Pattern::of_length(0)).await?;
            received(response.into_body(), length).await
        };
        let post = async {
            let body = Pattern::in_chunks(up);
            let response = ask(connection.clone(), Method::POST, "/sink", body).await?;
            counted(response, up).await
        };
        let (small, down, up) = tokio::join!(get(small), get(down), post);
        Ok(small? + down? + up?)
    }

    fn forget(&mut self) {
        self.connection = None;
    }
}
