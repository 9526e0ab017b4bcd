//! Another protocol, which a request has switched to.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Traffic, refusal};
use crate::fault::App;
use crate::ledger::{Form, Problem};
use crate::pattern::{Check, piece};

pub(crate) struct Switched {
    proxy: SocketAddr,
    rng: Rng,
}

impl Switched {
    pub(crate) fn new(proxy: SocketAddr, rng: Rng) -> Self {
        Self { proxy, rng }
    }
}

const REQUEST: &[u8] = b"GET /switch HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: soak\r\n\r\n";

impl Traffic for Switched {
    const NAME: &'static str = "switched protocols";
    const APP: App = App::Shop;

    /// Some messages to and fro, with pauses, and an end from this side.
    async fn once(&mut self) -> Result<usize, Problem> {
        let mut stream = TcpStream::connect(self.proxy)
            .await
            .map_err(|error| Problem::new(Form::Unreachable, error))?;
        let unanswered = |error: std::io::Error| Problem::new(Form::NoAnswer, error);
        stream.write_all(REQUEST).await.map_err(unanswered)?;
        let (status, headers) = head(&mut stream).await.map_err(unanswered)?;
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(status, &headers));
        }
        let mut check = Check::default();
        for _ in 0..self.rng.usize(1..20) {
            let message = piece(check.count(), self.rng.usize(1..8_192));
            exchange(&mut stream, &message, &mut check).await?;
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..50))).await;
        }
        end(stream, &check).await
    }
}

/// Sends it, and has it back.
pub(super) async fn exchange(
    stream: &mut TcpStream,
    message: &[u8],
    check: &mut Check,
) -> Result<(), Problem> {
    let cut = |error: std::io::Error| Problem::new(Form::Cut, error);
    let mut back = vec![0; message.len()];
    stream.write_all(message).await.map_err(cut)?;
    stream.read_exact(&mut back).await.map_err(cut)?;
    check
        .take(&back)
        .map_err(|wrong| Problem::new(Form::Wrong, wrong))
}

/// Says no more, and hears no more.
pub(super) async fn end(mut stream: TcpStream, check: &Check) -> Result<usize, Problem> {
    let cut = |error: std::io::Error| Problem::new(Form::Cut, error);
    stream.shutdown().await.map_err(cut)?;
    match stream.read(&mut [0]).await.map_err(cut)? {
        0 => Ok(2 * check.count()),
        _ => Err(Problem::new(Form::Wrong, "more came back than was sent")),
    }
}

/// The answer's head, byte by byte, so that nothing behind it is taken.
async fn head(stream: &mut TcpStream) -> std::io::Result<(StatusCode, HeaderMap)> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("a head like {text:?}")))?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    Ok((status, headers.collect()))
}
