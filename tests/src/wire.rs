use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PATIENCE, Reply, within};

/// More than any answer in these tests.
const LIMIT: usize = 8 * 1024 * 1024;

/// A bare connection: sends bytes as they are, reads what comes. It reads strictly, so that sloppy framing
/// in an answer is a failure.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If it can't.
    pub async fn connect(addr: SocketAddr) -> Self {
        match within(PATIENCE, "a connection", TcpStream::connect(addr)).await {
            Ok(stream) => Self {
                stream,
                read: Vec::new(),
            },
            Err(error) => panic!("no connection to {addr}: {error}"),
        }
    }

    /// Sends these bytes. A peer that has gone away already is no error here: what it said before is what
    /// the test wants to see.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within(PATIENCE, "the bytes are taken", self.stream.write_all(bytes)).await;
    }

    /// Sends nothing more, and still reads.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next answer to a request that is not a HEAD, interim ones skipped.
    ///
    /// # Errors
    /// If the connection ends or breaks before, or what comes is not HTTP/1.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        within(PATIENCE, "an answer", self.read_reply(Framing::ByHeaders)).await
    }

    /// The next answer to a HEAD.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub async fn reply_to_head(&mut self) -> io::Result<Reply> {
        within(PATIENCE, "an answer", self.read_reply(Framing::NoBody)).await
    }

    /// Everything up to the end of the connection.
    ///
    /// # Errors
    /// If it breaks.
    ///
    /// # Panics
    /// If it doesn't end within 20 seconds.
    pub async fn rest(&mut self) -> io::Result<String> {
        within(PATIENCE, "the connection is closed", async {
            while self.fill().await? {}
            Ok(String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned())
        })
        .await
    }

    /// The connection ends, cleanly or by a reset, with nothing more said.
    ///
    /// # Panics
    /// If something more comes, or it doesn't end within 20 seconds.
    pub async fn closed(&mut self) {
        if let Ok(rest) = self.rest().await {
            assert_eq!(
                rest, "",
                "nothing more is said on a connection that is to be closed"
            );
        }
    }

    async fn read_reply(&mut self, framing: Framing) -> io::Result<Reply> {
        loop {
            let end = self.until(b"\r\n\r\n").await?;
            let head = String::from_utf8(self.take(end)).map_err(|_| invalid("a head that is not UTF-8"))?;
            let (version, status, headers) = parse_head(&head)?;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                continue;
            }
            let no_body = framing == Framing::NoBody || matches!(status.as_u16(), 101 | 204 | 304);
            let body = if no_body {
                Bytes::new()
            } else {
                self.body(&headers).await?
            };
            return Ok(Reply {
                version,
                status,
                headers,
                body,
            });
        }
    }

    async fn body(&mut self, headers: &HeaderMap) -> io::Result<Bytes> {
        match (headers.get("transfer-encoding"), headers.get("content-length")) {
            (Some(_), Some(_)) => Err(invalid("a length beside a transfer encoding")),
            (Some(coding), None) if coding == "chunked" => self.chunks().await,
            (Some(_), None) => Err(invalid("an unknown transfer encoding")),
            (None, Some(length)) => {
                let length = length.to_str().ok().and_then(|length| length.parse().ok());
                let length = length.ok_or_else(|| invalid("a malformed length"))?;
                self.at_least(length).await?;
                Ok(self.take(length).into())
            }
            (None, None) => {
                while self.fill().await? {}
                Ok(std::mem::take(&mut self.read).into())
            }
        }
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let mut body = Vec::new();
        loop {
            let end = self.until(b"\r\n").await?;
            let line =
                String::from_utf8(self.take(end)).map_err(|_| invalid("a chunk size that is not UTF-8"))?;
            let size =
                usize::from_str_radix(line.trim_end(), 16).map_err(|_| invalid("a malformed chunk size"))?;
            if size == 0 {
                // The trailers, up to the empty line.
                loop {
                    let end = self.until(b"\r\n").await?;
                    if self.take(end) == b"\r\n" {
                        return Ok(body.into());
                    }
                }
            }
            self.at_least(size + 2).await?;
            body.extend(self.take(size));
            if self.take(2) != b"\r\n" {
                return Err(invalid("a chunk without an end"));
            }
        }
    }

    /// The length up to and with the first `mark`.
    async fn until(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(found) = self.read.windows(mark.len()).position(|window| window == mark) {
                return Ok(found + mark.len());
            }
            self.more().await?;
        }
    }

    async fn at_least(&mut self, length: usize) -> io::Result<()> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.fill().await? {
            return Ok(());
        }
        let text = format!(
            "the connection ended after {:?}",
            String::from_utf8_lossy(&self.read)
        );
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }

    /// Reads once; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.read.len() > LIMIT {
            return Err(invalid("an answer beyond every limit"));
        }
        Ok(self.stream.read_buf(&mut self.read).await? > 0)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.read.split_off(length);
        std::mem::replace(&mut self.read, rest)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    ByHeaders,
    NoBody,
}

/// The parts of a head, its empty line included.
pub(crate) fn parse_head(head: &str) -> io::Result<(Version, StatusCode, HeaderMap)> {
    let mut lines = head
        .strip_suffix("\r\n\r\n")
        .ok_or_else(|| invalid("a head without an end"))?
        .split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let version = match words.next() {
        Some("HTTP/1.1") => Version::HTTP_11,
        Some("HTTP/1.0") => Version::HTTP_10,
        Some("HTTP/2") => Version::HTTP_2,
        _ => return Err(invalid(&format!("a status line like {line:?}"))),
    };
    let status = words.next().and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid(&format!("a status line like {line:?}")))?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let field = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?))
        });
        let (name, value) = field.ok_or_else(|| invalid(&format!("a header line like {line:?}")))?;
        headers.append(name, value);
    }
    Ok((version, status, headers))
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A wire to a peer that says these pieces, each in a segment of its own, and closes.
    async fn said(pieces: &[&'static [u8]]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Wire::connect(listener.local_addr().unwrap()).await;
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.set_nodelay(true).unwrap();
        let pieces = pieces.to_vec();
        tokio::spawn(async move {
            for piece in pieces {
                peer.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        wire
    }

    #[tokio::test]
    async fn answers_are_told_apart_on_one_connection() {
        let mut wire = said(&[
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-le",
            b"ngth: 5\r\nX-A: 1\r\nx-a:\t2 \r\n\r\nhel",
            b"loHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            b"c\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            b"HTTP/1.0 500 Oh\r\n\r\nto the end",
        ])
        .await;
        let first = wire.reply().await.unwrap();
        assert_eq!((first.status.as_u16(), first.text()), (200, "hello"));
        assert_eq!(
            first.headers.get_all("x-a").iter().collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(wire.reply().await.unwrap().status, 204);
        assert_eq!(wire.reply().await.unwrap().text(), "abcde");
        assert_eq!(
            wire.reply_to_head().await.unwrap().header("content-length"),
            Some("9")
        );
        let last = wire.reply().await.unwrap();
        assert_eq!((last.version, last.text()), (Version::HTTP_10, "to the end"));
        wire.closed().await;
    }

    #[tokio::test]
    async fn sloppy_or_truncated_answers_are_errors() {
        for pieces in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabX\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
            b"HTTP/3 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
        ] {
            let found = said(&[pieces]).await.reply().await;
            assert!(found.is_err(), "{:?}: {found:?}", String::from_utf8_lossy(pieces));
        }
    }
}
