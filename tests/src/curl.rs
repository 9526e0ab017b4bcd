use std::process::{Output, Stdio};

use bytes::Bytes;
use tokio::process::Command;

use crate::wire::parse_head;
use crate::{PATIENCE, Reply, within};

/// Runs `curl` with these arguments and reads its answer. The caller names the URL; silence, headers and a
/// deadline are added.
///
/// # Panics
/// If curl fails, or its answer can't be read.
pub async fn curl(args: &[&str]) -> Reply {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "15",
            "--noproxy",
            "*",
        ])
        .args(args);
    let output = run(command, "curl").await;
    assert!(output.status.success(), "curl {args:?}: {output:?}");
    let is_head = args.contains(&"--head") || args.contains(&"-I");
    match parse(output.stdout, is_head) {
        Ok(reply) => reply,
        Err(error) => panic!("curl {args:?} printed {error}"),
    }
}

/// Runs a script and returns what it printed.
///
/// # Panics
/// If it fails or takes more than 20 seconds.
pub async fn shell(script: &str) -> String {
    let mut command = Command::new("sh");
    command.arg("-euc").arg(script);
    let output = run(command, "sh").await;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{script}\nprinted: {stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

async fn run(mut command: Command, name: &str) -> Output {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Nobody's .curlrc and no proxy of the environment's.
    command
        .env_clear()
        .env("PATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match within(PATIENCE, name, command.output()).await {
        Ok(output) => output,
        Err(error) => panic!("{name} can't be run, and these tests need it: {error}"),
    }
}

/// What `curl --include` printed: heads of interim answers, the head, the body without its framing.
fn parse(printed: Vec<u8>, is_head: bool) -> Result<Reply, String> {
    let mut rest = Bytes::from(printed);
    loop {
        let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Err(format!("no head: {rest:?}"));
        };
        let head = rest.split_to(end + 4);
        let head = std::str::from_utf8(&head).map_err(|_| format!("a head that is not UTF-8: {head:?}"))?;
        // HTTP/2 has no reason phrase, and curl leaves its space.
        let (version, status, headers) = parse_head(head).map_err(|error| error.to_string())?;
        if !status.is_informational() {
            let body = if is_head { Bytes::new() } else { rest };
            return Ok(Reply {
                version,
                status,
                headers,
                body,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;
    use crate::Backend;

    #[tokio::test]
    async fn a_real_curl_is_understood() {
        let backend = Backend::start("b1").await;
        let url = format!("http://{}/a", backend.addr());
        let reply = curl(&["-X", "POST", "-d", "x=1", "-H", "X-One: 1", &url])
            .await
            .expect(200);
        assert_eq!((reply.version, reply.text()), (Version::HTTP_11, "b1"));
        let seen = backend.last_seen();
        assert_eq!(
            (seen.target.path(), &seen.body[..], &seen.headers["x-one"]),
            ("/a", &b"x=1"[..], &"1".parse().unwrap())
        );
        let _ = curl(&["--head", &url]).await.expect(200);
    }

    #[test]
    fn interim_answers_are_skipped_and_http2_is_read() {
        let printed = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 404 \r\na: b\r\n\r\nbody\r\n\r\n".to_vec();
        let reply = parse(printed, false).unwrap();
        assert_eq!(
            (reply.version, reply.status.as_u16(), reply.text()),
            (Version::HTTP_2, 404, "body\r\n\r\n")
        );
    }

    #[tokio::test]
    async fn a_script_gives_what_it_prints() {
        assert_eq!(shell("a=1; printf '%s' $a$a").await, "11");
    }
}
