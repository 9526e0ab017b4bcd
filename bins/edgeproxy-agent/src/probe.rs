//! Whether the server answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use edgeproxy_agent::{ApiUrl, own_ips};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// What is asked, and where.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// `None`: the addresses from which this machine reaches the API, of which one is registered.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) api: ApiUrl,
    pub(crate) port: NonZeroU16,
    /// A path that has to answer with 2xx or 3xx; `None`: a connection is enough.
    pub(crate) path: Option<String>,
    /// How often it is asked once it has answered; `None`: never again.
    pub(crate) watch: Option<Duration>,
}

/// What came of one.
#[derive(Debug)]
pub(crate) enum Probed {
    Answered(SocketAddr),
    /// In words.
    Silent(String),
}

/// One probe.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two while the server starts: a connection that is refused costs next to nothing.
const STARTING: Duration = Duration::from_millis(50);
/// The first line of an answer.
const LONGEST_LINE: usize = 256;

impl Probe {
    /// Probes until it answers, and then as often as it is to be watched. Every result is told.
    pub(crate) fn start(self) -> mpsc::Receiver<Probed> {
        let (told, results) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut has_answered = false;
            loop {
                let probed = self.once().await;
                has_answered |= matches!(probed, Probed::Answered(_));
                if told.send(probed).await.is_err() {
                    return;
                }
                match (has_answered, self.watch) {
                    (false, _) => sleep(STARTING).await,
                    (true, Some(watch)) => sleep(watch).await,
                    (true, None) => return,
                }
            }
        });
        results
    }

    /// The first address that answers is the one. A name such as localhost has several, and the server may listen on one.
    async fn once(&self) -> Probed {
        let ips = match self.ip {
            Some(ip) => vec![ip],
            // Its name can't be resolved yet, perhaps. The server is most likely reached by loopback, too.
            None => own_ips(&self.api)
                .await
                .unwrap_or_else(|_| vec![Ipv4Addr::LOCALHOST.into()]),
        };
        let mut silent = Vec::new();
        for ip in ips {
            let addr = SocketAddr::new(ip, self.port.get());
            match timeout(PATIENCE, self.ask(addr)).await {
                Ok(Ok(())) => return Probed::Answered(addr),
                Ok(Err(error)) => silent.push(format!("{addr}: {error}")),
                Err(_) => silent.push(format!("{addr}: no answer within {} s", PATIENCE.as_secs())),
            }
        }
        Probed::Silent(silent.join(", "))
    }

    async fn ask(&self, addr: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect(addr).await?;
        let Some(path) = &self.path else {
            return Ok(());
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: edgeproxy-agent\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut line = Vec::new();
        while !line.contains(&b'\n') && line.len() < LONGEST_LINE {
            if stream.read_buf(&mut line).await? == 0 {
                break;
            }
        }
        match status(&line) {
            Some(200..=399) => Ok(()),
            Some(status) => Err(io::Error::other(format!(
                "GET {path} is answered with {status}; expected 2xx or 3xx"
            ))),
            None => Err(io::Error::other(format!(
                "GET {path} is not answered in HTTP/1.1"
            ))),
        }
    }
}

/// The status of a status line (RFC 9112 §4).
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|b| *b == b'\n').next()?).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    let (_, rest) = rest.split_once(' ')?;
    let code = rest.get(..3)?;
    code.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_and_nothing_else() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nx"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for other in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1\r\n",
            b"HTTP/1.1 2x4\r\n",
            b"HTTP/1.1 20",
            b"\xff",
        ] {
            assert_eq!(status(other), None);
        }
    }
}
