//! What the system allows the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that may be open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// The limit in force; `None` is none.
    pub(crate) limit: Option<u64>,
}

/// What a full proxy needs: its clients' connections, one to a backend for each, and some for itself.
fn open_files_needed(max_connections: usize) -> u64 {
    u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(1_024)
}

/// Raises the limit on open files as far as an unprivileged process may.
///
/// A shell's default is 1,024 for the sake of programs that use `select(2)`; this one does not.
pub(crate) fn raise_open_files() -> OpenFiles {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: found.maximum,
        maximum: found.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => OpenFiles {
            limit: raised.current,
        },
        Err(_) => OpenFiles { limit: found.current },
    }
}

impl OpenFiles {
    /// What to tell the operator, where the limit is too low for so many clients' connections.
    pub(crate) fn shortage(self, max_connections: usize) -> Option<String> {
        let needed = open_files_needed(max_connections);
        let limit = self.limit.filter(|limit| *limit < needed)?;
        Some(format!(
            "at most {limit} files can be open, so about {} clients can be served at a time; \
             expected {needed}, as max_connections is {max_connections}: run `ulimit -n {needed}` first, or write \
             LimitNOFILE={needed} in the systemd unit",
            limit / 2
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files().limit, hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn a_low_limit_names_the_number_that_max_connections_needs() {
        assert_eq!(OpenFiles { limit: None }.shortage(65_536), None);
        let (low, enough) = (OpenFiles { limit: Some(1_024) }, OpenFiles { limit: Some(1_224) });
        assert_eq!(enough.shortage(100), None);
        for (max_connections, needed) in [(65_536, "ulimit -n 132096"), (100, "ulimit -n 1224")] {
            let told = low.shortage(max_connections).unwrap();
            assert!(told.contains("at most 1024") && told.contains(needed), "{told}");
        }
        assert!(enough.shortage(101).is_some());
    }
}
