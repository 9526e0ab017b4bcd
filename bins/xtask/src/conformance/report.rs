//! What httpwg-cli printed, case by case.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

/// What became of each case; its name is `RFC :: section :: case`.
pub(super) struct Report {
    pub(super) passed: BTreeSet<String>,
    /// With what the tool said of it.
    pub(super) failed: BTreeMap<String, String>,
}

const BEGUN: &str = "Running test: ";
const PASSED: &str = "Test passed: ";
const FAILED: &str = "Test failed: ";

impl Report {
    /// Reads the output of a verbose run. A case that began and is not said to have passed has failed: where the
    /// tool itself gives up with a panic, it says nothing of the case.
    ///
    /// # Errors
    /// The tool did not come to its end.
    pub(super) fn read(output: &str) -> anyhow::Result<Self> {
        let output = without_colours(output);
        let (mut begun, mut passed, mut said) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut lines = output.lines();
        while let Some(line) = lines.next() {
            if let Some((_, case)) = line.split_once(BEGUN) {
                begun.insert(case.to_owned());
            } else if let Some((_, case)) = line.split_once(PASSED) {
                passed.insert(case.to_owned());
            } else if let Some((_, case)) = line.split_once(FAILED) {
                let why = lines.clone().find(|line| !line.trim().is_empty());
                let why = why.unwrap_or_default().trim().trim_start_matches("0: ");
                said.insert(case.to_owned(), why.to_owned());
            }
        }
        let ended = output
            .lines()
            .any(|line| line.contains(&format!("Passed {}/{} tests", passed.len(), begun.len())));
        ensure!(
            ended && !begun.is_empty(),
            "httpwg began {} cases, {} passed, and it did not end with that count: {}",
            begun.len(),
            passed.len(),
            output.lines().last().unwrap_or("it printed nothing")
        );
        let failed = begun
            .difference(&passed)
            .map(|case| {
                let why = said.remove(case).unwrap_or_else(|| "the tool gave up".to_owned());
                (case.clone(), why)
            })
            .collect();
        Ok(Self { passed, failed })
    }

    pub(super) fn count(&self) -> usize {
        self.passed.len() + self.failed.len()
    }
}

/// Its colours are not to be switched off.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after
            .find('m')
            .and_then(|end| after.get(end + 1..))
            .unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Holding 1 connections
🔷 Running test: RFC 9113 :: 4 :: good
Holding 2 connections
🔷 Running test: RFC 9113 :: 4 :: bad
✅ Test passed: RFC 9113 :: 4 :: good
🔷 Running test: RFC 9113 :: 4 :: silent
❌ Test failed: RFC 9113 :: 4 :: bad

   0: \u{1b}[91mExpected GOAWAY, but got nothing\u{1b}[0m

Location:
🚄 Passed \u{1b}[1;32m1/3\u{1b}[0m tests in 1.2 seconds
❌ Some tests failed
";

    #[test]
    fn a_case_passes_fails_with_words_or_ends_in_silence() {
        let report = Report::read(OUTPUT).unwrap();
        assert_eq!(
            report.passed.iter().collect::<Vec<_>>(),
            ["RFC 9113 :: 4 :: good"]
        );
        let failed: Vec<_> = report
            .failed
            .iter()
            .map(|(case, why)| (case.as_str(), why.as_str()))
            .collect();
        assert_eq!(
            failed,
            [
                ("RFC 9113 :: 4 :: bad", "Expected GOAWAY, but got nothing"),
                ("RFC 9113 :: 4 :: silent", "the tool gave up")
            ]
        );
        assert_eq!(report.count(), 3);
    }

    #[test]
    fn a_run_that_broke_off_is_no_report() {
        let (before, _) = OUTPUT.split_once("🚄").unwrap();
        for output in [before, "", "🚄 Passed 0/0 tests"] {
            assert!(Report::read(output).is_err(), "{output}");
        }
    }
}
