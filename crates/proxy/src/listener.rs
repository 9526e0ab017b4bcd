use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Config;
use crate::headers::via::Pseudonym;

/// Why the data plane can't begin. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No listener.
    #[error("can't listen on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No worker.
    #[error("workers is 0; at least 1 is needed")]
    NoWorkers,
    /// A pseudonym that `Via` can't carry.
    #[error("pseudonym {found:?} is not 1 to 64 of A-Z a-z 0-9 . _ -")]
    Pseudonym {
        /// The pseudonym found, shortened.
        found: String,
    },
    /// A limit below what the codecs need.
    #[error("max_head_bytes is {found}; at least 8192 are needed")]
    HeadLimit {
        /// The limit found.
        found: usize,
    },
}

/// Listeners that are bound, one for each worker, and not served yet. Clients that connect wait.
#[derive(Debug)]
pub struct Bound {
    pub(crate) config: Config,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) listeners: Vec<TcpListener>,
    addr: SocketAddr,
}

impl Bound {
    /// Where clients connect; with the port that the system chose if it was asked to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Binds a listener for each worker to the same address, among which the system spreads connections
/// (`SO_REUSEPORT`).
///
/// # Errors
/// When the configuration contradicts itself, or the system refuses the address.
pub fn bind(config: Config) -> Result<Bound, BindError> {
    if config.workers == 0 {
        return Err(BindError::NoWorkers);
    }
    if config.max_head_bytes < 8 * 1024 {
        return Err(BindError::HeadLimit {
            found: config.max_head_bytes,
        });
    }
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
    let refused = |addr| move |source| BindError::Listen { addr, source };
    check_is_free(config.listen).map_err(refused(config.listen))?;
    let first = listen(config.listen, &config).map_err(refused(config.listen))?;
    // With port 0 the others follow the first.
    let addr = first.local_addr().map_err(refused(config.listen))?;
    let mut listeners = vec![first];
    for _ in 1..config.workers {
        listeners.push(listen(addr, &config).map_err(refused(addr))?);
    }
    Ok(Bound {
        config,
        pseudonym,
        listeners,
        addr,
    })
}

/// Another process that listens with `SO_REUSEPORT`, such as a second proxy started by mistake, would share
/// the connections with this one and neither would know; an ordinary bind is refused.
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
    socket.bind(&addr.into())?;
    socket.listen(config.backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(workers: usize) -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers,
            ..Config::default()
        }
    }

    #[test]
    fn every_worker_listens_on_the_same_port() {
        let bound = bind(local(3)).unwrap();
        assert_ne!(bound.local_addr().port(), 0);
        let addrs: Vec<_> = bound.listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert_eq!(addrs, [bound.local_addr(); 3]);
    }

    #[test]
    fn an_address_in_use_is_named_whether_it_could_be_shared_or_not() {
        for workers in [1, 2] {
            let taken = bind(local(workers)).unwrap();
            let listen = taken.local_addr();
            let error = bind(Config {
                listen,
                ..local(workers)
            })
            .unwrap_err();
            assert!(error.to_string().contains(&listen.to_string()), "{error}");
        }
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        assert!(matches!(bind(local(0)), Err(BindError::NoWorkers)));
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
