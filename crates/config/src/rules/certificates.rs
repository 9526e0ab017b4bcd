//! Certificates that end soon. Their files are for the caller to read.

use std::path::PathBuf;
use std::time::Duration;

use crate::finding::{Finding, Severity};

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Its file.
    pub file: PathBuf,
    /// How long it is valid from now on. `None`: it has ended.
    pub remaining: Option<Duration>,
}

/// Whoever issues certificates for 90 days renews them 30 days before.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 86_400;

/// A finding for each certificate that has ended (an error) or ends within two weeks (a warning).
///
/// ```
/// use std::time::Duration;
/// use edgeproxy_config::{Certified, Severity, expiring};
///
/// let days = |days: u64| Some(Duration::from_secs(days * 86_400));
/// let known = [("a.pem", days(60)), ("b.pem", days(3)), ("c.pem", None)];
/// let found = expiring(&known.map(|(file, remaining)| Certified { file: file.into(), remaining }));
/// assert_eq!(found[0].message, "the certificate b.pem ends in 3 days");
/// assert_eq!((found[1].severity, found.len()), (Severity::Error, 2));
/// ```
#[must_use]
pub fn expiring(certificates: &[Certified]) -> Vec<Finding> {
    let found = certificates.iter().filter_map(|certificate| {
        let file = certificate.file.display();
        let (severity, ends) = match certificate.remaining {
            None => (Severity::Error, "has ended: clients refuse it".to_owned()),
            Some(remaining) if remaining >= SOON => return None,
            Some(remaining) => {
                let ends = match remaining.as_secs() / DAY {
                    0 => "ends within a day".to_owned(),
                    1 => "ends in a day".to_owned(),
                    days => format!("ends in {days} days"),
                };
                (Severity::Warning, ends)
            }
        };
        Some(Finding {
            rule: "certificate-expires",
            severity,
            place: None,
            message: format!("the certificate {file} {ends}"),
            advice: "renew it; a changed file is read again by itself".to_owned(),
        })
    });
    found.collect()
}
