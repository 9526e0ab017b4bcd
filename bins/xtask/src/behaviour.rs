//! What the product promises, row by row, and the tests that hold it to that.
//!
//! `docs/behaviour/rows.toml` names the tests of each row. Made of it is `docs/behaviour/README.md`, for people; and a row
//! without a test, or a test that isn't there, fails CI.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::source;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

const ROWS: &str = "docs/behaviour/rows.toml";
const PAGE: &str = "docs/behaviour/README.md";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    chapter: Vec<Chapter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chapter {
    title: String,
    section: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    title: String,
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The promise.
    says: String,
    /// `path/to/file.rs::name_of_the_test`.
    tests: Vec<String>,
}

impl Book {
    fn read(root: &Path) -> anyhow::Result<Self> {
        toml::from_str(&source::text(&root.join(ROWS))?)
            .with_context(|| format!("{ROWS} is not as it should be"))
    }

    fn rows(&self) -> impl Iterator<Item = (&Section, &Row)> {
        let sections = self.chapter.iter().flat_map(|chapter| &chapter.section);
        sections.flat_map(|section| section.row.iter().map(move |row| (section, row)))
    }
}

/// Writes the page.
///
/// # Errors
/// As [`check`], but for a page that is out of date.
pub(crate) fn write(workspace: &Workspace) -> anyhow::Result<()> {
    let book = Book::read(&workspace.root)?;
    hold(&workspace.root, &book)?;
    let page = workspace.root.join(PAGE);
    std::fs::write(&page, text(&book)).with_context(|| format!("{} could not be written", page.display()))
}

/// A step of `cargo xtask ci`: every row has its tests, and the page is up to date.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let root = &context.workspace.root;
    let book = Book::read(root)?;
    hold(root, &book)?;
    ensure!(
        source::text(&root.join(PAGE))? == text(&book),
        "{PAGE} is not what {ROWS} makes it; write it anew with: cargo xtask behaviour"
    );
    println!("{} rows, each with its tests", book.rows().count());
    Ok(Verdict::Passed)
}

/// Every row has tests, and they are there.
fn hold(root: &Path, book: &Book) -> anyhow::Result<()> {
    let mut files = BTreeMap::new();
    let mut faults = Vec::new();
    for (section, row) in book.rows() {
        let of = format!("{}: {:?}", section.title, row.says);
        if row.tests.is_empty() {
            faults.push(format!("{of} has no test"));
        }
        for test in &row.tests {
            let Some((file, name)) = test.rsplit_once("::") else {
                faults.push(format!(
                    "{of} names {test:?}; expected path/to/file.rs::name_of_the_test"
                ));
                continue;
            };
            let known = files
                .entry(file)
                .or_insert_with(|| source::text(&root.join(file)).map(|text| tests(&text)));
            match known {
                Err(_) => faults.push(format!("{of} names {file}, which can't be read")),
                Ok(known) if !known.contains(name) => {
                    faults.push(format!("{of} names {name}, which is no test of {file}"));
                }
                Ok(_) => {}
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// The tests of a source file: functions below an attribute that ends in `test`, those of `proptest!`, and names in a list
/// `TESTS`, where a harness of its own has one.
fn tests(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    let mut is_list = false;
    for line in text.lines().map(str::trim) {
        is_list = (is_list || line.contains("const TESTS: ")) && line != "];";
        let quoted = line.trim_start_matches('(').strip_prefix('"');
        if let Some((name, _)) = quoted.filter(|_| is_list).and_then(|rest| rest.split_once('"')) {
            found.insert(name.to_owned());
        } else if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= path == "test" || path.ends_with("::test");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if std::mem::take(&mut is_test) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

fn text(book: &Book) -> String {
    let mut page = "\
# Behaviour

Everything that edgeproxy promises to do, row by row, with the tests that hold it to that. `cargo xtask behaviour` makes this page from
`rows.toml` beside it, and CI checks that every row has tests and that each of them exists.
"
    .to_owned();
    for chapter in &book.chapter {
        // Writing to a String can't fail.
        let _ = write!(page, "\n## {}\n", chapter.title);
        for section in &chapter.section {
            let _ = write!(
                page,
                "\n### {}\n\n| behaviour | tests |\n|---|---|\n",
                section.title
            );
            for row in &section.row {
                let tests: Vec<String> = row.tests.iter().map(|test| link(test)).collect();
                let _ = writeln!(page, "| {} | {} |", row.says, tests.join("<br>"));
            }
        }
    }
    page
}

fn link(test: &str) -> String {
    match test.rsplit_once("::") {
        Some((file, name)) => format!("[`{name}`](../../{file})"),
        None => test.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOK: &str = r#"
        [[chapter]]
        title = "Failover"
        [[chapter.section]]
        title = "Retries"
        [[chapter.section.row]]
        says = "tries again"
        tests = ["src/a.rs::it_tries_again"]
    "#;

    #[test]
    fn a_row_becomes_a_line_with_a_link_to_each_test() {
        let book: Book = toml::from_str(BOOK).unwrap();
        let page = text(&book);
        let line = "| tries again | [`it_tries_again`](../../src/a.rs) |\n";
        assert!(
            page.contains("## Failover\n\n### Retries\n") && page.ends_with(line),
            "{page}"
        );
    }

    #[test]
    fn only_functions_that_are_run_as_tests_are_tests() {
        let text = "#[test]\nfn one() {}\n#[tokio::test(start_paused = true)]\n#[ignore]\nasync fn two() {}\n\
                    fn three() {}\nproptest! {\n    #[test]\n    fn four(a in any::<u8>()) {}\n}\n#[cfg(test)]\nfn five() {}";
        assert_eq!(
            tests(text),
            BTreeSet::from(["one", "two", "four"].map(str::to_owned))
        );
        let list = "pub(crate) const TESTS: &[Test] = &[\n    (\"a\", one),\n    (\n        \"b\",\n    ),\n];\n    \"c\"";
        assert_eq!(tests(list), BTreeSet::from(["a", "b"].map(str::to_owned)));
    }

    #[test]
    fn a_test_that_is_not_there_and_a_row_without_one_are_faults() {
        let folder = std::env::temp_dir().join(format!("xtask-behaviour-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let fault = |source: &str, book: &str| {
            std::fs::write(folder.join("src/a.rs"), source).unwrap();
            hold(&folder, &toml::from_str(book).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(fault("#[test]\nfn it_tries_again() {}", BOOK), Ok(()));
        let error = fault("fn it_tries_again() {}", BOOK).unwrap_err();
        assert!(
            error.ends_with("names it_tries_again, which is no test of src/a.rs"),
            "{error}"
        );
        let without = BOOK.replace("\"src/a.rs::it_tries_again\"", "");
        assert!(fault("", &without).unwrap_err().ends_with("has no test"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
