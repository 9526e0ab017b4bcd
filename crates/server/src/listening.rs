//! Where clients connect, and whether an address is one of those.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use edgeproxy_backend::AppName;
use edgeproxy_proxy as proxy;

/// Whether an address is one of these listeners. A backend at the proxy's own would be a loop. At the API's it
/// would let every client of the proxy reach the API as a peer on loopback, which is served without a token.
pub(crate) fn own_listeners(listeners: Vec<SocketAddr>) -> impl Fn(SocketAddr) -> bool + Send + Sync {
    move |addr| {
        listeners.iter().any(|listener| {
            addr.port() == listener.port()
                && (addr.ip() == listener.ip() || (listener.ip().is_unspecified() && is_local(addr.ip())))
        })
    }
}

/// Whether this machine has that address: only then can a socket be bound to it.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// A listener of the data plane that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listening {
    /// Its name: `listen_addr`, `tcp_listen_addr`, `tls_listen_addr`, or that of one of the `[[listeners]]`.
    pub name: String,
    /// Where; with the port that the system chose if it was asked to.
    pub addr: SocketAddr,
    /// What is spoken there.
    pub serves: Serves,
}

/// What a listener speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serves {
    /// HTTP in the clear. The app follows from each request.
    Http,
    /// HTTP inside TLS.
    Https,
    /// Any bytes, to one app.
    Tcp(AppName),
    /// Any bytes, to one app, inside TLS that ends at the listener.
    TcpInTls(AppName),
    /// TLS that is passed on. The app follows from the server name.
    Sni,
}

impl Listening {
    pub(crate) fn of((listener, addr): (&proxy::Listener, SocketAddr)) -> Self {
        Self {
            name: listener.name.clone(),
            addr,
            serves: match (&listener.protocol, &listener.tls) {
                (proxy::Protocol::Http, None) => Serves::Http,
                (proxy::Protocol::Http, Some(_)) => Serves::Https,
                (proxy::Protocol::Tcp { app, .. }, None) => Serves::Tcp(app.clone()),
                (proxy::Protocol::Tcp { app, .. }, Some(_)) => Serves::TcpInTls(app.clone()),
                (proxy::Protocol::Sni { .. }, _) => Serves::Sni,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_listeners_are_known_by_every_local_address() {
        let everywhere = own_listeners(vec![
            "127.0.0.1:1".parse().unwrap(),
            "0.0.0.0:8080".parse().unwrap(),
        ]);
        assert!(everywhere("127.0.0.1:8080".parse().unwrap()));
        assert!(
            everywhere("127.0.0.1:1".parse().unwrap()),
            "every listener is one"
        );
        assert!(everywhere("[::1]:8080".parse().unwrap()));
        assert!(!everywhere("127.0.0.1:8081".parse().unwrap()));
        assert!(
            !everywhere("192.0.2.1:8080".parse().unwrap()),
            "an address of documentation is nobody's"
        );
        let one = own_listeners(vec!["127.0.0.1:8080".parse().unwrap()]);
        assert!(one("127.0.0.1:8080".parse().unwrap()));
        assert!(!one("127.0.0.2:8080".parse().unwrap()));
    }
}
