//! How many crates each library brings along. The table in docs/embedding.md says so, and is made and held here; the pure
//! ones have a limit. And why each is there: docs/dependencies.md has a line for every one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use crate::step::{Context, Verdict};
use crate::workspace::{Package, Workspace};
use crate::{cargo, purity, source};

const DOCUMENT: &str = "docs/embedding.md";
const BEGIN: &str = "<!-- made by `cargo xtask dependencies` -->\n";
const END: &str = "<!-- end -->\n";

/// Says of each why it is not code of our own.
const REASONS: &str = "docs/dependencies.md";

/// What a pure crate may name of other people's.
const PURE_MAX: usize = 5;

/// A library with a set of features.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    package: String,
    /// As in a sentence: `default`, `all features`.
    features: &'static str,
    /// Those that it names itself.
    direct: usize,
    /// Those of them that are other people's.
    others: usize,
    /// All that end up in the program with it, the direct ones among them.
    linked: usize,
    /// Those that run while it is compiled, and end up in no program.
    building: usize,
}

/// A step of `cargo xtask ci`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let rows = rows(&context.workspace)?;
    let mut faults = over_the_limit(&rows);
    let document = source::text(&context.workspace.root.join(DOCUMENT))?;
    if replaced(&document, &table(&rows))? != document {
        faults.push(format!(
            "the table in {DOCUMENT} is not what cargo says; run `cargo xtask dependencies` and look at what has changed"
        ));
    }
    let manifest = source::text(&context.workspace.root.join("Cargo.toml"))?;
    faults.extend(without_a_reason(
        &manifest,
        &source::text(&context.workspace.root.join(REASONS))?,
    )?);
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(Verdict::Passed)
}

/// Those of the workspace's manifest that the document has no line for, and the document's that nobody depends on.
fn without_a_reason(manifest: &str, reasons: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(manifest).context("Cargo.toml is not TOML")?;
    let named = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies")?.as_table())
        .context("Cargo.toml has no [workspace.dependencies]")?
        .iter()
        .filter(|(_, what)| what.get("path").is_none())
        .map(|(name, what)| what.get("package").and_then(toml::Value::as_str).unwrap_or(name))
        .collect::<BTreeSet<_>>();
    // The first column of each table but the last, which is of those that were left out.
    let (kept, _) = reasons
        .split_once("\n## Looked at")
        .with_context(|| format!("{REASONS} has no part \"Looked at, and left out\""))?;
    let told = kept
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(names, _)| names.split(',').map(|name| name.trim().trim_matches('`')))
        .collect::<BTreeSet<_>>();
    let missing = named.difference(&told).map(|name| {
        format!("{name} has no line in {REASONS}; say there what it is for, and why it is not our own code")
    });
    let gone = told
        .difference(&named)
        .map(|name| format!("{REASONS} has a line for {name}, which Cargo.toml doesn't name; take it out"));
    Ok(missing.chain(gone).collect())
}

/// Writes the table.
///
/// # Errors
/// cargo failed, or the document has no place for it.
pub(crate) fn write(workspace: &Workspace) -> anyhow::Result<()> {
    let path = workspace.root.join(DOCUMENT);
    let document = replaced(&source::text(&path)?, &table(&rows(workspace)?))?;
    std::fs::write(&path, document).with_context(|| format!("{} could not be written", path.display()))
}

fn rows(workspace: &Workspace) -> anyhow::Result<Vec<Row>> {
    let mut libraries: Vec<_> = workspace
        .packages
        .iter()
        .filter(|package| package.is_for_embedders())
        .collect();
    libraries.sort_by_key(|package| &package.name);
    let mut rows = Vec::new();
    for package in libraries {
        for (features, argument) in feature_sets(package) {
            rows.push(row(workspace, package, features, argument)?);
        }
    }
    Ok(rows)
}

/// Those that come to something else.
fn feature_sets(package: &Package) -> Vec<(&'static str, &'static str)> {
    let (none, all) = (
        ("no features", "--no-default-features"),
        ("all features", "--all-features"),
    );
    match (package.features.is_empty(), package.defaults.is_empty()) {
        (true, _) => vec![none],
        (false, true) => vec![none, all],
        (false, false) => vec![none, ("default", "--features=default"), all],
    }
}

fn row(
    workspace: &Workspace,
    package: &Package,
    features: &'static str,
    argument: &str,
) -> anyhow::Result<Row> {
    let tree = |edges| {
        let args = [
            "tree",
            "--locked",
            "--prefix",
            "depth",
            "--package",
            &package.name,
            argument,
            "--edges",
            edges,
        ];
        cargo::output(cargo::command(workspace, args))
    };
    let with_macros = tree("normal")?;
    let linked = below(&tree("normal,no-proc-macro")?);
    let direct = directly_below(&with_macros);
    let is_ours = |name: &&String| name.starts_with("edgeproxy-");
    Ok(Row {
        package: package.name.clone(),
        features,
        direct: direct.len(),
        others: direct.len() - direct.iter().filter(is_ours).count(),
        linked: linked.len(),
        building: below(&with_macros).difference(&linked).count(),
    })
}

/// Names and versions in the output of `cargo tree --prefix depth`, but for the package's own.
fn below(tree: &str) -> BTreeSet<String> {
    lines(tree)
        .filter(|(depth, _)| *depth > 0)
        .map(|(_, name)| name)
        .collect()
}

fn directly_below(tree: &str) -> BTreeSet<String> {
    lines(tree)
        .filter(|(depth, _)| *depth == 1)
        .map(|(_, name)| name)
        .collect()
}

/// Depth, and name with version: no name begins with a digit.
fn lines(tree: &str) -> impl Iterator<Item = (usize, String)> {
    tree.lines().filter_map(|line| {
        let digits = line.len() - line.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
        let (depth, rest) = line.split_at_checked(digits)?;
        let mut words = rest.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some((depth.parse().ok()?, format!("{name} {version}")))
    })
}

fn over_the_limit(rows: &[Row]) -> Vec<String> {
    let is_pure = |row: &&Row| purity::is_pure(&row.package, row.features == "no features");
    rows.iter()
        .filter(is_pure)
        .filter(|row| row.others > PURE_MAX)
        .map(|row| {
            format!(
                "{} ({}) names {} crates of other people's; {PURE_MAX} are the most for a pure one",
                row.package, row.features, row.others
            )
        })
        .collect()
}

fn table(rows: &[Row]) -> String {
    let mut table =
        "| crate | features | it names | in the program | while compiling |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let name = row.package.strip_prefix("edgeproxy-").unwrap_or(&row.package);
        // Writing to a String can't fail.
        let _ = writeln!(
            table,
            "| `{name}` | {} | {} | {} | {} |",
            row.features, row.direct, row.linked, row.building
        );
    }
    table
}

/// The document with that table in its place.
fn replaced(document: &str, table: &str) -> anyhow::Result<String> {
    let place = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = place.with_context(|| {
        format!(
            "{DOCUMENT} has no place for the table; expected the lines `{}` and `{}`",
            BEGIN.trim(),
            END.trim()
        )
    })?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(package: &str, features: &'static str, direct: usize) -> Row {
        Row {
            package: package.into(),
            features,
            direct,
            others: direct,
            linked: 7,
            building: 5,
        }
    }

    #[test]
    fn a_crate_counts_once_and_the_package_itself_does_not() {
        let tree = "0edgeproxy-agent v0.1.0 (/w)\n1thiserror v2.0.18\n2syn v2.0.1\n1edgeproxy-backend v0.1.0 (/w)\n\
                    2syn v3.0.1\n2thiserror v2.0.18 (*)\n\n";
        let in_order = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>();
        assert_eq!(
            in_order(below(tree)),
            [
                "edgeproxy-backend v0.1.0",
                "syn v2.0.1",
                "syn v3.0.1",
                "thiserror v2.0.18"
            ]
        );
        assert_eq!(
            in_order(directly_below(tree)),
            ["edgeproxy-backend v0.1.0", "thiserror v2.0.18"]
        );
    }

    #[test]
    fn a_pure_crate_with_six_is_a_fault_and_with_five_is_none() {
        assert!(over_the_limit(&[row("edgeproxy-registry", "no features", 5)]).is_empty());
        assert_eq!(
            over_the_limit(&[row("edgeproxy-registry", "no features", 6)]),
            [
                "edgeproxy-registry (no features) names 6 crates of other people's; 5 are the most for a pure one"
            ]
        );
    }

    #[test]
    fn what_is_pure_without_features_has_no_limit_with_them() {
        assert!(over_the_limit(&[row("edgeproxy-agent", "all features", 16)]).is_empty());
        assert_eq!(
            over_the_limit(&[row("edgeproxy-agent", "no features", 6)]).len(),
            1
        );
        assert_eq!(
            over_the_limit(&[row("edgeproxy-backend", "all features", 6)]).len(),
            1
        );
    }

    #[test]
    fn each_dependency_has_a_line_that_says_why_and_no_other_has_one() {
        let manifest = "[workspace.dependencies]\nours = { path = \"crates/ours\" }\nbytes = \"1\"\n\
                        webpki = { package = \"rustls-webpki\", version = \"1\" }\nslab = \"1\"\n";
        let lines = "| crate |\n|---|\n| `bytes`, `gone` | buffers |\n| `rustls-webpki` | names |\n";
        let faults = without_a_reason(
            manifest,
            &format!("{lines}\n## Looked at, and left out\n| `redb` | x |\n"),
        );
        assert_eq!(
            faults.unwrap(),
            [
                "slab has no line in docs/dependencies.md; say there what it is for, and why it is not our own code",
                "docs/dependencies.md has a line for gone, which Cargo.toml doesn't name; take it out"
            ]
        );
        assert!(without_a_reason(manifest, lines).is_err());
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let document = format!("# Title\n{BEGIN}old\n{END}\nmore\n");
        let made = replaced(&document, &table(&[row("edgeproxy-tls", "no features", 4)])).unwrap();
        assert!(made.contains("| `tls` | no features | 4 | 7 | 5 |\n"), "{made}");
        assert!(!made.contains("old") && made.ends_with("\nmore\n"));
        assert_eq!(
            replaced(&made, &table(&[row("edgeproxy-tls", "no features", 4)])).unwrap(),
            made
        );
        let error = replaced("# Title\n", "").unwrap_err().to_string();
        assert!(error.contains("no place"), "{error}");
    }
}
