use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::file::{self, GrantsError};
use crate::{Digest, Grant};

/// Everything that a file grants.
#[derive(Clone, Default)]
pub struct Grants {
    tokens: HashMap<Digest, Arc<Grant>>,
    certificates: HashMap<Box<str>, Arc<Grant>>,
    /// Names by their beginning, the longest first.
    beginnings: Vec<(Box<str>, Arc<Grant>)>,
}

impl Grants {
    /// The most tokens and certificates of a file.
    pub const MAX_ENTRIES: usize = 10_000;
    /// The longest file, in bytes.
    pub const MAX_FILE_BYTES: usize = 4 << 20;

    /// Reads a file, whole or not at all.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line and what was expected. No digest is repeated, and nothing that
    /// stands where one should.
    pub fn parse(text: &str) -> Result<Self, GrantsError> {
        file::parse(text)
    }

    /// Who shows that token. Takes the same time for every text of one length that is none of those that are known.
    #[must_use]
    pub fn of_token(&self, shown: &[u8]) -> Option<&Arc<Grant>> {
        self.tokens.get(&Digest::of(shown))
    }

    /// Who has a certificate for these names: the entry of one of them, or else the one with the longest beginning.
    #[must_use]
    pub fn of_certificate(&self, names: &[String]) -> Option<&Arc<Grant>> {
        let exact = names.iter().find_map(|name| self.certificates.get(name.as_str()));
        exact.or_else(|| {
            let mut beginnings = self.beginnings.iter();
            let begins = |beginning: &str| names.iter().any(|name| name.starts_with(beginning));
            beginnings.find_map(|(beginning, grant)| begins(beginning).then_some(grant))
        })
    }

    /// Every grant, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        let certificates = self.certificates.values();
        let beginnings = self.beginnings.iter().map(|(_, grant)| grant);
        let all = self.tokens.values().chain(certificates).chain(beginnings);
        all.map(|grant| &**grant)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len() + self.beginnings.len()
    }

    /// Whether nobody is granted anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `false` if there is one for it already.
    pub(crate) fn add_token(&mut self, digest: Digest, grant: Grant) -> bool {
        let free = !self.tokens.contains_key(&digest);
        self.tokens.entry(digest).or_insert_with(|| Arc::new(grant));
        free
    }

    /// `false` if there is one for it already.
    pub(crate) fn add_certificate(&mut self, subject: &str, grant: Grant) -> bool {
        let Some(beginning) = subject.strip_suffix('*') else {
            let free = !self.certificates.contains_key(subject);
            self.certificates
                .entry(subject.into())
                .or_insert_with(|| Arc::new(grant));
            return free;
        };
        if self.beginnings.iter().any(|(known, _)| **known == *beginning) {
            return false;
        }
        let at = self
            .beginnings
            .partition_point(|(known, _)| known.len() >= beginning.len());
        self.beginnings.insert(at, (beginning.into(), Arc::new(grant)));
        true
    }
}

/// Whom it grants something, and none of the digests.
impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("tokens", &self.tokens.len())
            .field("certificates", &(self.certificates.len() + self.beginnings.len()))
            .finish()
    }
}
