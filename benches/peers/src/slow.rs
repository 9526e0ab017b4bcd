//! Clients that never come to the end of their heads, and good ones beside them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::crowd::{answer, request};

/// Between two lines of a slow client.
const PACE: Duration = Duration::from_secs(5);

/// Good clients, and the pause between one's requests: light enough that nothing queues for them alone.
const GOOD: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);

/// How long the good ones are alone first: 16 of them make ten requests a second each, enough for a 99th of a hundred.
const ALONE: Duration = Duration::from_secs(5);

/// How often it is looked whether a slow client was ended.
const LOOK: Duration = Duration::from_millis(250);
/// In as many parts, so that to look at thousands takes no processor from the good ones for long.
const PARTS: usize = 25;

#[derive(Default)]
struct Ends {
    with_408: usize,
    /// By something else, or by nothing but a close.
    otherwise: usize,
}

/// Good clients alone, then with slow ones beside them until every slow one was ended, or for `limit`.
pub(crate) fn run(to: SocketAddr, clients: usize, limit: Duration) -> anyhow::Result<()> {
    let (crowded, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let good: Vec<_> = (0..GOOD)
            .map(|_| scope.spawn(|| good(to, &crowded, &done)))
            .collect();
        std::thread::sleep(ALONE);
        crowded.store(true, Ordering::Relaxed);
        let slow = slow(to, clients, limit);
        done.store(true, Ordering::Relaxed);
        let mut times = Times::default();
        let mut failed = 0;
        for thread in good {
            match thread.join() {
                Ok(Ok(mut some)) => {
                    times.alone.append(&mut some.alone);
                    times.crowded.append(&mut some.crowded);
                }
                Ok(Err(_)) | Err(_) => failed += 1,
            }
        }
        let (ends, left, took) = slow?;
        println!(
            "with_408 {}\notherwise {}\nleft {left}\nseconds {}\ngood_failed {failed}",
            ends.with_408,
            ends.otherwise,
            took.as_secs_f64(),
        );
        for (name, times) in [("alone", &mut times.alone), ("crowded", &mut times.crowded)] {
            times.sort_unstable();
            println!(
                "{name}_p50_us {}\n{name}_p99_us {}",
                quantile(times, 500),
                quantile(times, 990)
            );
        }
        Ok(())
    })
}

/// Of sorted times, in microseconds.
fn quantile(times: &[Duration], per_mille: usize) -> u128 {
    times
        .get(times.len() * per_mille / 1000)
        .map_or(0, Duration::as_micros)
}

/// How long the good clients' requests took.
#[derive(Default)]
struct Times {
    alone: Vec<Duration>,
    crowded: Vec<Duration>,
}

fn good(to: SocketAddr, crowded: &AtomicBool, done: &AtomicBool) -> anyhow::Result<Times> {
    let mut client = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![0; 16 * 1024];
    let mut times = Times::default();
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        request(&mut client, "/1k")?;
        answer(&mut client, &mut buffer)?;
        if crowded.load(Ordering::Relaxed) {
            times.crowded.push(begun.elapsed());
        } else {
            times.alone.push(begun.elapsed());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

struct Slow {
    stream: TcpStream,
    next: Instant,
}

/// How they were ended, how many were not, and how long that took.
fn slow(to: SocketAddr, clients: usize, limit: Duration) -> anyhow::Result<(Ends, usize, Duration)> {
    let begun = Instant::now();
    let mut crowd = Vec::with_capacity(clients);
    for n in 0..clients {
        let mut stream = TcpStream::connect(to).with_context(|| format!("client {n} of {clients}"))?;
        stream.set_nonblocking(true)?;
        stream.write_all(b"GET /1k HTTP/1.1\r\nHost: bench.example\r\n")?;
        let next = Instant::now() + PACE;
        crowd.push(Slow { stream, next });
    }
    println!("ready");
    let mut ends = Ends::default();
    while !crowd.is_empty() && begun.elapsed() < limit {
        let part = crowd.len().div_ceil(PARTS);
        let mut rest = crowd;
        crowd = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let mut some = rest.split_off(rest.len().saturating_sub(part));
            some.retain_mut(|client| !client.has_ended(&mut ends));
            crowd.append(&mut some);
            std::thread::sleep(LOOK / PARTS as u32);
        }
    }
    Ok((ends, crowd.len(), begun.elapsed()))
}

impl Slow {
    fn has_ended(&mut self, ends: &mut Ends) -> bool {
        let mut buffer = [0; 512];
        match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(count) if buffer[..count].starts_with(b"HTTP/1.1 408 ") => {
                ends.with_408 += 1;
                return true;
            }
            Ok(_) | Err(_) => {
                ends.otherwise += 1;
                return true;
            }
        }
        let now = Instant::now();
        if now >= self.next {
            self.next = now + PACE;
            let sent: io::Result<usize> = self.stream.write(b"X-Slow: line\r\n");
            if sent.is_err() {
                // Whether an answer came first is told by the next read.
                self.next = now + LOOK;
            }
        }
        false
    }
}
