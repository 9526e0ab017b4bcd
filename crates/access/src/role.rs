use std::fmt;
use std::str::FromStr;

/// What one may do. Each role may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// See.
    Read,
    /// Register, renew and deregister.
    Register,
    /// Change, drain, have picks explained, read the configuration.
    Operate,
}

/// A text names no role.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?}; expected \"read\", \"register\" or \"operate\"")]
pub struct RoleError {
    /// The beginning of what was found.
    pub found: String,
}

impl Role {
    /// Every role, in order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Register, Self::Operate];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Register => "register",
            Self::Operate => "operate",
        }
    }

    /// Whether it may do what another may.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self >= other
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| RoleError {
            found: text.chars().take(32).collect(),
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
