//! Sockets that listen already: brought by a service manager, or by the process before.

use std::net::{SocketAddr, TcpListener};

use edgeproxy_proxy as proxy;

use crate::BuildError;

/// A socket that listens, and for whom it is.
#[derive(Debug)]
pub struct OpenSocket {
    /// What it is called: the name of a listener, `api_listen_addr`, or a name of the service manager's.
    pub name: String,
    /// Who brought it.
    pub brought: Brought,
    /// The socket.
    pub socket: TcpListener,
}

/// Who brought a socket, by which is told what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Brought {
    /// A service manager, who means it for somebody: for the listener that it is called after, or for the one whose
    /// address it has.
    ByManager,
    /// The process before, who may listen where this one is not to: it is for the listener of the same address.
    ByPredecessor {
        /// The address as it was configured there, where port 0 may have let the system choose.
        asked: SocketAddr,
        /// Which listener it was there, a number of the predecessor's own.
        listener: usize,
    },
}

/// What the API's socket is called by a service manager.
const API: &str = "api";

/// What it is called among processes: no listener's name can be the same.
pub(crate) const API_SETTING: &str = "api_listen_addr";

/// Short names for the listeners of settings.
const SHORT: [(&str, &str); 4] = [
    ("http", "listen_addr"),
    ("https", "tls_listen_addr"),
    ("tcp", "tcp_listen_addr"),
    (API, API_SETTING),
];

impl OpenSocket {
    fn is_for(&self, name: &str, addr: SocketAddr) -> bool {
        match self.brought {
            Brought::ByPredecessor { asked, .. } => asked == addr,
            Brought::ByManager => {
                self.is_called(name) || self.socket.local_addr().is_ok_and(|local| local == addr)
            }
        }
    }

    /// Short names are a manager's alone: among processes one is some listener's own.
    fn is_called(&self, name: &str) -> bool {
        let short = self.brought == Brought::ByManager && SHORT.contains(&(self.name.as_str(), name));
        short || self.name == name
    }
}

/// Who gets which.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// In the order of the listeners, those of each.
    pub(crate) listeners: Vec<Vec<TcpListener>>,
    pub(crate) api: Option<TcpListener>,
    /// The predecessor's listeners that nobody wants, by its own numbers.
    pub(crate) untaken: Vec<usize>,
}

/// Finds out for whom each of the sockets is. `api` is where the API is to listen, if it is on.
///
/// # Errors
/// A service manager's is for nobody: it would hold clients whom nobody serves.
pub(crate) fn place(
    sockets: Vec<OpenSocket>,
    listeners: &[proxy::Listener],
    api: Option<SocketAddr>,
) -> Result<Placed, BuildError> {
    let mut placed = Placed {
        listeners: listeners.iter().map(|_| Vec::new()).collect(),
        ..Placed::default()
    };
    // With port 0 several listeners of the predecessor have the same address; they are told apart by their order.
    let mut owners: Vec<Option<usize>> = vec![None; listeners.len()];
    for open in sockets {
        let theirs = match open.brought {
            Brought::ByPredecessor { listener, .. } => Some(listener),
            Brought::ByManager => None,
        };
        let wanted = |number: &usize| {
            let listener = listeners.get(*number);
            let free = owners.get(*number).is_some_and(|owner| {
                owner.is_none() || *owner == theirs || open.brought == Brought::ByManager
            });
            free && listener.is_some_and(|listener| open.is_for(&listener.name, listener.addr))
        };
        let is_called = |number: &usize| {
            listeners
                .get(*number)
                .is_some_and(|listener| open.is_called(&listener.name))
        };
        // Between two that it could be for, its name decides.
        let candidates: Vec<usize> = (0..listeners.len()).filter(wanted).collect();
        let found = candidates.iter().copied().find(|number| is_called(number));
        let found = found.or_else(|| candidates.first().copied());
        let is_of_api = open.is_called(API_SETTING);
        match (found, api) {
            (_, Some(addr)) if is_of_api && placed.api.is_none() && open.is_for(API_SETTING, addr) => {
                placed.api = Some(open.socket);
            }
            (Some(number), _) if !is_of_api || theirs.is_none() => {
                if let (Some(own), Some(owner)) = (placed.listeners.get_mut(number), owners.get_mut(number)) {
                    own.push(open.socket);
                    *owner = theirs;
                }
            }
            (_, Some(addr)) if placed.api.is_none() && open.is_for(API_SETTING, addr) => {
                placed.api = Some(open.socket);
            }
            _ => match theirs {
                Some(listener) => placed.untaken.push(listener),
                None => return Err(unplaced(&open, listeners, api)),
            },
        }
    }
    placed.untaken.dedup();
    Ok(placed)
}

fn unplaced(open: &OpenSocket, listeners: &[proxy::Listener], api: Option<SocketAddr>) -> BuildError {
    let own = |listener: &proxy::Listener| {
        let name = SHORT.iter().find(|(_, name)| *name == listener.name);
        let name = name.map_or(listener.name.as_str(), |(short, _)| short);
        format!("{name} ({})", listener.addr)
    };
    let api = api.map(|addr| format!("{API} ({addr})"));
    let known: Vec<String> = listeners.iter().map(own).chain(api).collect();
    BuildError::Unplaced {
        name: open.name.clone(),
        addr: open.socket.local_addr().ok(),
        known: known.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn by_manager(name: &str) -> OpenSocket {
        OpenSocket {
            name: name.to_owned(),
            brought: Brought::ByManager,
            socket: socket(),
        }
    }

    fn by_predecessor(name: &str, asked: &str, listener: usize) -> OpenSocket {
        OpenSocket {
            brought: Brought::ByPredecessor {
                asked: asked.parse().unwrap(),
                listener,
            },
            ..by_manager(name)
        }
    }

    fn listener(name: &str, addr: &str) -> proxy::Listener {
        proxy::Listener {
            name: name.to_owned(),
            ..proxy::Listener::http(addr.parse().unwrap())
        }
    }

    fn counts(placed: &Placed) -> (Vec<usize>, bool, &[usize]) {
        let counts = placed.listeners.iter().map(Vec::len).collect();
        (counts, placed.api.is_some(), &placed.untaken)
    }

    #[test]
    fn a_service_managers_socket_is_for_whom_it_is_called_after() {
        let listeners = [
            listener("listen_addr", "0.0.0.0:80"),
            listener("inner", "127.0.0.1:81"),
        ];
        let api = Some("127.0.0.1:82".parse().unwrap());
        let sockets = vec![
            by_manager("api"),
            by_manager("inner"),
            by_manager("http"),
            by_manager("http"),
        ];
        let placed = place(sockets, &listeners, api).unwrap();
        assert_eq!(counts(&placed), (vec![2, 1], true, &[][..]));
    }

    #[test]
    fn a_service_managers_socket_without_a_name_is_for_whoever_has_its_address() {
        let open = by_manager("edgeproxy.socket");
        let addr = open.socket.local_addr().unwrap().to_string();
        let placed = place(
            vec![open],
            &[listener("a", "0.0.0.0:80"), listener("b", &addr)],
            None,
        );
        assert_eq!(counts(&placed.unwrap()), (vec![0, 1], false, &[][..]));
    }

    #[test]
    fn a_service_managers_socket_that_is_for_nobody_is_refused_with_the_names_that_there_are() {
        let listeners = [listener("listen_addr", "0.0.0.0:80")];
        let api = Some("127.0.0.1:82".parse().unwrap());
        let error = place(vec![by_manager("web")], &listeners, api)
            .unwrap_err()
            .to_string();
        for part in [
            "\"web\"",
            "FileDescriptorName",
            "http (0.0.0.0:80), api (127.0.0.1:82)",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_predecessors_socket_is_for_the_listener_of_the_same_address_in_any_order() {
        let listeners = [listener("b", "127.0.0.1:2"), listener("a", "127.0.0.1:1")];
        let api = Some("127.0.0.1:3".parse().unwrap());
        let sockets = vec![
            by_predecessor("a", "127.0.0.1:1", 0),
            by_predecessor("a", "127.0.0.1:1", 0),
            by_predecessor("gone", "127.0.0.1:9", 1),
            by_predecessor("b", "127.0.0.1:2", 2),
            by_predecessor(API_SETTING, "127.0.0.1:3", 3),
        ];
        let placed = place(sockets, &listeners, api).unwrap();
        assert_eq!(counts(&placed), (vec![1, 2], true, &[1][..]));
    }

    /// Where the system chose the ports the addresses that were asked for are the same.
    #[test]
    fn listeners_of_port_0_get_their_own_sockets_back() {
        let listeners = [
            listener("listen_addr", "127.0.0.1:0"),
            listener("tcp_listen_addr", "127.0.0.1:0"),
        ];
        let api = Some("127.0.0.1:0".parse().unwrap());
        let any = "127.0.0.1:0";
        let sockets = vec![
            by_predecessor("listen_addr", any, 0),
            by_predecessor("listen_addr", any, 0),
            by_predecessor("tcp_listen_addr", any, 1),
            by_predecessor("tcp_listen_addr", any, 1),
            by_predecessor(API_SETTING, any, 2),
        ];
        let expected: Vec<_> = sockets
            .iter()
            .map(|open| open.socket.local_addr().unwrap())
            .collect();
        let placed = place(sockets, &listeners, api).unwrap();
        assert_eq!(counts(&placed), (vec![2, 2], true, &[][..]));
        let found = placed.listeners.iter().flatten().chain(&placed.api);
        let found: Vec<_> = found.map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(found, expected);
    }

    /// A service manager's short names mean nothing between two processes.
    #[test]
    fn a_predecessors_listeners_may_be_called_as_a_manager_calls_others() {
        let (first, second) = ("127.0.0.1:1", "127.0.0.1:2");
        let listeners = [listener("api", first), listener("http", second)];
        let api = Some("127.0.0.1:3".parse().unwrap());
        let sockets = vec![
            by_predecessor("api", first, 0),
            by_predecessor("http", second, 1),
            by_predecessor(API_SETTING, "127.0.0.1:3", 2),
        ];
        let placed = place(sockets, &listeners, api).unwrap();
        assert_eq!(counts(&placed), (vec![1, 1], true, &[][..]));
    }

    #[test]
    fn an_api_that_is_off_leaves_its_socket_untaken() {
        let sockets = vec![by_predecessor(API_SETTING, "127.0.0.1:3", 7)];
        let placed = place(sockets, &[listener("a", "127.0.0.1:1")], None).unwrap();
        assert_eq!(counts(&placed), (vec![0], false, &[7][..]));
    }
}
