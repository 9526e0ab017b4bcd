//! Clients of the origin's bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

const BUFFER: usize = 256 * 1024;

/// What is asked for in one small exchange.
const SMALL: u64 = 64;

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("{to} does not accept"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for `bytes` in equal parts over `streams` connections at a time, and reads them all.
pub(crate) fn read(to: SocketAddr, streams: u64, bytes: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let each = bytes / streams.max(1);
    let read = all(streams, || {
        let mut stream = connect(to)?;
        stream.write_all(&each.to_be_bytes())?;
        let mut buffer = vec![0; BUFFER];
        let mut left = each;
        while left > 0 {
            match stream.read(&mut buffer)? {
                0 => bail!("the connection ended {left} bytes before its end"),
                count => left = left.saturating_sub(count as u64),
            }
        }
        Ok(each)
    })?;
    println!("done {read}\nseconds {}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Connects, asks for a few bytes, reads them and closes, `parallel` at a time and again and again.
pub(crate) fn exchange(to: SocketAddr, parallel: u64, time: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let done = all(parallel, || {
        let mut done = 0;
        let mut answer = [0; SMALL as usize];
        while begun.elapsed() < time {
            let mut stream = connect(to)?;
            stream.write_all(&SMALL.to_be_bytes())?;
            stream.read_exact(&mut answer)?;
            done += 1;
        }
        Ok(done)
    })?;
    println!("done {done}\nseconds {}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The sum of what `parallel` threads bring.
fn all(parallel: u64, one: impl Fn() -> anyhow::Result<u64> + Sync) -> anyhow::Result<u64> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(&one)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a client panicked")))
            })
            .sum()
    })
}
