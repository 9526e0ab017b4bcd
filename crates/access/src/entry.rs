use std::fmt;

use ipnet::IpNet;

use crate::{AppPattern, Digest, Role, UnixSecs};

/// A token's entry, to be written into the file.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    role: Role,
    apps: AppPattern,
    digest: Digest,
    /// From when on it allows nothing.
    pub expires: Option<UnixSecs>,
    /// The networks that it may be used from; empty is any.
    pub from: Vec<IpNet>,
}

impl Entry {
    /// One that always holds, everywhere. Its name is checked when the file is read.
    #[must_use]
    pub fn new(name: impl Into<String>, role: Role, apps: AppPattern, digest: Digest) -> Self {
        Self {
            name: name.into(),
            role,
            apps,
            digest,
            expires: None,
            from: Vec::new(),
        }
    }
}

/// As the file has it.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            role,
            apps,
            digest,
            expires,
            from,
        } = self;
        writeln!(f, "[[tokens]]")?;
        // Rust's quotes are TOML's for what a name may hold.
        writeln!(f, "name = {name:?}")?;
        writeln!(f, "role = \"{role}\"")?;
        writeln!(f, "app = \"{apps}\"")?;
        writeln!(f, "hash = \"{digest}\"")?;
        if let Some(expires) = expires {
            writeln!(f, "expires = {expires}")?;
        }
        if !from.is_empty() {
            let nets: Vec<String> = from.iter().map(|net| format!("\"{net}\"")).collect();
            writeln!(f, "from = [{}]", nets.join(", "))?;
        }
        Ok(())
    }
}
