use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::{UdpSocket, lookup_host};

use crate::ApiUrl;

/// The address from which this machine would reach that API, by its routing table: no packet is sent, so the API need
/// not be there. Behind address translation it is not the one by which proxies reach this machine.
///
/// # Errors
/// If the API's name can't be resolved, or there is no route to it.
pub async fn own_ip(api: &ApiUrl) -> io::Result<IpAddr> {
    let mut error = io::Error::other("its name has no address");
    for addr in lookup_host((api.host(), api.port())).await? {
        let any: IpAddr = match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        match socket.connect(addr).await {
            Ok(()) => return Ok(socket.local_addr()?.ip().to_canonical()),
            Err(found) => error = found,
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whom_loopback_reaches_is_on_loopback() {
        let api = "http://127.0.0.1:9".parse().unwrap();
        assert_eq!(own_ip(&api).await.unwrap(), Ipv4Addr::LOCALHOST);
    }
}
