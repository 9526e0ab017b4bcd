//! The steps of `cargo xtask ci`: what every change must pass; all of it has to stay under 20 minutes on two cores. What takes longer is
//! [`nightly`](crate::nightly)'s.

use crate::cargo::{self, Tool};
use crate::step::{Context, Step, Verdict};
use crate::{
    alone, attacks, behaviour, bench, book, boundaries, conformance, deb, dependencies, faults, fuzz,
    lengths, links, pingora, purity, suite,
};

/// Quick ones first, so that a typo is seen before the tests have run.
pub(crate) const STEPS: [Step; 23] = [
    Step {
        name: "fmt",
        about: "the code is formatted",
        run: fmt,
    },
    Step {
        name: "lengths",
        about: "no source file is over 600 lines",
        run: lengths::check,
    },
    Step {
        name: "links",
        about: "the documents' internal links resolve",
        run: links::check,
    },
    Step {
        name: "book",
        about: "the documentation is a whole book, without a warning or a link to nowhere",
        run: book::check,
    },
    Step {
        name: "behaviour",
        about: "every row of docs/behaviour has its tests",
        run: behaviour::check,
    },
    Step {
        name: "boundaries",
        about: "crates import each other as docs/architecture.md says, and the files that it names are there",
        run: boundaries::check,
    },
    Step {
        name: "purity",
        about: "no runtime, clock or random source in the pure crates",
        run: purity::check,
    },
    Step {
        name: "dependencies",
        about: "the libraries bring along as many crates as docs/embedding.md says",
        run: dependencies::check,
    },
    Step {
        name: "machete",
        about: "no unused dependency",
        run: machete,
    },
    Step {
        name: "deny",
        about: "licences, bans and sources of all dependencies",
        run: deny,
    },
    Step {
        name: "clippy",
        about: "no lint, in any target",
        run: clippy,
    },
    Step {
        name: "alone",
        about: "each crate compiles alone, with each set of features",
        run: alone::check,
    },
    suite::STEPS[0],
    suite::STEPS[1],
    Step {
        name: "faults",
        about: "what is promised of faults comes of the quick ones",
        run: faults::check,
    },
    Step {
        name: "conformance",
        about: "HTTP/2 as httpwg-cli reads RFC 9113",
        run: conformance::check,
    },
    Step {
        name: "attacks",
        about: "the quick ones among the attacks on the real binary are held off",
        run: attacks::check,
    },
    Step {
        name: "deb",
        about: "the Debian package has what it should, and its units and scripts are sound",
        run: deb::check,
    },
    Step {
        name: "deb-root",
        about: "the Debian package comes, serves, is upgraded and goes in a bare system",
        run: deb::life::check,
    },
    Step {
        name: "docs",
        about: "the API documentation builds without a warning",
        run: docs,
    },
    Step {
        name: "pingora",
        about: "the example made with Pingora compiles, and brings along what it may",
        run: pingora::check,
    },
    Step {
        name: "benches",
        about: "the benchmarks compile",
        run: bench::check,
    },
    Step {
        name: "fuzz",
        about: "seconds of made-up bytes for each parser of the data plane find nothing",
        run: fuzz::check,
    },
];

fn fmt(context: &Context) -> anyhow::Result<Verdict> {
    let verdict = with(Tool::FMT, context, &["fmt", "--all", "--check"])?;
    if verdict == Verdict::Passed {
        let mut args = vec!["fmt", "--manifest-path", bench::MANIFEST, "--check"];
        args.extend(bench::PACKAGES.iter().flat_map(|package| ["--package", package]));
        cargo::run_args(&context.workspace, args)?;
        let args = ["fmt", "--manifest-path", pingora::MANIFEST, "--check"];
        cargo::run_args(&context.workspace, args)?;
        let args = [
            "fmt",
            "--manifest-path",
            fuzz::MANIFEST,
            "--check",
            "--package",
            fuzz::PACKAGE,
        ];
        cargo::run_args(&context.workspace, args)?;
    }
    Ok(verdict)
}

fn clippy(context: &Context) -> anyhow::Result<Verdict> {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ];
    with(Tool::CLIPPY, context, &args)
}

fn machete(context: &Context) -> anyhow::Result<Verdict> {
    with(Tool::MACHETE, context, &["machete"])
}

fn deny(context: &Context) -> anyhow::Result<Verdict> {
    // Not advisories: they need the network, and fail without a change in the tree.
    with(
        Tool::DENY,
        context,
        &[
            "deny",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ],
    )
}

fn docs(context: &Context) -> anyhow::Result<Verdict> {
    let mut command = cargo::command(
        &context.workspace,
        ["doc", "--no-deps", "--workspace", "--all-features"],
    );
    command.env("RUSTDOCFLAGS", "-D warnings");
    cargo::run(command)?;
    Ok(Verdict::Passed)
}

fn with(tool: Tool, context: &Context, args: &[&str]) -> anyhow::Result<Verdict> {
    if !tool.is_installed(&context.workspace) {
        return Ok(Verdict::Missing(tool));
    }
    cargo::run_args(&context.workspace, args)?;
    Ok(Verdict::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;

    #[test]
    fn only_keeps_the_usual_order() {
        let only = ["links".to_owned(), "fmt".to_owned()];
        let names: Vec<_> = step::selected(&STEPS, &only)
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(names, ["fmt", "links"]);
        assert_eq!(step::selected(&STEPS, &[]).len(), STEPS.len());
    }

    #[test]
    fn no_two_steps_share_a_name() {
        let mut names = step::names(&STEPS);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
