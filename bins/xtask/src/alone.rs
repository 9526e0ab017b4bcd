//! Each crate compiles alone, with each set of its features, and the binaries as they are packaged. In a build of the whole workspace
//! cargo unites the features that its members ask for, so a crate that forgot one of its own is carried by its neighbours until somebody
//! uses it alone.

use std::collections::BTreeSet;

use crate::cargo::{self, Tool};
use crate::deb;
use crate::step::{Context, Verdict};
use crate::workspace::{Feature, Package};

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
            let features = features.into_iter().collect::<Vec<_>>().join(",");
            let mut args = vec!["clippy", "--quiet", "--package", &package.name];
            args.extend(["--no-default-features", "--features", &features]);
            args.extend(["--", "-D", "warnings"]);
            if let Err(error) = cargo::run_args(&context.workspace, args) {
                failed.push(format!("{error:#}"));
            }
        }
    }
    let packaged = deb::BINARIES
        .iter()
        .flat_map(|(package, _)| ["--package", package]);
    let args = ["clippy", "--quiet"].into_iter().chain(packaged);
    if let Err(error) = cargo::run_args(&context.workspace, args.chain(["--", "-D", "warnings"])) {
        failed.push(format!("{error:#}"));
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(Verdict::Passed)
}

/// Above so many features there would be too many sets: then none, each alone, each two together, and all.
const EVERY_SET_MAX: u32 = 4;

/// The sets of features that come to something of their own, none first. With few features that is every set: features
/// are additive only if no two spoil each other.
fn feature_sets(package: &Package) -> BTreeSet<BTreeSet<&str>> {
    let features = &package.features;
    let count = u32::try_from(features.len()).unwrap_or(u32::MAX);
    let is_wanted = |set: &BTreeSet<&str>| count <= EVERY_SET_MAX || set.len() <= 2;
    let mut sets = BTreeSet::from([BTreeSet::new()]);
    for feature in features {
        let with: Vec<_> = sets
            .iter()
            .map(|set: &BTreeSet<&str>| set.iter().copied().chain([feature.name.as_str()]).collect())
            .filter(is_wanted)
            .collect();
        sets.extend(with);
    }
    sets.insert(features.iter().map(|feature| feature.name.as_str()).collect());
    sets.into_iter().map(|set| whole(set, features)).collect()
}

/// With what its features imply, so that two sets that come to the same are one.
fn whole<'p>(mut set: BTreeSet<&'p str>, features: &'p [Feature]) -> BTreeSet<&'p str> {
    loop {
        let before = set.len();
        for feature in features {
            if set.contains(feature.name.as_str()) {
                set.extend(feature.implies.iter().map(String::as_str));
            }
        }
        if set.len() == before {
            return set;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[(&str, &[&str])]) -> Package {
        let feature = |(name, implies): &(&str, &[&str])| Feature {
            name: (*name).to_owned(),
            implies: implies.iter().map(|&name| name.to_owned()).collect(),
        };
        Package {
            name: "p".into(),
            features: features.iter().map(feature).collect(),
            defaults: Vec::new(),
            is_library: true,
            dependencies: Vec::new(),
        }
    }

    fn shown(package: &Package) -> Vec<String> {
        let sets = feature_sets(package);
        sets.into_iter()
            .map(|set| set.into_iter().collect::<Vec<_>>().join("+"))
            .collect()
    }

    #[test]
    fn few_features_are_tried_in_every_set() {
        assert_eq!(shown(&package(&[])), [""]);
        assert_eq!(shown(&package(&[("serde", &[])])), ["", "serde"]);
        assert_eq!(
            shown(&package(&[("etcd", &[]), ("testing", &[])])),
            ["", "etcd", "etcd+testing", "testing"]
        );
    }

    #[test]
    fn what_comes_to_the_same_is_not_built_twice() {
        assert_eq!(
            shown(&package(&[("driver", &[]), ("tls", &["driver"])])),
            ["", "driver", "driver+tls"]
        );
    }

    #[test]
    fn of_many_features_none_each_two_and_all_are_tried() {
        let many = package(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[]), ("e", &["a"])]);
        let sets = shown(&many);
        // None, five, ten pairs of which four are with e and so with a, and all; e is a+e.
        assert_eq!(sets.len(), 1 + 5 + 10 - 1 + 1, "{sets:?}");
        assert!(sets.contains(&"a+b+c+d+e".to_owned()) && sets.contains(&"a+b+e".to_owned()));
    }
}
