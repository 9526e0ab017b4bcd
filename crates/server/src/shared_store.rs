//! The store that several proxies share, and what this one is called there.

use std::sync::Arc;

use edgeproxy_config::{Settings, StoreAddress};
use edgeproxy_store::{ProxyName, Store};

use crate::BuildError;

/// What this proxy is called among others: as the settings say, or by its machine and a port that only one process there
/// has. It stays the same over a restart, so that what it owned before is its own again.
pub(crate) fn own_name(settings: &Settings, port: u16) -> Result<ProxyName, BuildError> {
    let name = match &settings.proxy_name {
        Some(name) => name.as_str().to_owned(),
        None => usual_name(&machine(), port),
    };
    ProxyName::parse(&name).map_err(|error| BuildError::Shared(error.to_string()))
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn usual_name(machine: &str, port: u16) -> String {
    let port = port.to_string();
    let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let machine = machine.chars().map(|c| if permitted(c) { c } else { '-' });
    let machine: String = machine.take(ProxyName::MAX_LEN - port.len() - 1).collect();
    format!("{machine}-{port}")
}

/// The store at that address, which is connected to by nobody yet.
///
/// # Errors
/// When the settings can't be used.
#[cfg(feature = "etcd")]
pub(crate) fn open(
    address: &StoreAddress,
    settings: &Settings,
    name: ProxyName,
) -> Result<Arc<dyn Store>, BuildError> {
    etcd(address, settings, name)
        .map(|settings| Arc::new(edgeproxy_store::Etcd::new(settings)) as Arc<dyn Store>)
}

/// As above, in a build without it.
///
/// # Errors
/// Always.
#[cfg(not(feature = "etcd"))]
pub(crate) fn open(address: &StoreAddress, _: &Settings, _: ProxyName) -> Result<Arc<dyn Store>, BuildError> {
    Err(BuildError::Shared(format!(
        "{} can't be used: this program is built without etcd; expected \"file\" or \"memory\", or a build with the \
         feature etcd",
        address.as_str()
    )))
}

/// Whether the store that the settings name could be used, as far as that can be told without asking it.
///
/// # Errors
/// It can't.
pub fn check_store(settings: &Settings) -> Result<(), BuildError> {
    match &settings.store {
        edgeproxy_config::StoreKind::Etcd(address) => {
            open(address, settings, own_name(settings, 0)?).map(drop)
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "etcd")]
fn etcd(
    address: &StoreAddress,
    settings: &Settings,
    name: ProxyName,
) -> Result<edgeproxy_store::EtcdSettings, BuildError> {
    let address = address
        .as_str()
        .parse()
        .map_err(|error: edgeproxy_store::EtcdAddressError| BuildError::Shared(error.to_string()))?;
    let mut etcd = edgeproxy_store::EtcdSettings::new(address, name, fastrand::u64(..));
    if etcd.address.is_encrypted() {
        etcd.tls = Some(crate::tls::of_etcd(settings)?);
    }
    if let (Some(user), Some(file)) = (&settings.etcd_user, &settings.etcd_password_file) {
        etcd.user = Some(edgeproxy_store::EtcdUser {
            name: user.as_str().to_owned(),
            password: password(file)?,
        });
    }
    Ok(etcd)
}

/// The longest file of a password.
#[cfg(feature = "etcd")]
const MAX_BYTES: u64 = 4_096;

/// What the file says, without the end of its line.
#[cfg(feature = "etcd")]
fn password(file: &std::path::Path) -> Result<String, BuildError> {
    use std::io::Read;

    let fault = |what: String| BuildError::Shared(format!("etcd_password_file: {}: {what}", file.display()));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(|error| fault(error.to_string()))?;
    opened
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| fault(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || text.len() as u64 > MAX_BYTES || password.contains(['\r', '\n']) {
        return Err(fault("expected one line with the password".to_owned()));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_called_after_its_machine_and_its_port() {
        assert_eq!(usual_name("edge-1.example", 8081), "edge-1.example-8081");
        assert_eq!(usual_name("ed ge/ä", 1), "ed-ge---1");
        let long = usual_name(&"x".repeat(300), 65_535);
        assert!(long.len() == 63 && long.ends_with("x-65535"));
        assert!(own_name(&Settings::default(), 8081).is_ok());
    }
}
