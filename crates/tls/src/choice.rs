use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Identity;

/// Which certificate a client is shown: the one of the name that it asks for, or of `*` and what follows its
/// first label (RFC 6125 §6.4.3: a wildcard stands for one label), or else the default.
pub(crate) struct Choice {
    default: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl Choice {
    /// Of two identities for one name the first is shown. The default is shown to whoever asks for no name, or
    /// for one that nobody has.
    pub(crate) fn new(default: &Identity, others: &[Identity]) -> Self {
        let mut choice = Self {
            default: Arc::clone(&default.certified),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for identity in std::iter::once(default).chain(others) {
            for name in identity.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut choice.wildcard, rest),
                    None => (&mut choice.exact, name.as_str()),
                };
                names
                    .entry(name.to_owned())
                    .or_insert_with(|| Arc::clone(&identity.certified));
            }
        }
        choice
    }

    fn choose(&self, name: &str) -> &Arc<CertifiedKey> {
        let folded;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            folded = name.to_ascii_lowercase();
            folded.as_str()
        } else {
            name
        };
        let wild = || name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        self.exact.get(name).or_else(wild).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = hello
            .server_name()
            .map_or(&self.default, |name| self.choose(name));
        Some(Arc::clone(chosen))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("exact", &self.exact.keys())
            .field("wildcard", &self.wildcard.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> Identity {
        let made = rcgen::generate_simple_self_signed(["made.example".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Identity::from_pem(chain.as_bytes(), key.as_bytes())
            .unwrap()
            .with_names(names)
    }

    #[test]
    fn a_whole_name_goes_before_a_wildcard_of_one_label_and_that_before_the_default() {
        let identities = [
            identity(&["default.example"]),
            identity(&["*.shop.example"]),
            identity(&["Www.shop.example"]),
            identity(&["*.shop.example", "late.example"]),
        ];
        let choice = Choice::new(&identities[0], &identities[1..]);
        for (name, expected) in [
            ("default.example", 0),
            ("www.shop.example", 2),
            ("WWW.Shop.Example", 2),
            ("api.shop.example", 1),
            ("shop.example", 0),
            ("a.b.shop.example", 0),
            ("late.example", 3),
            ("nobody.example", 0),
            ("", 0),
        ] {
            let chosen = choice.choose(name);
            assert!(Arc::ptr_eq(chosen, &identities[expected].certified), "{name}");
        }
    }
}
