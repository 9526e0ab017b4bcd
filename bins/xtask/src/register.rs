//! A backend's registration with edgeproxy.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::process::PATIENCE;

/// Requests that it takes at a time: more than any load holds. What is measured beside others, which know no limit
/// unless they are told one, is not how long requests wait for a place.
const LIMIT: u32 = 100_000;

/// Registers it; once this returns, it is routed to.
///
/// # Errors
/// The API can't be reached or answers with anything but 201.
pub(crate) fn backend(api: SocketAddr, app: &str, backend: SocketAddr) -> anyhow::Result<()> {
    let body = json!({
        "id": "origin-1",
        "app": app,
        "region": "sa",
        "ip": backend.ip().to_string(),
        "port": backend.port(),
        "soft_limit": LIMIT,
        "hard_limit": LIMIT,
    })
    .to_string();
    let request = format!(
        "POST /api/v1/register HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    TcpStream::connect(api)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)
        })
        .with_context(|| format!("edgeproxy's API at {api} can't be reached"))?;
    ensure!(
        answer.starts_with("HTTP/1.1 201 "),
        "edgeproxy did not take the registration: {}",
        answer.lines().last().unwrap_or_default()
    );
    Ok(())
}
