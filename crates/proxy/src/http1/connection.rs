//! A client's connection, from one request to the next.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::head::is_due;
use super::request::{self, Client, LastHop, Stop};
use super::response::Persist;
use crate::exchange::account::Account;
use crate::exchange::answer::Answer;
use crate::telemetry::access_log::{Asked, Asker};
use crate::transport::buffer::{Buffer, HeadBuffer};
use crate::transport::socket::{Socket, poll_read, write_all};
use crate::worker::timer::Timer;
use crate::worker::{Current, Worker};

/// A client's connection. It holds no buffer while it waits for a request.
pub(crate) struct Connection<S> {
    pub(super) worker: Rc<Worker>,
    pub(super) socket: S,
    pub(super) timer: Timer,
    pub(super) client: Client,
    /// The beginning of a head, the rest of which has not come.
    begun: Box<[u8]>,
    /// When it began.
    pub(super) began: Option<Instant>,
    /// Whether a request has been served on it.
    pub(super) served: bool,
    /// Since when it waits for a request.
    pub(super) since: Instant,
}

/// How a connection goes on after a request.
pub(super) enum Next {
    /// With another request, of which these bytes have come.
    Request(Buffer),
    /// It ends.
    End,
    /// It ends, but what the client is still sending is taken for a while, so that the answer is not lost.
    Linger,
    /// It is broken off.
    Reset,
}

/// What a connection turned out to be.
pub(crate) enum Ended<S> {
    /// HTTP/1, to its end.
    Closed,
    /// HTTP/2, which begins with these bytes.
    Http2(S, Vec<u8>),
}

/// What has come of a request.
enum Come {
    /// All of its head; what the backend gets in its place is beside it, and the table that says so.
    Head(request::Head, HeadBuffer, Rc<Current>),
    /// Not all of it.
    Part,
    /// The first bytes of HTTP/2.
    Http2,
}

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client that has got its last answer may pause in what it is still sending, and how long that is taken
/// in all. Many a client reads nothing before it has sent everything, so it is not for an amount to decide.
const LINGER_PAUSE: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(10);

/// Serves a connection until it ends, or turns out to speak HTTP/2.
///
/// Not an `async fn`, nor is [`Connection::run`]: those hold their arguments twice, and there are thousands of clients
/// that wait.
pub(crate) fn serve<S: Socket>(
    worker: Rc<Worker>,
    socket: S,
    client: Client,
) -> impl Future<Output = Ended<S>> {
    let timer = worker.timers().timer();
    let connection = Connection {
        worker,
        socket,
        timer,
        client,
        begun: Box::default(),
        began: None,
        served: false,
        since: Instant::now(),
    };
    connection.run()
}

impl<S: Socket> Connection<S> {
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would hold the connection twice"
    )]
    fn run(mut self) -> impl Future<Output = Ended<S>> {
        async move {
            loop {
                let mut inbound = match self.wait().await {
                    Waited::Bytes(inbound) => inbound,
                    Waited::Over => {
                        self.socket.part();
                        return Ended::Closed;
                    }
                    Waited::Slow => {
                        let slow = Answer::request_timeout("the request's head did not arrive in time");
                        Box::pin(self.refuse(slow)).await;
                        return Ended::Closed;
                    }
                };
                loop {
                    // On the heap for as long as it lasts, whatever it is: a connection that waits should be small.
                    let serving: Pin<Box<dyn Future<Output = Next> + '_>> = match self.read(&mut inbound) {
                        Ok(Come::Part) => break,
                        Ok(Come::Http2) => return Ended::Http2(self.socket, inbound.data().to_vec()),
                        Ok(Come::Head(request, head, table)) => {
                            Box::pin(self.exchange(request, inbound, head, table))
                        }
                        Err(Stop::LastHop(last)) => {
                            inbound.consume(last.len);
                            Box::pin(self.answer_as_last(last, inbound))
                        }
                        Err(Stop::Refused(answer)) => Box::pin(async {
                            self.refuse(answer).await;
                            Next::End
                        }),
                    };
                    let next = serving.await;
                    match next {
                        Next::Request(rest) => inbound = rest,
                        Next::End => return Ended::Closed,
                        Next::Linger => {
                            Box::pin(self.linger()).await;
                            return Ended::Closed;
                        }
                        Next::Reset => {
                            self.socket.reset();
                            return Ended::Closed;
                        }
                    }
                    if inbound.is_empty() {
                        break;
                    }
                }
                self.begun = inbound.data().into();
                if self.begun.is_empty() {
                    self.began = None;
                } else {
                    self.began.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Waits for the beginning of a request, or for more of it.
    async fn wait(&mut self) -> Waited {
        let config = self.worker.config();
        let due = match self.began {
            Some(began) => began + config.header_timeout,
            None => self.since + config.idle_timeout,
        };
        self.timer.arm(due);
        let (mut draining, mut looked) = (false, false);
        poll_fn(|cx| {
            // Before anything is read: a head that trickles in is not to be late for ever.
            if self.began.is_some() && self.timer.poll_due(cx).is_ready() {
                return Poll::Ready(Waited::Slow);
            }
            if self.worker.is_draining() && !draining {
                draining = true;
                // Whoever has begun to ask is as one who is about to.
                let idle = self.served && self.began.is_none();
                if let Some(patience) = self.worker.patience(idle) {
                    self.timer.arm(due.min(Instant::now() + patience));
                }
            }
            // The first look rarely finds anything, and asks without memory in its hand. Whoever has been woken
            // finds something nearly always, and asking first would be a second look at the same.
            let polled = if std::mem::replace(&mut looked, true) {
                self.poll_bytes(cx)
            } else {
                match self.socket.poll_readable(cx) {
                    Poll::Ready(Ok(())) => self.poll_bytes(cx),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            };
            match polled {
                Poll::Ready(Ok(Some(inbound))) => Poll::Ready(Waited::Bytes(inbound)),
                Poll::Ready(Ok(None) | Err(_)) => Poll::Ready(Waited::Over),
                Poll::Pending => self.timer.poll_due(cx).map(|()| match self.began {
                    Some(_) => Waited::Slow,
                    None => Waited::Over,
                }),
            }
        })
        .await
    }

    /// Takes what the client has sent, behind the beginning of the head that is there already.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Buffer>>> {
        let mut inbound = self.worker.buffers().buffer();
        if !self.begun.is_empty() {
            let space = inbound.space().len();
            if space < self.begun.len() + MIN_READ {
                inbound.grow();
            }
            if !inbound.append(&self.begun) {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
        }
        match ready!(poll_read(&mut self.socket, cx, inbound.space()))? {
            0 => Poll::Ready(Ok(None)),
            count => {
                inbound.filled(count);
                Poll::Ready(Ok(Some(inbound)))
            }
        }
    }

    /// Reads a head, if it has come.
    fn read(&mut self, inbound: &mut Buffer) -> Result<Come, Stop> {
        // RFC 9112 §2.2: an empty line in front is the work of an old client.
        if inbound.data().starts_with(b"\r\n") {
            inbound.consume(2);
            self.begun = Box::default();
        }
        let data = inbound.data();
        if data.is_empty() || data == b"\r" {
            return Ok(Come::Part);
        }
        if !self.served {
            if data.starts_with(PREFACE) {
                return Ok(Come::Http2);
            }
            if PREFACE.starts_with(data) {
                return Ok(Come::Part);
            }
        }
        let seen = self.begun.len();
        // Parsed when its first bytes come, when its first line has ended, and when it is whole or can't become so: a head
        // that trickles in costs its length, not the square of it.
        let max = self.worker.config().max_head_bytes;
        if seen > 0 && data.len() < max && !is_due(data, seen) {
            return Ok(Come::Part);
        }
        let table = self.worker.current_table();
        let rules = self.worker.rules(self.client, &table);
        let mut head = self.worker.buffers().head();
        let read = request::read(data, &rules, &mut head, || self.worker.random())?;
        self.begun = Box::default();
        Ok(match read {
            Some(request) => Come::Head(request, head, table),
            None => Come::Part,
        })
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.worker.config().send_timeout;
        write_all(&mut self.socket, &self.timer, until, bytes).await
    }

    /// Answers a request that goes no further, behind whose head `rest` has come.
    async fn answer_as_last(&mut self, last: LastHop, rest: Buffer) -> Next {
        (self.served, self.began) = (true, None);
        self.account().answered_as_last(last.status);
        let keep = last.keep && !self.worker.is_draining();
        let answer = last.into_bytes(keep, &self.worker.date());
        let written = self.write_all(&answer).await;
        self.since = Instant::now();
        match written {
            Ok(()) if keep => Next::Request(rest),
            Ok(()) => Next::Linger,
            Err(_) => Next::End,
        }
    }

    /// Refuses what can't be served, and what comes behind it.
    async fn refuse(&mut self, answer: Answer) {
        tracing::debug!(client = %self.client.ip, answer.word, %answer.error, "a request is refused");
        self.worker.books().own.refuse(&answer);
        self.account().refused(&answer);
        let bytes = answer.into_bytes(Persist::Close, true);
        if self.write_all(&bytes).await.is_ok() {
            self.linger().await;
        }
    }

    /// Of a request that goes to nobody.
    fn account(&self) -> Account {
        let from = Asker {
            client: self.client.ip,
            tls: self.client.tls,
            traced: None,
        };
        let now = Instant::now();
        let entry = self.worker.entry(from, now, || Asked {
            protocol: "HTTP/1.1",
            ..Asked::default()
        });
        Account::new(now, entry)
    }

    /// Ends the connection's own side, and takes what the client is still sending: closing on it would make the
    /// system reset the connection, and the answer could be lost (RFC 9112 §9.6).
    async fn linger(&mut self) {
        let begun = Instant::now();
        self.timer.arm(begun + LINGER_PAUSE);
        let mut shut = false;
        let mut sink = self.worker.buffers().buffer();
        poll_fn(|cx| {
            if self.timer.poll_due(cx).is_ready() {
                return Poll::Ready(());
            }
            if !shut {
                match Pin::new(&mut self.socket).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            loop {
                sink.release();
                if ready!(self.socket.poll_readable(cx)).is_err() {
                    return Poll::Ready(());
                }
                match ready!(poll_read(&mut self.socket, cx, sink.space())) {
                    Ok(count) if count > 0 => {
                        // A drain waits no longer than for a pause.
                        if !self.worker.is_draining() {
                            let next = Instant::now() + LINGER_PAUSE;
                            self.timer.arm(next.min(begun + LINGER));
                        }
                    }
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

/// What waiting for a request brought.
enum Waited {
    Bytes(Buffer),
    /// The client has left, or has been waited for long enough.
    Over,
    /// A head has begun, and didn't end in time.
    Slow,
}

/// There is to be at least that much room for the rest of a head.
const MIN_READ: usize = 1024;
