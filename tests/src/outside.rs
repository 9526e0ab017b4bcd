//! Tests that need a program of other people's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Runs such tests, as the `main` of a file with `harness = false`. `missing` is why they can't be run here, if so: then they
/// are listed as ignored, which a test can say only before it runs, hence a harness of its own, as libtest's protocol and
/// nextest want it. In CI, where `CI=true` and `.ci/run` installs all that is needed, they fail instead.
///
/// ```no_run
/// use std::process::ExitCode;
/// use edgeproxy_tests::{is_installed, outside};
///
/// fn tmux_says_its_version() {
///     let said = std::process::Command::new("tmux").arg("-V").output().unwrap();
///     assert!(said.stdout.starts_with(b"tmux "));
/// }
///
/// fn main() -> ExitCode {
///     let missing = (!is_installed("tmux")).then_some("there is no tmux: apt-get install tmux");
///     outside(missing, [("tmux_says_its_version", tmux_says_its_version)])
/// }
/// ```
pub fn outside<F: Fn()>(
    missing: Option<&str>,
    tests: impl IntoIterator<Item = (&'static str, F)>,
) -> ExitCode {
    let in_ci = matches!(std::env::var("CI").as_deref(), Ok("true" | "1"));
    let asked = Asked::of(std::env::args().skip(1));
    let wanted = tests.into_iter().filter(|(name, _)| asked.wants(name));
    let mut failed = Vec::new();
    for (name, test) in wanted {
        match asked.does(missing, in_ci) {
            Does::Nothing => {}
            Does::List => say(&format!("{name}: test")),
            Does::Ignore(reason) => say(&format!("test {name} ... ignored, {reason}")),
            Does::Fail(reason) => {
                say(&format!("test {name} ... FAILED: {reason}"));
                failed.push(name);
            }
            Does::Run => {
                // The words of the panic have been written by its hook.
                let ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
                say(&format!("test {name} ... {}", if ok { "ok" } else { "FAILED" }));
                if !ok {
                    failed.push(name);
                }
            }
        }
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        say(&format!("failed: {}", failed.join(", ")));
        // As libtest has it.
        ExitCode::from(101)
    }
}

/// Has a test that waits run to its end, on a runtime of its own.
///
/// # Panics
/// If the test does.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(test)
}

#[allow(clippy::print_stdout, reason = "a harness reports on its standard output")]
fn say(line: &str) {
    println!("{line}");
}

/// What the arguments ask for, as far as libtest's are used.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    lists: bool,
    ignored: Ignored,
    is_exact: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

/// What is asked for of those that are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
enum Ignored {
    /// To be told of.
    #[default]
    Told,
    /// They alone.
    Alone,
}

#[derive(Debug, PartialEq, Eq)]
enum Does<'a> {
    Nothing,
    List,
    Ignore(&'a str),
    Fail(&'a str),
    Run,
}

impl Asked {
    fn of(args: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => asked.lists = true,
                "--ignored" => asked.ignored = Ignored::Alone,
                "--exact" => asked.is_exact = true,
                "--skip" => asked.skipped.extend(args.next()),
                // Those that take a value of no interest here.
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(args.next()),
                flag if flag.starts_with('-') => {}
                _ => asked.filters.push(arg),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.is_exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }

    fn does<'a>(&self, missing: Option<&'a str>, in_ci: bool) -> Does<'a> {
        let ignored = missing.filter(|_| !in_ci);
        match (self.lists, &self.ignored, ignored) {
            // With --ignored those that are not run, else all of them.
            (_, Ignored::Alone, None) => Does::Nothing,
            (true, ..) => Does::List,
            (false, _, Some(reason)) => Does::Ignore(reason),
            (false, Ignored::Told, None) => missing.map_or(Does::Run, Does::Fail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Asked {
        Asked::of(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn a_missing_program_ignores_a_test_for_a_person_and_fails_it_in_ci() {
        let missing = Some("there is no tmux");
        assert_eq!(asked(&[]).does(None, false), Does::Run);
        assert_eq!(asked(&[]).does(missing, false), Does::Ignore("there is no tmux"));
        assert_eq!(asked(&[]).does(missing, true), Does::Fail("there is no tmux"));
        // Nextest lists all of them, and then those that are ignored.
        for (args, missing, in_ci, does) in [
            (["--list", "--format"], None, false, Does::List),
            (["--list", "--ignored"], None, false, Does::Nothing),
            (["--list", "--ignored"], missing, false, Does::List),
            (["--list", "--ignored"], missing, true, Does::Nothing),
        ] {
            assert_eq!(asked(&args).does(missing, in_ci), does, "{args:?} {missing:?}");
        }
    }

    #[test]
    fn tests_are_chosen_as_libtest_chooses_them() {
        let chosen = |words: &[&str]| {
            let asked = asked(words);
            ["a::one", "a::two", "b::one"]
                .into_iter()
                .filter(|name| asked.wants(name))
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen(&[]).len(), 3);
        assert_eq!(chosen(&["--nocapture", "one"]), ["a::one", "b::one"]);
        assert_eq!(chosen(&["a::one", "b"]), ["a::one", "b::one"]);
        assert_eq!(chosen(&["--exact", "one"]), [""; 0]);
        assert_eq!(chosen(&["a::one", "--exact"]), ["a::one"]);
        assert_eq!(chosen(&["--skip", "one", "--test-threads", "1"]), ["a::two"]);
    }
}
