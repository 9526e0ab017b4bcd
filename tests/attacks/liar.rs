//! An API that lies: the real one, with the id of a backend turned into what a terminal would obey.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The id of a backend, as the real API knows it.
pub(crate) const HONEST: &str = "evil-0123456789-0123456789-0123456789-abc";
/// What it is told as, within JSON: a title, a colour by one byte, the other order of writing, and the last of it. As long as
/// the other, so that no length has to change.
const LIE: &str = r"evi\u001b]0;owned\u0007\u009b31m\u202elia";
/// What is left of the lie where nobody obeys it, if a column is too narrow for all of it.
pub(crate) const HARMLESS: [&str; 2] = ["evi", "]0;owned"];

/// It passes everything on but that. It ends when it is dropped.
pub(crate) struct Liar {
    pub(crate) addr: SocketAddr,
    stop: CancellationToken,
}

impl Liar {
    pub(crate) async fn before(api: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, stop) = (listener.local_addr()?, CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move {
            while let Some(Ok((client, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    // What goes wrong with it ends it.
                    let _ = stopped.run_until_cancelled(pass(client, api)).await;
                });
            }
        });
        Ok(Self { addr, stop })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn pass(client: TcpStream, api: SocketAddr) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_api, mut to_api) = TcpStream::connect(api).await?.into_split();
    let asking = async { tokio::io::copy(&mut from_client, &mut to_api).await.map(drop) };
    let telling = async {
        let mut text = Vec::new();
        while from_api.read_buf(&mut text).await? > 0 {
            let told = lied(&mut text);
            to_client.write_all(&told).await?;
        }
        to_client.write_all(&text).await
    };
    tokio::try_join!(asking, telling).map(drop)
}

/// Takes what can be told by now: all but what could yet become the honest id.
fn lied(text: &mut Vec<u8>) -> Vec<u8> {
    let honest = HONEST.as_bytes();
    let mut at = 0;
    while let Some(found) = text[at..]
        .windows(honest.len())
        .position(|window| window == honest)
    {
        at += found;
        text[at..at + honest.len()].copy_from_slice(LIE.as_bytes());
        at += honest.len();
    }
    let may_become = |length: &usize| text[at..].ends_with(&honest[..*length]);
    let kept = (1..honest.len()).rev().find(may_become).unwrap_or(0);
    let kept = text.split_off(text.len() - kept);
    std::mem::replace(text, kept)
}

const _: () = assert!(HONEST.len() == LIE.len());
