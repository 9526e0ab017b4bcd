//! The whole proxy inside one's own program: a backend registers through the handle, without the API, and a
//! request finds its way to it.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example embedded
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
use edgeproxy_config::Settings;
use edgeproxy_registry::Registration;
use edgeproxy_server::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/// As small as a backend can be: one answer to one request.
async fn answer_once(listener: TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await? > 0 {}
    stream.write_all(ANSWER).await
}

async fn ask(proxy: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn run() -> anyhow::Result<()> {
    let settings = Settings {
        listen_addr: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Settings::default()
    };
    let proxy = App::build(settings.into())?.spawn()?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let backend = Backend::new(
        BackendId::parse("inside")?,
        AppName::parse("shop")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::new(addr.ip(), addr.port())?,
    );
    // Once this resolves, every worker routes to it.
    proxy
        .handle()
        .register(Registration { backend, ttl: None })
        .await?;

    let (answered, answer) = tokio::join!(answer_once(listener), ask(proxy.proxy_addr()));
    answered?;
    let answer = answer?;
    println!("{answer}");
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"));
    proxy.drain().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

#[test]
fn it_runs() {
    main().unwrap();
}
