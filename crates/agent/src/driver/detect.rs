use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{UdpSocket, lookup_host};

use crate::ApiUrl;

/// The addresses from which this machine would reach that API, one for each of the API's, by the routing table: no
/// packet is sent, so the API need not be there. Behind address translation they are not those by which proxies reach
/// this machine.
///
/// # Errors
/// If the API's name can't be resolved, or there is no route to any of its addresses.
pub async fn own_ips(api: &ApiUrl) -> io::Result<Vec<IpAddr>> {
    let mut error = io::Error::other("its name has no address");
    let mut own = Vec::new();
    for addr in lookup_host((api.host(), api.port())).await? {
        match from(addr).await {
            Ok(ip) if own.contains(&ip) => {}
            Ok(ip) => own.push(ip),
            Err(found) => error = found,
        }
    }
    if own.is_empty() { Err(error) } else { Ok(own) }
}

async fn from(addr: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match addr.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(addr).await?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whom_loopback_reaches_is_on_loopback() {
        let api = "http://127.0.0.1:9".parse().unwrap();
        assert_eq!(own_ips(&api).await.unwrap(), [Ipv4Addr::LOCALHOST]);
    }
}
