//! Another configuration for workers that run.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::listen::bind::{BindError, check_head_limit};
use crate::{Config, Listener};

/// A configuration that running workers can go over to, made by [`Running::prepare`](crate::Running::prepare). It is
/// in force from the moment that a table [with it](crate::RouteTable::with_config) is: for connections that begin then,
/// while those that have begun keep to what they began with. Cheap to clone.
#[derive(Clone)]
pub struct Prepared(Arc<Config>);

/// Why running workers can't go over to a configuration. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There would be other workers.
    #[error("workers is {found}; {running} run, and it takes a restart to have another number")]
    Workers {
        /// How many there should be.
        found: usize,
        /// How many there are.
        running: usize,
    },
    /// A listener would be new.
    #[error("listener {listener:?} would listen on {addr}, where nobody does; it takes a restart to bind it")]
    NewListener {
        /// Its name.
        listener: String,
        /// Its address.
        addr: SocketAddr,
    },
    /// A listener would be gone.
    #[error("listener {listener:?} on {addr} would be gone; it takes a restart to close it")]
    LostListener {
        /// Its name.
        listener: String,
        /// Its address.
        addr: SocketAddr,
    },
    /// What [`bind`](crate::bind) would refuse as well.
    #[error(transparent)]
    Refused(#[from] BindError),
}

impl Prepared {
    /// Checks `config` against what the workers began with, and puts its listeners into the order of the sockets.
    pub(crate) fn new(began: &Config, mut config: Config) -> Result<Self, PrepareError> {
        if config.workers != began.workers {
            return Err(PrepareError::Workers {
                found: config.workers,
                running: began.workers,
            });
        }
        check_head_limit(&config)?;
        let mut wanted = std::mem::take(&mut config.listeners);
        for bound in &began.listeners {
            // With port 0 several may have the same address; they are told apart by their order.
            let Some(same) = wanted.iter().position(|listener| listener.addr == bound.addr) else {
                let Listener { name, addr, .. } = bound.clone();
                return Err(PrepareError::LostListener { listener: name, addr });
            };
            config.listeners.push(wanted.remove(same));
        }
        if let Some(Listener { name, addr, .. }) = wanted.pop() {
            return Err(PrepareError::NewListener { listener: name, addr });
        }
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.0
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ports: &[u16]) -> Config {
        let listener = |port: &u16| Listener {
            name: format!("of {port}"),
            ..Listener::http(SocketAddr::from(([127, 0, 0, 1], *port)))
        };
        Config {
            listeners: ports.iter().map(listener).collect(),
            workers: 2,
            ..Config::default()
        }
    }

    fn ports(began: &[u16], then: &[u16]) -> Result<Vec<u16>, String> {
        let prepared = Prepared::new(&at(began), at(then)).map_err(|error| error.to_string())?;
        let listeners = prepared.config().listeners.iter();
        Ok(listeners.map(|listener| listener.addr.port()).collect())
    }

    #[test]
    fn listeners_are_told_apart_by_their_addresses_in_any_order() {
        assert_eq!(ports(&[1, 2, 3], &[3, 1, 2]).unwrap(), [1, 2, 3]);
        assert_eq!(ports(&[0, 1, 0], &[0, 0, 1]).unwrap(), [0, 1, 0]);
    }

    #[test]
    fn what_takes_a_restart_is_refused_and_named() {
        let new = ports(&[1], &[1, 2]).unwrap_err();
        assert!(
            new.starts_with("listener \"of 2\" would listen on 127.0.0.1:2"),
            "{new}"
        );
        let lost = ports(&[1, 2], &[2]).unwrap_err();
        assert!(
            lost.starts_with("listener \"of 1\" on 127.0.0.1:1 would be gone"),
            "{lost}"
        );
        let workers = Config {
            workers: 3,
            ..at(&[1])
        };
        let error = Prepared::new(&at(&[1]), workers).unwrap_err();
        assert!(matches!(error, PrepareError::Workers { found: 3, running: 2 }));
        let small = Config {
            max_head_bytes: 1,
            ..at(&[1])
        };
        let error = Prepared::new(&at(&[1]), small).unwrap_err();
        assert!(matches!(
            error,
            PrepareError::Refused(BindError::HeadLimit { found: 1 })
        ));
    }
}
