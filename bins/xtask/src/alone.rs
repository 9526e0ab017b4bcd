//! Each crate compiles alone. In a build of the whole workspace cargo unites the features that its members
//! ask for, so a crate that forgot one of its own is carried by its neighbours until somebody uses it alone.

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};
use crate::workspace::Package;

/// clippy rather than `cargo check`: it shares what it built with the clippy step, and turns a warning that
/// only one set of features shows into an error.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    if !Tool::CLIPPY.is_installed(&context.workspace) {
        return Ok(Verdict::Missing(Tool::CLIPPY));
    }
    let mut failed = Vec::new();
    // What nobody can depend on is carried by nobody.
    let libraries = context
        .workspace
        .packages
        .iter()
        .filter(|package| package.is_library);
    for package in libraries {
        for features in feature_sets(package) {
            let mut args = vec!["clippy", "--quiet", "--package", &package.name];
            args.extend(features);
            args.extend(["--", "-D", "warnings"]);
            if let Err(error) = cargo::run_args(&context.workspace, args) {
                failed.push(format!("{error:#}"));
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(Verdict::Passed)
}

/// The default features, none, and all; without those that come to the same.
fn feature_sets(package: &Package) -> Vec<Option<&'static str>> {
    let mut sets = vec![None];
    if package.has_defaults {
        sets.push(Some("--no-default-features"));
    }
    if !package.features.is_empty() {
        sets.push(Some("--all-features"));
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[&str], has_defaults: bool) -> Package {
        let features = features.iter().map(|&name| name.to_owned()).collect();
        Package {
            name: "p".into(),
            features,
            has_defaults,
            is_library: true,
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn the_same_set_is_not_built_twice() {
        assert_eq!(feature_sets(&package(&[], false)), [None]);
        assert_eq!(
            feature_sets(&package(&["driver"], false)),
            [None, Some("--all-features")]
        );
        let all_three = [None, Some("--no-default-features"), Some("--all-features")];
        assert_eq!(feature_sets(&package(&["std"], true)), all_three);
    }
}
