//! Which values each type takes.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use edgeproxy_backend::{AppName, Region};
use ipnet::IpNet;

use crate::value::{FromValue, Mismatch, Value};

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Switch(switch) => Ok(*switch),
            other => Err(other.unfit()),
        }
    }
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Number(number) => Ok(*number),
            other => Err(other.unfit()),
        }
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Self::try_from(u64::from_value(value)?).map_err(|_| value.unfit())
    }
}

impl FromValue for usize {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        Self::try_from(u64::from_value(value)?).map_err(|_| value.unfit())
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        u64::from_value(value).map(Self::from_secs)
    }
}

impl FromValue for Region {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        Self::parse(text).map_err(|_| Mismatch::text(text).help("a region's name is 1 to 15 of a-z 0-9 -"))
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        text.parse().map_err(|_| {
            let mismatch = Mismatch::text(text);
            match socket_addr_meant(text) {
                Some(help) => mismatch.help(help),
                None => mismatch,
            }
        })
    }
}

impl FromValue for Option<SocketAddr> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "off" => Ok(None),
            _ => SocketAddr::from_value(value).map(Some),
        }
    }
}

impl FromValue for AppName {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        Self::parse(text).map_err(|error| Mismatch::text(text).help(error.to_string()))
    }
}

/// Empty is none.
impl FromValue for Option<AppName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" => Ok(None),
            _ => AppName::from_value(value).map(Some),
        }
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            text if text.is_empty() || text.contains('\0') => Err(Mismatch::text(text)),
            text => Ok(text.into()),
        }
    }
}

/// Empty is none.
impl FromValue for Option<PathBuf> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" => Ok(None),
            _ => PathBuf::from_value(value).map(Some),
        }
    }
}

/// A word in place of the number is no limit.
impl FromValue for Option<u64> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Text(_) => Ok(None),
            _ => u64::from_value(value).map(Some),
        }
    }
}

fn socket_addr_meant(text: &str) -> Option<String> {
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(format!(
            "the port is missing: write {:?}",
            SocketAddr::new(ip, 8080).to_string()
        ));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u32 = port.parse().ok()?;
    if port > u32::from(u16::MAX) {
        return Some(format!("the port is {port}; the greatest is {}", u16::MAX));
    }
    match host {
        "" | "*" => Some(format!(
            "write \"0.0.0.0:{port}\" to listen on every IPv4 address"
        )),
        "localhost" => Some(format!("a host name is not accepted; write \"127.0.0.1:{port}\"")),
        host if host.parse::<std::net::Ipv6Addr>().is_ok() => Some(format!(
            "an IPv6 address stands in brackets: write \"[{host}]:{port}\""
        )),
        host if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.contains(['[', ']', ':', '/']) => {
            Some(format!(
                "a host name is not accepted; write an address of this machine, such as \"127.0.0.1:{port}\""
            ))
        }
        _ => None,
    }
}

impl FromValue for Vec<IpNet> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::List(items) = value else {
            return Err(value.unfit());
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| network(item).map_err(|mismatch| mismatch.item(index)))
            .collect()
    }
}

fn network(text: &str) -> Result<IpNet, Mismatch> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let Ok(net) = text.parse::<IpNet>() else {
        return Err(Mismatch::text(text));
    };
    if net != net.trunc() {
        // Either the address or the length is a mistake, and guessing which would open a network.
        return Err(Mismatch::text(text).help(format!(
            "its address has bits beyond /{}: write \"{}\" for the network, or \"{}\" for that address alone",
            net.prefix_len(),
            net.trunc(),
            net.addr(),
        )));
    }
    Ok(net)
}
