use std::net::IpAddr;

use ipnet::IpNet;

use crate::{AppPattern, Role, UnixSecs};

/// What somebody may do, and under which conditions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    name: Box<str>,
    /// How it is known who it is.
    pub kind: Kind,
    /// What it allows.
    pub role: Role,
    /// For which apps.
    pub apps: AppPattern,
    /// From when on it allows nothing.
    pub expires: Option<UnixSecs>,
    /// The networks that it may be used from; empty is any.
    pub from: Vec<IpNet>,
}

/// How it is known who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// By a bearer token.
    Token,
    /// By the certificate of its connection.
    Certificate,
}

/// A grant that is there and can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It is past.
    Expired(UnixSecs),
    /// Not from there.
    Elsewhere(IpAddr),
}

/// A text is no name of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not 1 to {} letters, digits and -._@:/", Grant::MAX_NAME)]
pub struct NameError;

impl Grant {
    /// The longest name.
    pub const MAX_NAME: usize = 64;

    /// One that always holds, everywhere.
    ///
    /// # Errors
    /// When the name is none.
    pub fn new(name: &str, kind: Kind, role: Role, apps: AppPattern) -> Result<Self, NameError> {
        let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@:/".contains(&byte);
        if name.is_empty() || name.len() > Self::MAX_NAME || !name.bytes().all(permitted) {
            return Err(NameError);
        }
        Ok(Self {
            name: name.into(),
            kind,
            role,
            apps,
            expires: None,
            from: Vec::new(),
        })
    }

    /// What it is called where it is told of: no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can be used now and from there.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: UnixSecs, peer: IpAddr) -> Result<(), Unusable> {
        if let Some(expires) = self.expires
            && now >= expires
        {
            return Err(Unusable::Expired(expires));
        }
        let peer = peer.to_canonical();
        if !self.from.is_empty() && !self.from.iter().any(|net| net.contains(&peer)) {
            return Err(Unusable::Elsewhere(peer));
        }
        Ok(())
    }
}

impl Kind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_until_it_expires_and_from_its_networks_alone() {
        let mut grant = Grant::new("a", Kind::Token, Role::Read, AppPattern::Any).unwrap();
        let at = |grant: &Grant, secs: u64, peer: &str| grant.check(UnixSecs(secs), peer.parse().unwrap());
        assert_eq!(at(&grant, u64::MAX, "8.8.8.8"), Ok(()));
        grant.expires = Some(UnixSecs(100));
        assert_eq!(at(&grant, 99, "8.8.8.8"), Ok(()));
        assert_eq!(at(&grant, 100, "8.8.8.8"), Err(Unusable::Expired(UnixSecs(100))));
        grant.from = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for good in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert_eq!(at(&grant, 1, good), Ok(()), "{good}");
        }
        let elsewhere = "11.0.0.1".parse().unwrap();
        assert_eq!(
            at(&grant, 1, "::ffff:11.0.0.1"),
            Err(Unusable::Elsewhere(elsewhere))
        );
    }

    #[test]
    fn a_name_fits_in_a_log() {
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(65)] {
            assert!(
                Grant::new(bad, Kind::Token, Role::Read, AppPattern::Any).is_err(),
                "{bad:?}"
            );
        }
    }
}
