//! What the system allows the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that may be open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// The limit in force; `None` is none.
    pub(crate) limit: Option<u64>,
}

/// What a full proxy needs: 65,536 clients' connections, one to a backend for each, and some for itself.
pub(crate) const OPEN_FILES_NEEDED: u64 = 2 * 65_536 + 1_024;

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
    /// What to tell the operator, where the limit is too low.
    pub(crate) fn shortage(self) -> Option<String> {
        let limit = self.limit.filter(|limit| *limit < OPEN_FILES_NEEDED)?;
        Some(format!(
            "at most {limit} files can be open, so about {} clients can be served at a time; \
             expected {OPEN_FILES_NEEDED}: run `ulimit -n {OPEN_FILES_NEEDED}` first, or write \
             LimitNOFILE={OPEN_FILES_NEEDED} in the systemd unit",
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
    fn a_low_limit_names_the_number_needed() {
        assert_eq!(OpenFiles { limit: None }.shortage(), None);
        assert_eq!(
            OpenFiles {
                limit: Some(OPEN_FILES_NEEDED)
            }
            .shortage(),
            None
        );
        let told = OpenFiles { limit: Some(1_024) }.shortage().unwrap();
        assert!(
            told.contains("at most 1024") && told.contains("ulimit -n 132096"),
            "{told}"
        );
    }
}
