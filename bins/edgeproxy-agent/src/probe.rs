//! Whether the server answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
    /// `None`: the addresses from which this machine reaches the first API that it has a way to. The one that answers is
    /// registered.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) apis: Vec<ApiUrl>,
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
/// Between two questions for this machine's address: each may ask a name server.
const LOCATING: Duration = Duration::from_millis(500);
/// The first line of an answer.
const LONGEST_LINE: usize = 256;

impl Probe {
    /// Probes until it answers, and then as often as it is to be watched. Every result is told.
    pub(crate) fn start(mut self) -> mpsc::Receiver<Probed> {
        let (told, results) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut has_answered = false;
            loop {
                let (probed, pause) = match self.addresses().await {
                    Ok(ips) => (self.once(ips).await, STARTING),
                    Err(what) => (Probed::Silent(what), LOCATING),
                };
                if let Probed::Answered(addr) = &probed {
                    has_answered = true;
                    // What is registered is what is watched, whatever becomes of the API's name.
                    self.ip = Some(addr.ip());
                }
                if told.send(probed).await.is_err() {
                    return;
                }
                match (has_answered, self.watch) {
                    (false, _) => sleep(pause).await,
                    (true, Some(watch)) => sleep(watch).await,
                    (true, None) => return,
                }
            }
        });
        results
    }

    /// Where the server may be. While no API's name can be resolved and no way leads to one, nobody knows: loopback would
    /// be right for no API of another machine.
    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        if let Some(ip) = self.ip {
            return Ok(vec![ip]);
        }
        let mut unknown = Vec::new();
        for api in &self.apis {
            match own_ips(api).await {
                Ok(ips) => return Ok(ips),
                Err(error) => unknown.push(format!("this machine's address towards {}: {error}", api.host())),
            }
        }
        Err(unknown.join(", "))
    }

    /// The first address that answers is the one. A name such as localhost has several, and the server may listen on one.
    async fn once(&self, ips: Vec<IpAddr>) -> Probed {
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
        let mut stream = of_another(TcpStream::connect(addr).await?)?;
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

/// A connection, unless its far end is its near one: where nobody listens on a port that the system takes for connections
/// by itself, now and then one is made to its own port, and would keep the server from it.
fn of_another(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        // Without the minute that the port would be kept otherwise.
        stream.set_zero_linger()?;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
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

    /// No route leads to it: a socket has to be told that it may broadcast.
    const NOWHERE: &str = "http://255.255.255.255:9";

    fn probe(apis: &[&str], port: NonZeroU16) -> Probe {
        Probe {
            ip: None,
            apis: apis.iter().map(|api| api.parse().unwrap()).collect(),
            port,
            path: None,
            watch: None,
        }
    }

    #[tokio::test]
    async fn a_server_is_not_ready_while_nobody_knows_where_it_is() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let port = NonZeroU16::new(addr.port()).unwrap();
        let mut probes = probe(&[NOWHERE], port).start();
        for _ in 0..2 {
            let probed = probes.recv().await.unwrap();
            let told = "this machine's address towards 255.255.255.255: ";
            assert!(
                matches!(&probed, Probed::Silent(what) if what.starts_with(told)),
                "{probed:?}"
            );
        }
        // Another API tells.
        let mut probes = probe(&[NOWHERE, "http://127.0.0.1:9"], port).start();
        let probed = probes.recv().await.unwrap();
        assert!(
            matches!(probed, Probed::Answered(found) if found == addr),
            "{probed:?}"
        );
    }

    #[tokio::test]
    async fn a_probe_that_has_reached_itself_is_no_answer_and_leaves_the_port_free() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let stream = socket.connect(addr).await.unwrap();
        assert_eq!(
            of_another(stream).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        // Without the option that lets a server take a port that is still being closed.
        let server = tokio::net::TcpSocket::new_v4().unwrap();
        server.bind(addr).unwrap();
        let _listener = server.listen(1).unwrap();
        let stream = TcpStream::connect(addr).await.unwrap();
        assert!(of_another(stream).is_ok());
    }

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
