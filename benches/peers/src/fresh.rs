//! From a registration to the first request that reaches the backend.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::crowd;

/// Longest that one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Registers one app after the other, numbered from `first` on, each with that backend, and asks for it as soon as the answer is there, and again
/// until it is routed to. A fresh connection for each request, so that a whole worker's view is what counts.
pub(crate) fn run(
    api: SocketAddr,
    to: SocketAddr,
    first: u32,
    count: u32,
    backend: SocketAddr,
) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let mut again = 0;
    let mut buffer = vec![0; 16 * 1024];
    let mut registering = connect(api)?;
    for n in first..first + count {
        let began = Instant::now();
        register(&mut registering, api, n, backend, &mut buffer)?;
        while !reached(to, n, &mut buffer)? {
            again += 1;
            if began.elapsed() > PATIENCE {
                bail!("fresh-{n} is not routed to within {PATIENCE:?}");
            }
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times
            .get(index.min(times.len().saturating_sub(1)))
            .map_or(0, Duration::as_micros)
    };
    println!(
        "done {count}\nagain {again}\np50_us {}\np99_us {}\nmax_us {}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("{to} does not accept"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn register(
    stream: &mut TcpStream,
    api: SocketAddr,
    n: u32,
    backend: SocketAddr,
    buffer: &mut [u8],
) -> anyhow::Result<()> {
    let body = format!(
        r#"{{"id":"fresh-{n}","app":"fresh-{n}","region":"eu","country":"DE","ip":"{}","port":{}}}"#,
        backend.ip(),
        backend.port()
    );
    write!(
        stream,
        "POST /api/v1/register HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let status = crowd::status(stream, buffer)?;
    ensure!(status == 201, "found status {status}, expected 201");
    Ok(())
}

/// Whether a request for it was answered by its backend.
fn reached(to: SocketAddr, n: u32, buffer: &mut [u8]) -> anyhow::Result<bool> {
    let mut stream = connect(to)?;
    write!(
        stream,
        "GET /1k HTTP/1.1\r\nHost: fresh-{n}.example\r\nConnection: close\r\n\r\n"
    )?;
    Ok(crowd::status(&mut stream, buffer)? == 200)
}
