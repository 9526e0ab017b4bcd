//! Who imports whom. The table in docs/architecture.md is the rule, so it can't drift from the code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use crate::source;
use crate::step::{Context, Verdict};
use crate::workspace::{Kind, Package};

const DOCUMENT: &str = "docs/architecture.md";
const HEADING: &str = "Who may import whom";

/// A crate, and those that it never sees, not even through another and not even in its tests.
const ABSENCES: [(&str, &[&str]); 10] = [
    (
        "backend",
        &[
            "balance", "registry", "health", "control", "proxy", "api", "config", "server",
        ],
    ),
    (
        "balance",
        &[
            "registry", "health", "control", "proxy", "api", "config", "server",
        ],
    ),
    (
        "registry",
        &["balance", "health", "control", "proxy", "api", "config", "server"],
    ),
    (
        "agent",
        &[
            "balance", "registry", "health", "control", "proxy", "api", "config", "server", "tls",
        ],
    ),
    (
        "tls",
        &[
            "balance", "registry", "health", "control", "proxy", "api", "config", "server",
        ],
    ),
    (
        "access",
        &[
            "balance", "registry", "health", "control", "proxy", "api", "config", "server", "tls",
        ],
    ),
    ("simulate", &["control", "proxy", "api", "config", "server"]),
    ("control", &["balance", "proxy", "api", "config", "server"]),
    ("proxy", &["registry", "control", "api", "config", "server"]),
    ("api", &["balance", "proxy", "config", "server"]),
];

/// The section that names files of the data plane, and where those are.
const REQUEST: &str = "One request";
const REQUEST_SOURCE: &str = "crates/proxy/src";

/// Crates by name, and for each those that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    let document = source::text(&workspace.root.join(DOCUMENT))?;
    let mut faults = differences(
        &rules(&document)?,
        &imports(&workspace.packages, &[Kind::Product]),
    );
    let is_there = |name: &str| {
        workspace
            .root
            .join(format!("{REQUEST_SOURCE}/{name}.rs"))
            .exists()
    };
    faults.extend(unknown_files(&document, is_there)?);
    let with_tests = imports(&workspace.packages, &[Kind::Product, Kind::Development]);
    faults.extend(forbidden(&with_tests));
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(Verdict::Passed)
}

/// Files in a folder that the way of a request names, and that aren't there.
fn unknown_files(document: &str, is_there: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let (_, rest) = document
        .split_once(&format!("## {REQUEST}\n"))
        .with_context(|| format!("{DOCUMENT} has no section \"## {REQUEST}\""))?;
    let section = rest.split("\n## ").next().unwrap_or_default();
    let is_path = |name: &&str| {
        let of_name =
            |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_' || char == '/';
        name.contains('/') && *name != REQUEST_SOURCE && name.chars().all(of_name)
    };
    let unknown = backquoted(section).filter(is_path).filter(|name| !is_there(name));
    Ok(unknown
        .map(|name| {
            format!("{DOCUMENT} names `{name}` in \"{REQUEST}\", which is no file of {REQUEST_SOURCE}")
        })
        .collect())
}

/// Reads the table: the first cell of a row names the crate, the last cell what it imports, both in backquotes.
fn rules(document: &str) -> anyhow::Result<Imports> {
    let section = document
        .split("\n## ")
        .find(|section| section.starts_with(HEADING))
        .with_context(|| {
            format!("{DOCUMENT} has no section \"## {HEADING}\" with the table of the crates")
        })?;
    let mut rules = Imports::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        if let (Some(first), Some(last)) = (cells.first(), cells.last()) {
            let imported = backquoted(last).map(str::to_owned).collect();
            rules.extend(backquoted(first).next().map(|name| (name.to_owned(), imported)));
        }
    }
    ensure!(
        !rules.is_empty(),
        "{DOCUMENT}: the table under \"{HEADING}\" has no row that begins with a name in backquotes"
    );
    Ok(rules)
}

fn backquoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What the packages import by dependencies of these kinds.
fn imports(packages: &[Package], kinds: &[Kind]) -> Imports {
    packages
        .iter()
        .map(|package| {
            let dependencies = package
                .dependencies
                .iter()
                .filter(|dependency| kinds.contains(&dependency.kind));
            let names = dependencies
                .map(|dependency| short(&dependency.name).to_owned())
                .collect();
            (short(&package.name).to_owned(), names)
        })
        .collect()
}

/// The name in the table: `edgeproxy-balance` is `balance`.
fn short(package: &str) -> &str {
    package.strip_prefix("edgeproxy-").unwrap_or(package)
}

fn differences(rules: &Imports, found: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    let nothing = BTreeSet::new();
    for name in rules.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        match (rules.contains_key(name), found.contains_key(name)) {
            (true, false) => faults.push(format!(
                "{DOCUMENT} lists `{name}`, which is not in the workspace"
            )),
            (false, true) => faults.push(format!(
                "`{name}` is in the workspace, but {DOCUMENT} does not list it"
            )),
            _ => {}
        }
        let (rule, import) = (
            rules.get(name).unwrap_or(&nothing),
            found.get(name).unwrap_or(&nothing),
        );
        for other in import.difference(rule) {
            faults.push(format!(
                "`{name}` imports `{other}`, which {DOCUMENT} does not allow"
            ));
        }
        for other in rule.difference(import) {
            faults.push(format!(
                "{DOCUMENT} says that `{name}` imports `{other}`, but it does not"
            ));
        }
    }
    faults
}

fn forbidden(imports: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, absent) in ABSENCES {
        let reached = reached_from(name, imports);
        for other in absent.iter().filter(|other| reached.contains(**other)) {
            faults.push(format!("`{name}` must never see `{other}`, but reaches it"));
        }
    }
    faults
}

fn reached_from<'i>(name: &str, imports: &'i Imports) -> BTreeSet<&'i str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = imports
        .get(name)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    while let Some(other) = next.pop() {
        if reached.insert(other) {
            next.extend(imports.get(other).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn imports_of(rows: &[(&str, &[&str])]) -> Imports {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        rows.iter()
            .map(|(name, names)| ((*name).to_owned(), owned(names)))
            .collect()
    }

    #[test]
    fn the_table_is_read_from_its_section_alone() {
        let document = "# Title\n\n## Other\n\n| `x` | `y` |\n\n## Who may import whom\n\n| crate | holds | imports |\n\
                        |---|---|---|\n| `backend` | words | – |\n| `proxy` | the `data` plane | `backend`, `balance` |\n\n\
                        ## Threads\n\n| `z` | `a` |\n";
        let expected = imports_of(&[("backend", &[]), ("proxy", &["backend", "balance"])]);
        assert_eq!(rules(document).unwrap(), expected);
    }

    #[test]
    fn a_document_without_the_table_is_an_error() {
        assert!(
            rules("# Title\n\n## Threads\n")
                .unwrap_err()
                .to_string()
                .contains(HEADING)
        );
        assert!(
            rules("\n## Who may import whom\n\nProse.\n")
                .unwrap_err()
                .to_string()
                .contains("no row")
        );
    }

    #[test]
    fn a_file_that_the_way_of_a_request_names_has_to_be_there() {
        let document = "## Other\n\n`gone/away`\n\n## One request\n\n1. **Read** (`http1/request`, `gone`). `GET`, \
                        `http1/gone`.\n\n## One registration\n\n`also/gone`\n";
        let is_there = |name: &str| name == "http1/request";
        assert_eq!(
            unknown_files(document, is_there).unwrap(),
            [
                "docs/architecture.md names `http1/gone` in \"One request\", which is no file of crates/proxy/src"
            ]
        );
        assert!(unknown_files("## Other\n", is_there).is_err());
    }

    #[test]
    fn a_rule_and_the_code_must_agree_in_both_directions() {
        let rules = imports_of(&[("api", &["backend", "control"]), ("gone", &[])]);
        let found = imports_of(&[("api", &["backend", "proxy"]), ("new", &[])]);
        let faults = differences(&rules, &found);
        assert_eq!(
            faults,
            [
                "`api` imports `proxy`, which docs/architecture.md does not allow",
                "docs/architecture.md says that `api` imports `control`, but it does not",
                "docs/architecture.md lists `gone`, which is not in the workspace",
                "`new` is in the workspace, but docs/architecture.md does not list it",
            ]
        );
        assert!(differences(&rules, &rules).is_empty());
    }

    #[test]
    fn an_absence_is_found_through_another_crate_and_through_a_circle() {
        let imports = imports_of(&[
            ("proxy", &["balance"]),
            ("balance", &["between"]),
            ("between", &["balance", "registry"]),
        ]);
        let faults = forbidden(&imports);
        assert!(
            faults.contains(&"`proxy` must never see `registry`, but reaches it".to_owned()),
            "{faults:?}"
        );
    }

    #[test]
    fn dependencies_of_tests_count_only_where_asked_for() {
        let dependency = |name: &str, kind| Dependency {
            name: name.into(),
            kind,
        };
        let packages = [Package {
            name: "edgeproxy-api".into(),
            features: Vec::new(),
            defaults: Vec::new(),
            is_library: true,
            dependencies: vec![
                dependency("edgeproxy-control", Kind::Product),
                dependency("edgeproxy-proxy", Kind::Development),
            ],
        }];
        assert_eq!(
            imports(&packages, &[Kind::Product]),
            imports_of(&[("api", &["control"])])
        );
        let both = imports(&packages, &[Kind::Product, Kind::Development]);
        assert_eq!(both, imports_of(&[("api", &["control", "proxy"])]));
    }
}
