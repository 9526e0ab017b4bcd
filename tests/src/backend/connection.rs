use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Behaviour, PROBE_PATH, SEEN, Seen, Shared, lock};

/// How a connection ends without an answer.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Close,
    Reset,
    Garbage,
}

/// Tells hyper to give up the connection; what happens to it then is [`Ending`]'s.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left unanswered on purpose")
    }
}

impl std::error::Error for Unanswered {}

/// Serves a connection until it ends or the backend is killed.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if matches!(*lock(&shared.behaviour), Behaviour::CloseOnAccept) {
        return;
    }
    // Without it the answers on a reused connection wait for the peer's delayed ACK.
    let _ = stream.set_nodelay(true);
    let killed = lock(&shared.killed).clone();
    let ending = Arc::new(Mutex::new(Ending::Close));
    let service = service_fn(|request| Box::pin(handle(request, Arc::clone(&shared), Arc::clone(&ending))));
    // Without a date of its own, so that the proxy's can be seen.
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let served = killed
        .run_until_cancelled(poll_fn(|cx| connection.poll_without_shutdown(cx)))
        .await;
    let mut stream = connection.into_parts().io.into_inner();
    let ending = if served.is_none() {
        Ending::Reset
    } else {
        *lock(&ending)
    };
    match ending {
        Ending::Close => {}
        Ending::Reset => {
            let _ = stream.set_zero_linger();
        }
        Ending::Garbage => {
            let _ = stream.write_all(b"\x00\x01this is not HTTP\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    ending: Arc<Mutex<Ending>>,
) -> Result<Response<Full<Bytes>>, Unanswered> {
    let at = Instant::now();
    let probe = request.uri().path() == PROBE_PATH;
    let behaviour = lock(&shared.behaviour).clone();
    // Before the request is counted: who sees it counted and then releases it, releases it.
    let mut released = shared.released.subscribe();
    let _under_way = (!probe).then(|| UnderWay::new(&shared));
    if probe {
        shared.probes.fetch_add(1, Ordering::Relaxed);
    }
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // The client went away or broke the framing; hyper deals with that.
        Err(_) => return Err(Unanswered),
    };
    let seen = Seen {
        at,
        method: head.method,
        target: head.uri,
        version: head.version,
        headers: head.headers,
        body,
    };
    if !probe {
        let mut kept = lock(&shared.seen);
        if kept.len() == SEEN {
            kept.pop_front();
        }
        kept.push_back(seen.clone());
    }
    let unanswered = |how| {
        *lock(&ending) = how;
        Err(Unanswered)
    };
    match behaviour {
        Behaviour::Answer | Behaviour::CloseOnAccept => {}
        Behaviour::AnswerAfter(_) | Behaviour::Hold if probe => {}
        Behaviour::AnswerAfter(work) => tokio::time::sleep(work).await,
        Behaviour::Hold => {
            let _ = released.changed().await;
        }
        Behaviour::Respond(with) => return Ok(with(&seen)),
        Behaviour::CloseUnanswered => return unanswered(Ending::Close),
        Behaviour::Reset => return unanswered(Ending::Reset),
        Behaviour::Garbage => return unanswered(Ending::Garbage),
    }
    answer(&shared.name).map_err(|error| match error {})
}

fn answer(name: &str) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from(name.to_owned())));
    let value = HeaderValue::from_str(name).expect("a backend's name can be a header");
    response.headers_mut().insert("x-backend", value);
    Ok(response)
}

/// Counts a request for as long as it is handled, whatever ends it.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let now = shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        shared.high_water.fetch_max(now, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
