//! The file of tokens: who else can read it, and what in it ends soon. It is for the caller to read.

use std::path::PathBuf;
use std::time::Duration;

use crate::finding::{Finding, Severity};

/// What is known of a file of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsFile {
    /// The file.
    pub file: PathBuf,
    /// Its permissions, such as `0o640`.
    pub mode: u32,
    /// Each entry that ends, by its name, with the time that is left. `None`: it has ended.
    pub ending: Vec<(String, Option<Duration>)>,
}

const DAY: u64 = 86_400;
/// Long enough for a new token to be made and handed out.
const SOON: Duration = Duration::from_secs(14 * DAY);
/// Readable by the group or by others, or to be written by them.
const OTHERS: u32 = 0o066;

/// A finding where others can read or write the file, and for each entry that has ended or ends within two weeks.
///
/// ```
/// use std::time::Duration;
/// use edgeproxy_config::{GrantsFile, granting};
///
/// let soon = Some(Duration::from_secs(3 * 86_400));
/// let file = GrantsFile {
///     file: "tokens.toml".into(),
///     mode: 0o644,
///     ending: vec![("shop".to_owned(), soon), ("old".to_owned(), None)],
/// };
/// let rules: Vec<&str> = granting(&file).iter().map(|found| found.rule).collect();
/// assert_eq!(rules, ["tokens-readable", "token-expires", "token-expires"]);
/// ```
#[must_use]
pub fn granting(known: &GrantsFile) -> Vec<Finding> {
    let file = known.file.display();
    let warning = |rule: &'static str, message: String, advice: String| Finding {
        rule,
        severity: Severity::Warning,
        place: None,
        message,
        advice,
    };
    let readable = (known.mode & OTHERS != 0).then(|| {
        warning(
            "tokens-readable",
            format!(
                "{file} has mode {:04o}: others than its owner can read which tokens there are, or add their own",
                known.mode & 0o7777
            ),
            format!("chmod 600 {file}, with edgeproxy's user as its owner"),
        )
    });
    let ending = known.ending.iter().filter_map(|(name, left)| {
        let ends = match left {
            None => "has ended: it is refused".to_owned(),
            Some(left) if *left >= SOON => return None,
            Some(left) => match left.as_secs() / DAY {
                0 => "ends within a day".to_owned(),
                1 => "ends in a day".to_owned(),
                days => format!("ends in {days} days"),
            },
        };
        Some(warning(
            "token-expires",
            format!("the entry {name:?} of {file} {ends}"),
            "give its clients a new one by `edgeproxy token new`; or remove it".to_owned(),
        ))
    });
    readable.into_iter().chain(ending).collect()
}
