use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::headers::via::Pseudonym;
use crate::{Config, Listener};

/// Why the data plane can't begin. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refuses an address.
    #[error("can't listen on {addr} (listener {listener:?}): {source}")]
    Listen {
        /// The listener's name.
        listener: String,
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could connect.
    #[error("there are no listeners; at least 1 is needed")]
    NoListeners,
    /// No worker.
    #[error("workers is 0; at least 1 is needed")]
    NoWorkers,
    /// A pseudonym that `Via` can't carry.
    #[error("pseudonym {found:?} is not 1 to 64 of A-Z a-z 0-9 . _ -")]
    Pseudonym {
        /// The pseudonym found, shortened.
        found: String,
    },
    /// A limit beyond what the codecs can hold it to.
    #[error("max_head_bytes is {found}; it can be from 8192 to 65536")]
    HeadLimit {
        /// The limit found.
        found: usize,
    },
}

/// Listeners that are bound, each by a socket for each worker, and not served yet. Clients that connect wait.
#[derive(Debug)]
pub struct Bound {
    pub(crate) config: Config,
    pub(crate) pseudonym: Pseudonym,
    /// For each worker its sockets, each with the number of its listener.
    pub(crate) sockets: Vec<Vec<(usize, TcpListener)>>,
    addrs: Vec<SocketAddr>,
    /// The sockets of each listener once more, for [`Bound::take_sockets`].
    opened: Vec<Vec<TcpListener>>,
}

impl Bound {
    /// Every socket of every listener, in the order of [`Config::listeners`], for whoever is to accept on them
    /// [later](crate::Running::leave). Closing them does nothing to the workers; but while they are open, clients are not
    /// refused, whatever the workers do. Empty when they have been taken.
    #[must_use]
    pub fn take_sockets(&mut self) -> Vec<Vec<TcpListener>> {
        std::mem::take(&mut self.opened)
    }

    /// Where clients connect to each listener, in the order of [`Config::listeners`]; with the port that the
    /// system chose if it was asked to.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Where clients connect to the first listener.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        // There is one, unless nobody is to connect.
        self.addrs
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The listeners, each with the address that it is bound to.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = (&Listener, SocketAddr)> {
        self.config.listeners.iter().zip(self.addrs.iter().copied())
    }
}

/// Binds a socket for each worker to every listener's address; the system spreads connections among them
/// (`SO_REUSEPORT`).
///
/// # Errors
/// When the configuration contradicts itself, or the system refuses an address.
pub fn bind(config: Config) -> Result<Bound, BindError> {
    bind_with(config, Vec::new())
}

/// As [`bind`], but for sockets that are open already: `opened` are those of each listener, in the order of
/// [`Config::listeners`]; one that has none is bound. They are where they are, whatever the listener's address says.
///
/// All of them are accepted on, however many workers there are, since the system spreads connections among sockets and
/// not among workers: what waits at one that nobody accepts on is lost with it. Where there are fewer sockets than
/// workers, workers share one.
///
/// # Errors
/// As of [`bind`], or one of them doesn't listen.
pub fn bind_with(config: Config, opened: Vec<Vec<TcpListener>>) -> Result<Bound, BindError> {
    if config.listeners.is_empty() {
        return Err(BindError::NoListeners);
    }
    bind_all(config, opened)
}

/// Workers that nobody can connect to, for the program's own requests alone: see [`Outbound`](crate::Outbound).
///
/// # Errors
/// When the configuration contradicts itself.
pub fn without_listeners(config: Config) -> Result<Bound, BindError> {
    let config = Config {
        listeners: Vec::new(),
        ..config
    };
    bind_all(config, Vec::new())
}

fn bind_all(config: Config, opened: Vec<Vec<TcpListener>>) -> Result<Bound, BindError> {
    if config.workers == 0 {
        return Err(BindError::NoWorkers);
    }
    check_head_limit(&config)?;
    let pseudonym = match &config.pseudonym {
        Some(name) => Pseudonym::parse(name),
        None => Pseudonym::parse(&format!("edgeproxy-{:016x}", fastrand::u64(..))),
    };
    let pseudonym = pseudonym.ok_or_else(|| BindError::Pseudonym {
        found: config
            .pseudonym
            .as_deref()
            .unwrap_or_default()
            .chars()
            .take(64)
            .collect(),
    })?;
    let mut sockets: Vec<Vec<(usize, TcpListener)>> = (0..config.workers).map(|_| Vec::new()).collect();
    let mut addrs = Vec::with_capacity(config.listeners.len());
    let mut open = Vec::with_capacity(config.listeners.len());
    let mut opened = opened.into_iter();
    for (number, listener) in config.listeners.iter().enumerate() {
        let refused = |source| BindError::Listen {
            listener: listener.name.clone(),
            addr: listener.addr,
            source,
        };
        let mut own = opened.next().unwrap_or_default();
        if own.is_empty() {
            own = listen_for_each(listener.addr, &config).map_err(refused)?;
        } else {
            own.iter().try_for_each(adopt).map_err(refused)?;
        }
        if let Some(first) = own.first() {
            addrs.push(first.local_addr().map_err(refused)?);
        }
        deal(number, &own, &mut sockets).map_err(refused)?;
        open.push(own);
    }
    Ok(Bound {
        config,
        pseudonym,
        sockets,
        addrs,
        opened: open,
    })
}

/// A socket for each worker.
fn listen_for_each(mut addr: SocketAddr, config: &Config) -> io::Result<Vec<TcpListener>> {
    check_is_free(addr)?;
    let one = |_| {
        let socket = listen(addr, config)?;
        // With port 0 the others follow the first.
        addr = socket.local_addr()?;
        Ok(socket)
    };
    (0..config.workers).map(one).collect()
}

/// Makes a socket of somebody else's such as one's own.
fn adopt(socket: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if !socket.is_listener()? {
        let why = "the socket that was handed over does not listen";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)
}

/// Every worker gets a socket, and every socket a worker.
fn deal(
    listener: usize,
    sockets: &[TcpListener],
    workers: &mut [Vec<(usize, TcpListener)>],
) -> io::Result<()> {
    let count = workers.len().max(sockets.len());
    for (socket, turn) in sockets.iter().cycle().zip(0..count) {
        let worker = turn % workers.len().max(1);
        if let Some(worker) = workers.get_mut(worker) {
            worker.push((listener, socket.try_clone()?));
        }
    }
    Ok(())
}

/// A limit beyond what the codecs can hold it to is refused.
pub(crate) fn check_head_limit(config: &Config) -> Result<(), BindError> {
    let found = config.max_head_bytes;
    if (8 * 1024..=64 * 1024).contains(&found) {
        Ok(())
    } else {
        Err(BindError::HeadLimit { found })
    }
}

/// Another process that listens with `SO_REUSEPORT`, such as a second proxy started by mistake, would share
/// the connections with this one and neither would know, as would two of our own listeners; an ordinary bind
/// is refused.
fn check_is_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a proxy that has ended are no obstacle.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

fn listen(addr: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if config.workers > 1 {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // What is accepted has it from here, without a system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(config.backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::AppName;

    use super::*;

    fn at(addr: SocketAddr, workers: usize) -> Config {
        Config {
            listeners: vec![Listener::http(addr)],
            workers,
            ..Config::default()
        }
    }

    fn local(workers: usize) -> Config {
        at(SocketAddr::from(([127, 0, 0, 1], 0)), workers)
    }

    fn tcp(addr: SocketAddr) -> Listener {
        Listener::tcp(addr, AppName::parse("database").unwrap())
    }

    #[test]
    fn every_worker_listens_on_the_same_ports() {
        let mut config = local(3);
        config.listeners.push(tcp(config.listeners[0].addr));
        let bound = bind(config).unwrap();
        let [http, tcp] = *bound.local_addrs() else {
            panic!("two listeners, {bound:?}")
        };
        assert_eq!(bound.local_addr(), http);
        assert!(http.port() != 0 && tcp.port() != 0 && http != tcp);
        for sockets in &bound.sockets {
            let addrs: Vec<_> = sockets
                .iter()
                .map(|(_, socket)| socket.local_addr().unwrap())
                .collect();
            assert_eq!(addrs, [http, tcp]);
        }
        assert_eq!(bound.sockets.len(), 3);
    }

    /// Every listener's sockets are accepted on, each by one worker, or each worker has one of them.
    #[test]
    fn sockets_that_are_open_already_are_all_accepted_on_whatever_the_number_of_workers() {
        for (before, then, expected) in [(3, 2, 3), (2, 3, 3), (1, 1, 1), (1, 4, 4)] {
            let mut old = bind(local(before)).unwrap();
            let (addr, sockets) = (old.local_addr(), old.take_sockets());
            assert_eq!(sockets[0].len(), before);
            let new = bind_with(at(addr, then), sockets).unwrap();
            assert_eq!(new.local_addr(), addr);
            let dealt: Vec<_> = new.sockets.iter().map(Vec::len).collect();
            assert_eq!(dealt.iter().sum::<usize>(), expected, "{dealt:?}");
            assert!(
                dealt.iter().all(|count| *count > 0),
                "every worker has one: {dealt:?}"
            );
            drop(old);
            // What the system gives to any of them comes in.
            let _clients: Vec<_> = (0..20)
                .map(|_| std::net::TcpStream::connect(addr).unwrap())
                .collect();
            let sockets = new.sockets.iter().flatten();
            let accepted: usize = sockets
                .map(|(_, socket)| std::iter::from_fn(|| socket.accept().ok()).count())
                .sum();
            assert_eq!(accepted, 20);
        }
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let error = bind_with(local(1), vec![vec![socket.into()]]).unwrap_err();
        assert!(error.to_string().contains("does not listen"), "{error}");
    }

    #[test]
    fn what_is_accepted_leaves_without_delay() {
        let bound = bind(local(1)).unwrap();
        let _client = std::net::TcpStream::connect(bound.local_addr()).unwrap();
        // The socket doesn't block, but the connection is there before it is accepted.
        let (accepted, _) = bound.sockets[0][0].1.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn an_address_in_use_is_named_whether_it_could_be_shared_or_not() {
        for workers in [1, 2] {
            let taken = bind(local(workers)).unwrap();
            let addr = taken.local_addr();
            let error = bind(at(addr, workers)).unwrap_err();
            assert!(error.to_string().contains(&addr.to_string()), "{error}");
        }
    }

    #[test]
    fn two_listeners_cannot_share_an_address_and_the_second_is_named() {
        let free = bind(local(2)).unwrap().local_addr();
        let mut config = at(free, 2);
        config.listeners.push(tcp(free));
        let error = bind(config).unwrap_err().to_string();
        let expected = format!("can't listen on {free} (listener \"database\"): ");
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        assert!(matches!(bind(local(0)), Err(BindError::NoWorkers)));
        let deaf = Config {
            listeners: Vec::new(),
            ..local(1)
        };
        assert!(matches!(bind(deaf), Err(BindError::NoListeners)));
        let named = Config {
            pseudonym: Some("a b".to_owned()),
            ..local(1)
        };
        assert!(matches!(bind(named), Err(BindError::Pseudonym { .. })));
        let small = Config {
            max_head_bytes: 100,
            ..local(1)
        };
        assert!(matches!(bind(small), Err(BindError::HeadLimit { found: 100 })));
    }
}
