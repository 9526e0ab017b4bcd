//! Calls to whichever member of the cluster answers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use prost::Message;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::address::Endpoint;
use super::backoff::Backoff;
use super::grpc::{Channel, Extras, Fault, Incoming, Outgoing, code};
use super::message::{AuthenticateRequest, AuthenticateResponse};
use super::{EtcdSettings, EtcdUser};

/// Paths of the calls.
pub(super) mod path {
    pub(in crate::etcd) const RANGE: &str = "/etcdserverpb.KV/Range";
    pub(in crate::etcd) const TXN: &str = "/etcdserverpb.KV/Txn";
    pub(in crate::etcd) const WATCH: &str = "/etcdserverpb.Watch/Watch";
    pub(in crate::etcd) const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    pub(in crate::etcd) const LEASE_REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
    pub(in crate::etcd) const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
    pub(super) const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
}

/// The cluster, as a client.
pub(super) struct Client {
    settings: EtcdSettings,
    current: Mutex<Current>,
    /// One caller connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    line: Option<Line>,
    /// How many connections there have been: who failed on an old one doesn't end the new one.
    generation: u64,
    /// The member to be tried next, counted round.
    next: usize,
    /// Why the watch ended last.
    trouble: Option<String>,
}

/// A connection, and who calls on it.
#[derive(Clone)]
pub(super) struct Line {
    channel: Channel,
    token: Option<HeaderValue>,
    generation: u64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.settings.address)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(settings: EtcdSettings) -> Self {
        // Proxies that start together don't all begin with the same member.
        let next = usize::try_from(settings.seed % 1024).unwrap_or(0);
        Self {
            settings,
            current: Mutex::new(Current {
                next,
                ..Current::default()
            }),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) const fn settings(&self) -> &EtcdSettings {
        &self.settings
    }

    /// Asks until somebody answers, one member after the other, for at most `limit`. The question may reach etcd more
    /// than once, so it has to be one that harms nothing when it does.
    pub(super) async fn ask<Q, A>(
        &self,
        path: &'static str,
        question: &Q,
        limit: Duration,
    ) -> Result<A, Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        self.ask_counted(path, question, limit)
            .await
            .map(|(answer, _)| answer)
    }

    /// As [`ask`](Self::ask), with how many times the question was sent.
    pub(super) async fn ask_counted<Q, A>(
        &self,
        path: &'static str,
        question: &Q,
        limit: Duration,
    ) -> Result<(A, u32), Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        let deadline = Instant::now() + limit;
        let mut sendings = 0;
        let mut backoff = Backoff::new(self.settings.seed.wrapping_add(self.generation()));
        let mut refusals = 0;
        loop {
            sendings += 1;
            let fault = match self.attempt(path, question, deadline).await {
                Ok(answer) => return Ok((answer, sendings)),
                Err(fault) => fault,
            };
            if let Fault::Refused { code, message } = &fault {
                // A token is refused when etcd has forgotten it, which it does in its own time, and by starting.
                let is_stale = is_stale_token(*code, message);
                refusals += 1;
                if !is_stale || refusals > 2 {
                    return Err(fault);
                }
                continue;
            }
            let pause = backoff.next();
            if Instant::now() + pause >= deadline {
                return Err(fault);
            }
            sleep(pause).await;
        }
    }

    async fn attempt<Q, A>(&self, path: &'static str, question: &Q, deadline: Instant) -> Result<A, Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        let Ok(line) = timeout_at(deadline, self.line()).await else {
            return Err(Fault::Unreachable("no connection in time".to_owned()));
        };
        let line = line?;
        let left = deadline.saturating_duration_since(Instant::now());
        self.ask_on(&line, path, question, left.min(self.settings.request_timeout))
            .await
    }

    /// Asks once, on that connection.
    pub(super) async fn ask_on<Q, A>(
        &self,
        line: &Line,
        path: &'static str,
        question: &Q,
        limit: Duration,
    ) -> Result<A, Fault>
    where
        Q: Message,
        A: Message + Default,
    {
        let extras = Extras {
            token: line.token.clone(),
            needs_leader: false,
        };
        let answer = match timeout(limit, line.channel.call(path, &extras, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::Unreachable(format!(
                "no answer within {} ms",
                limit.as_millis()
            ))),
        };
        answer.inspect_err(|fault| self.judge(line, fault))
    }

    /// Begins a stream on the connection in use. Whoever holds it tells of its end by [`failed`](Self::failed).
    pub(super) async fn stream<Q, A>(
        &self,
        path: &'static str,
    ) -> Result<(Outgoing<Q>, Incoming<A>, Line), Fault> {
        let line = self.line().await?;
        let extras = Extras {
            token: line.token.clone(),
            needs_leader: true,
        };
        match line.channel.stream(path, &extras).await {
            Ok((outgoing, incoming)) => Ok((outgoing, incoming, line)),
            Err(fault) => {
                self.judge(&line, &fault);
                Err(fault)
            }
        }
    }

    /// That connection is of no use any more: the next call looks for another member.
    pub(super) fn failed(&self, line: &Line) {
        let mut current = self.lock();
        if current.generation == line.generation {
            current.line = None;
        }
    }

    fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Why the watch has ended.
    pub(super) fn note_trouble(&self, reason: String) {
        self.lock().trouble = Some(reason);
    }

    /// Why etcd is lost, for people.
    pub(super) fn trouble(&self, silent: Duration) -> String {
        let members = self.settings.address.members();
        let seconds = silent.as_secs_f64();
        match &self.lock().trouble {
            Some(reason) => format!("etcd at {members} has not been heard of for {seconds} s: {reason}"),
            None => format!("etcd at {members} has not been heard of for {seconds} s"),
        }
    }

    fn judge(&self, line: &Line, fault: &Fault) {
        match fault {
            Fault::Unreachable(_) => self.failed(line),
            Fault::Refused { code, message } if is_stale_token(*code, message) => self.failed(line),
            Fault::Refused { .. } => {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The connection in use, or a new one to the next member.
    async fn line(&self) -> Result<Line, Fault> {
        if let Some(line) = self.open_line() {
            return Ok(line);
        }
        let _only_one = self.connecting.lock().await;
        if let Some(line) = self.open_line() {
            return Ok(line);
        }
        let members = &self.settings.address.endpoints;
        let count = members.len().max(1);
        let (at, turn) = {
            let mut current = self.lock();
            current.next = current.next.wrapping_add(1);
            (current.next % count, current.next / count)
        };
        let Some(member) = members.get(at) else {
            return Err(Fault::Unreachable("no member is known".to_owned()));
        };
        let limit = self.settings.connect_timeout;
        let (channel, token) = match timeout(limit, self.connect(member, turn)).await {
            Ok(connected) => connected.map_err(|fault| at_member(member, fault))?,
            Err(_) => {
                let what = format!("no connection within {} ms", limit.as_millis());
                return Err(at_member(member, Fault::Unreachable(what)));
            }
        };
        let mut current = self.lock();
        current.generation += 1;
        let line = Line {
            channel,
            token,
            generation: current.generation,
        };
        current.line = Some(line.clone());
        Ok(line)
    }

    fn open_line(&self) -> Option<Line> {
        let current = self.lock();
        current
            .line
            .as_ref()
            .filter(|line| !line.channel.has_ended())
            .cloned()
    }

    async fn connect(&self, member: &Endpoint, turn: usize) -> Result<(Channel, Option<HeaderValue>), Fault> {
        let addrs = lookup_host((member.host.as_str(), member.port)).await;
        let addrs = in_turn(addrs.map_err(|e| Fault::of_io(&e))?.collect(), turn);
        let stream = TcpStream::connect(&*addrs).await.map_err(|e| Fault::of_io(&e))?;
        stream.set_nodelay(true).map_err(|e| Fault::of_io(&e))?;
        let authority = member.to_string();
        let channel = match &self.settings.tls {
            None => Channel::open(stream, &authority, false).await?,
            Some(config) => {
                let name = ServerName::try_from(member.host.clone())
                    .map_err(|_| Fault::Unreachable("a certificate can't be for such a name".to_owned()))?;
                let connector = TlsConnector::from(Arc::clone(config));
                let handshake = connector.with_alpn(vec![b"h2".to_vec()]).connect(name, stream);
                let stream = handshake.await.map_err(|e| Fault::of_io(&e))?;
                Channel::open(stream, &authority, true).await?
            }
        };
        let token = match &self.settings.user {
            None => None,
            Some(user) => Some(authenticate(&channel, user).await?),
        };
        Ok((channel, token))
    }
}

/// A name's addresses, with another one first each time: one of a machine that is gone says nothing, and takes all the time
/// that a connection has.
fn in_turn(mut addrs: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let first = turn % addrs.len().max(1);
    addrs.rotate_left(first);
    addrs
}

/// A connection that is refused by one member may be granted by another one, but wrong passwords are wrong everywhere.
fn at_member(member: &Endpoint, fault: Fault) -> Fault {
    match fault {
        Fault::Unreachable(what) => Fault::Unreachable(format!("{member}: {what}")),
        Fault::Refused { code, message } => Fault::Refused {
            code,
            message: format!("{member}: {message}"),
        },
    }
}

async fn authenticate(channel: &Channel, user: &EtcdUser) -> Result<HeaderValue, Fault> {
    let password = user.password.read().await;
    let password = password.map_err(|message| Fault::Refused {
        code: code::FAILED_PRECONDITION,
        message,
    })?;
    let question = AuthenticateRequest {
        name: user.name.clone(),
        password,
    };
    let answer: AuthenticateResponse = channel
        .call(path::AUTHENTICATE, &Extras::default(), &question)
        .await?;
    let mut token = HeaderValue::try_from(answer.token).map_err(|_| Fault::Refused {
        code: code::UNAUTHENTICATED,
        message: "the token that etcd gave can't be sent back".to_owned(),
    })?;
    token.set_sensitive(true);
    Ok(token)
}

/// etcd forgets tokens (its own ones after five minutes without use), and refuses those from before a change of its
/// users.
pub(super) fn is_stale_token(code: u16, message: &str) -> bool {
    code == code::UNAUTHENTICATED || message.contains("auth: revision in header is old")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::EtcdPassword;
    use super::super::message::{LeaseId, LeaseKeepAliveResponse};
    use super::*;
    use crate::ProxyName;

    #[test]
    fn each_attempt_begins_with_another_of_a_name_s_addresses() {
        let addrs = || ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|addr| addr.parse().unwrap());
        let [a, b, c] = addrs();
        assert_eq!(in_turn(addrs().into(), 3), [a, b, c]);
        assert_eq!(in_turn(addrs().into(), 4), [b, c, a]);
        assert_eq!(in_turn(addrs().into(), 5), [c, a, b]);
        assert_eq!(in_turn(Vec::new(), 5), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_no_longer_than_was_said_though_connections_take_longer() {
        // It takes a connection, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("etcd://{}", silent.local_addr().unwrap());
        let mut settings = EtcdSettings::new(address.parse().unwrap(), ProxyName::parse("a").unwrap(), 1);
        settings.user = Some(EtcdUser {
            name: "u".to_owned(),
            password: EtcdPassword::Text("p".to_owned()),
        });
        settings.connect_timeout = Duration::from_secs(2);
        let client = Client::new(settings);
        let limit = Duration::from_secs(5);
        let began = Instant::now();
        let ask =
            || client.ask::<_, LeaseKeepAliveResponse>(path::LEASE_KEEP_ALIVE, &LeaseId { id: 1 }, limit);
        // Each waits for the one that connects, and then it is its own turn.
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        for answer in [a, b, c, d] {
            assert!(matches!(answer, Err(Fault::Unreachable(_))), "{answer:?}");
        }
        let took = began.elapsed();
        assert!(took <= limit + Duration::from_millis(1), "{took:?}");
    }
}
