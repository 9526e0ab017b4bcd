use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that writes HTTP/1 by hand.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.head);
        all[0]
    }

    /// The proxy's own answer: status, word and sentence.
    pub(crate) fn own(&self) -> (u16, &str, &str) {
        assert_eq!(self.one("server"), "edgeproxy");
        assert_eq!(self.one("content-type"), "application/problem+json");
        let (_, error) = self.body.split_once("\"error\":\"").expect("no error member");
        (
            self.status,
            self.one("x-edgeproxy-error"),
            error.trim_end_matches("\"}"),
        )
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::on(TcpStream::connect(addr).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn on(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        // Inside TLS what has been taken may still be in memory, where the runtime has let this task do enough for now.
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.write(format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"))
            .await;
        self.read().await
    }

    /// One response.
    pub(crate) async fn read(&mut self) -> Response {
        self.try_read(true).await.expect("the connection was closed")
    }

    /// The response to a HEAD.
    pub(crate) async fn read_without_body(&mut self) -> Response {
        self.try_read(false).await.expect("the connection was closed")
    }

    /// One response, or `None` if the connection ends before it does.
    pub(crate) async fn try_read(&mut self, with_body: bool) -> Option<Response> {
        let read = tokio::time::timeout(Duration::from_secs(10), self.parse(with_body));
        read.await.expect("no response in ten seconds")
    }

    /// Waits for the end of the connection; returns what came before it.
    pub(crate) async fn end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// The next `count` bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    async fn fill(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read_buf(&mut self.buffer));
        !matches!(read.await.expect("nothing came in ten seconds"), Ok(0) | Err(_))
    }

    async fn line(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                let bytes = self.bytes(at + end.len()).await?;
                return Some(String::from_utf8(bytes).unwrap());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub(crate) async fn head(&mut self) -> Option<Response> {
        let head = self.line(b"\r\n\r\n").await?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Response {
            status,
            head,
            body: String::new(),
        })
    }

    async fn parse(&mut self, with_body: bool) -> Option<Response> {
        let mut response = self.head().await?;
        if !with_body || matches!(response.status, 204 | 304) {
            return Some(response);
        }
        let body = if let Some(length) = response.all("content-length").first() {
            let length = length.parse().unwrap();
            self.bytes(length).await?
        } else if response.all("transfer-encoding") == ["chunked"] {
            self.chunks(&mut response.head).await?
        } else {
            self.end().await
        };
        response.body = String::from_utf8(body).unwrap();
        Some(response)
    }

    /// Trailers are appended to the head.
    async fn chunks(&mut self, head: &mut String) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(self.line(b"\r\n").await?.trim_end(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.bytes(size).await?);
            assert_eq!(self.bytes(2).await?, b"\r\n");
        }
        loop {
            let line = self.line(b"\r\n").await?;
            if line == "\r\n" {
                return Some(body);
            }
            head.push_str(&line);
        }
    }
}
