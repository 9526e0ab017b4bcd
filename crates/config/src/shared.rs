//! What a proxy shares with others, and by which name.

use std::fmt;

use crate::types::words;
use crate::value::{FromValue, Mismatch, Value, quoted};

/// Where registrations are kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StoreKind {
    /// In a file, so that a restart forgets none.
    File,
    /// In memory: a restart forgets all.
    Memory,
    /// In etcd, where other proxies have theirs as well.
    Etcd(StoreAddress),
}

/// Where an etcd is: `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`, or `etcds://` inside TLS. It holds no password. What comes
/// after the scheme is for the store to understand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreAddress(String);

impl StoreAddress {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether connections are made inside TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with("etcds://")
    }

    /// The members, each a host with or without its port.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().split(',')
    }
}

impl FromValue for StoreKind {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "file" => Ok(Self::File),
                "memory" => Ok(Self::Memory),
                other => Err(Mismatch::text(other)),
            };
        };
        let members = rest.split('/').next().unwrap_or_default();
        if let Some((_, hosts)) = members.rsplit_once('@') {
            let shown = format!("{scheme}://***@{hosts}");
            let help = "a user and password in an address are seen by everybody who sees the setting: name the user by \
                        etcd_user (EDGEPROXY_ETCD_USER), and a file with the password by etcd_password_file \
                        (EDGEPROXY_ETCD_PASSWORD_FILE)";
            return Err(Mismatch::new(quoted(&shown)).help(help));
        }
        match scheme {
            "etcd" | "etcds" if !members.is_empty() && !text.contains(char::is_whitespace) => {
                Ok(Self::Etcd(StoreAddress(text.to_owned())))
            }
            "etcd" | "etcds" => Err(Mismatch::text(text)
                .help("write \"etcd://127.0.0.1:2379\", with every member's address, separated by commas")),
            "http" => Err(Mismatch::text(text).help(format!("write \"etcd://{rest}\""))),
            "https" => Err(Mismatch::text(text).help(format!("write \"etcds://{rest}\""))),
            _ => Err(Mismatch::text(text)),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Memory => f.write_str("memory"),
            Self::Etcd(address) => f.write_str(address.as_str()),
        }
    }
}

words! {
    /// What a backend's limits count.
    LimitsScope {
        /// What this proxy has in flight there.
        Local = "local",
        /// What all proxies together have: each takes its share.
        Shared = "shared",
    }
}

/// What this proxy is called among others: 1–63 of `A–Z a–z 0–9 . _ -`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct OwnName(String);

impl OwnName {
    const LONGEST: usize = 63;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Empty is none.
impl FromValue for Option<OwnName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match text {
            "" => Ok(None),
            _ if text.len() <= OwnName::LONGEST && text.bytes().all(permitted) => {
                Ok(Some(OwnName(text.to_owned())))
            }
            _ => Err(Mismatch::text(text)),
        }
    }
}

/// The name of somebody who may use etcd: 1–255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserName(String);

impl UserName {
    const LONGEST: usize = 255;

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Empty is none.
impl FromValue for Option<UserName> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            "" => Ok(None),
            text if text.contains(':') => Err(Mismatch::new("a text with a colon")
                .help("a password is not written here: name a file with it by etcd_password_file")),
            text if text.len() <= UserName::LONGEST => Ok(Some(UserName(text.to_owned()))),
            text => Err(Mismatch::text(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> Result<String, Mismatch> {
        StoreKind::from_value(&Value::Text(text.to_owned())).map(|kind| kind.to_string())
    }

    #[test]
    fn a_store_is_a_word_or_the_address_of_an_etcd() {
        for right in [
            "file",
            "memory",
            "etcd://127.0.0.1:2379",
            "etcds://a.example,b.example:2379/shop",
        ] {
            assert_eq!(store(right).as_deref(), Ok(right));
        }
        for wrong in ["", "disk", "etcd://", "etcd:///shop", "redis://a", "etcd://a b"] {
            assert!(store(wrong).is_err(), "{wrong}");
        }
        let help = store("http://10.0.0.1:2379").unwrap_err().help.unwrap();
        assert_eq!(help, "write \"etcd://10.0.0.1:2379\"");
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let refused = store("etcd://edge:s3cret@10.0.0.1:2379").unwrap_err();
        assert_eq!(refused.found, "\"etcd://***@10.0.0.1:2379\"");
        assert!(refused.help.unwrap().contains("etcd_password_file"));
    }

    #[test]
    fn a_name_of_a_proxy_is_short_and_plain_and_a_users_has_no_password() {
        let own = |text: &str| <Option<OwnName>>::from_value(&Value::Text(text.to_owned()));
        assert_eq!(own("edge-1.eu_A").unwrap().unwrap().as_str(), "edge-1.eu_A");
        assert_eq!(own(""), Ok(None));
        assert!(own("a b").is_err() && own(&"x".repeat(64)).is_err());
        let user = |text: &str| <Option<UserName>>::from_value(&Value::Text(text.to_owned()));
        assert_eq!(user("edge").unwrap().unwrap().as_str(), "edge");
        assert!(user("edge:s3cret").is_err());
    }
}
