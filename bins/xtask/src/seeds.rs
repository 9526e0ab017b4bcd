//! Tests that make up what they do: more of it than a change can wait for.

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};

/// The simulations by seed, and how many of their seeds a night has. Each prints the seed that failed, and
/// `EDGEPROXY_TEST_SEED` replays it.
const SIMULATIONS: [(&str, u32); 2] = [
    ("package(edgeproxy-registry) & binary(simulation)", 20_000),
    ("package(edgeproxy-store) & binary(cluster)", 400),
];

/// How often the unit tests are run.
const TIMES: &str = "20";

/// A step of `cargo xtask nightly`.
pub(crate) fn simulate(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::NEXTEST.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::NEXTEST));
    }
    for (tests, seeds) in SIMULATIONS {
        let args = [
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--profile",
            "long",
            NONE,
        ];
        let mut command = cargo::command(workspace, args);
        command.args(["--filterset", tests]);
        command.env("EDGEPROXY_TEST_SEEDS", seeds.to_string());
        cargo::run(command)?;
    }
    Ok(Verdict::Passed)
}

/// A filter that fits no test is out of date, and a failure.
const NONE: &str = "--no-tests=fail";

/// What is repeated: unit tests, and the simulator's own.
const REPEATED: [&str; 2] = ["kind(lib)", "package(edgeproxy-simulate) & kind(test)"];

/// A step of `cargo xtask nightly`. Where proptest makes up the input it is another one each time; what it finds it prints, and
/// keeps in a file beside the test, which is played first from then on.
pub(crate) fn repeat(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::NEXTEST.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::NEXTEST));
    }
    for tests in REPEATED {
        let args = [
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--stress-count",
            TIMES,
            NONE,
            "--filterset",
            tests,
        ];
        let mut command = cargo::command(workspace, args);
        // For those that don't say how many cases they want.
        command.env("PROPTEST_CASES", "4096");
        cargo::run(command)?;
    }
    Ok(Verdict::Passed)
}
