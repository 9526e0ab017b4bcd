//! Bytes that nobody looks at.

use std::net::SocketAddr;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Traffic;
use super::switched::{end, exchange};
use crate::fault::App;
use crate::ledger::{Form, Problem};
use crate::pattern::{Check, piece};

async fn connect(proxy: SocketAddr) -> Result<TcpStream, Problem> {
    TcpStream::connect(proxy)
        .await
        .map_err(|error| Problem::new(Form::Unreachable, error))
}

/// Short ones.
pub(crate) struct Words {
    proxy: SocketAddr,
    rng: Rng,
}

impl Words {
    pub(crate) fn new(proxy: SocketAddr, rng: Rng) -> Self {
        Self { proxy, rng }
    }
}

impl Traffic for Words {
    const NAME: &'static str = "TCP exchanges";
    const APP: App = App::Database;

    async fn once(&mut self) -> Result<usize, Problem> {
        let mut stream = connect(self.proxy).await?;
        let mut check = Check::default();
        for _ in 0..self.rng.usize(1..5) {
            let message = piece(check.count(), self.rng.usize(1..512));
            exchange(&mut stream, &message, &mut check).await?;
        }
        end(stream, &check).await
    }
}

/// Long ones, which are spliced.
pub(crate) struct Bulk {
    proxy: SocketAddr,
    rng: Rng,
}

impl Bulk {
    pub(crate) fn new(proxy: SocketAddr, rng: Rng) -> Self {
        Self { proxy, rng }
    }
}

impl Traffic for Bulk {
    const NAME: &'static str = "TCP bulk";
    const APP: App = App::Database;

    async fn once(&mut self) -> Result<usize, Problem> {
        let length = self.rng.usize(1..8 << 20);
        let mut stream = connect(self.proxy).await?;
        let (mut from, mut to) = stream.split();
        let sending = async {
            let mut sent = 0;
            while sent < length {
                let next = piece(sent, length - sent);
                to.write_all(&next).await?;
                sent += next.len();
            }
            to.shutdown().await
        };
        let receiving = async {
            let (mut check, mut buffer) = (Check::default(), vec![0; 64 * 1024]);
            loop {
                let cut = |error| Problem::new(Form::Cut, error);
                match from.read(&mut buffer).await.map_err(cut)? {
                    0 => return Ok(check.count()),
                    count => check
                        .take(&buffer[..count])
                        .map_err(|wrong| Problem::new(Form::Wrong, wrong))?,
                }
            }
        };
        let (sent, received) = tokio::join!(sending, receiving);
        let received = received?;
        sent.map_err(|error| Problem::new(Form::Cut, error))?;
        if received == length {
            Ok(2 * length)
        } else {
            Err(Problem::new(
                Form::Wrong,
                format!("{received} of {length} bytes, and an end in peace"),
            ))
        }
    }
}
