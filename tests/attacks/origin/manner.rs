//! What it does besides answering, by the first part of the target.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::{Broken, Connection, Head};

/// The number behind the last slash.
fn number(head: &Head) -> usize {
    let last = head.target().rsplit('/').next();
    last.and_then(|last| last.parse().ok()).unwrap_or_default()
}

fn begins(head: &Head, part: &str) -> bool {
    head.target()
        .strip_prefix(part)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// It answers before it has read the body.
pub(super) fn is_early(head: &Head) -> bool {
    begins(head, "/early")
}

/// It takes what follows a head for the next one, whatever that says of a length.
pub(super) fn ignores_bodies(head: &Head) -> bool {
    begins(head, "/ignorant")
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Connection {
    /// # Errors
    /// If nothing more is served on this connection.
    pub(super) async fn answer(&mut self, head: &Head) -> Result<(), Broken> {
        if head.method() == "HEAD" {
            return self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").await;
        }
        if begins(head, "/cut") {
            return Err(Broken);
        }
        if begins(head, "/reset") {
            let _ = self.stream.set_zero_linger();
            return Err(Broken);
        }
        if begins(head, "/half") {
            // With words that a bystander would know for a stranger's.
            self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe half of a secret")
                .await?;
            return Err(Broken);
        }
        if begins(head, "/more") {
            // Two answers to one request, in one segment.
            let two = [ok("mine"), ok("a stranger's")].concat();
            return self.write(&two).await;
        }
        if begins(head, "/later") {
            self.write(&ok("mine")).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            return self.write(&ok("a stranger's")).await;
        }
        if begins(head, "/large") {
            let length = number(head);
            self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
                .await?;
            let block = vec![b'x'; 64 * 1024];
            let mut left = length;
            while left > 0 {
                let part = left.min(block.len());
                self.write(&block[..part]).await?;
                left -= part;
            }
            return Ok(());
        }
        if begins(head, "/hold") {
            // Until the proxy gives up.
            while self.fill().await {}
            return Err(Broken);
        }
        if begins(head, "/switch") {
            self.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: words\r\n\r\n")
                .await?;
            let mut echo = std::mem::take(&mut self.read);
            loop {
                self.write(&echo).await?;
                echo.resize(4_096, 0);
                match self.stream.read(&mut echo).await {
                    Ok(read) if read > 0 => echo.truncate(read),
                    _ => return Err(Broken),
                }
            }
        }
        let body = head.target().to_owned();
        self.write(&ok(&body)).await
    }
}
