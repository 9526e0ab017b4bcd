//! The documentation as a book: mdBook makes it without a warning, every page is in it, its links lead somewhere, and it
//! asks nobody else for anything.
//!
//! Pages link to files of the tree that are no pages: tests, examples, units. The book has no way up to those, so it gets
//! a copy of each, as text. The pages themselves stay as they are, for whoever reads them without the book.

mod limits;
mod made;
mod staged;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::cargo::Tool;
use crate::step::{Context, Verdict};
use crate::{links, source};

/// Where the pages are, below the root of the workspace.
const DOCS: &str = "docs";

/// What the book consists of, in its order.
const SUMMARY: &str = "SUMMARY.md";

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let root = &context.workspace.root;
    let docs = root.join(DOCS);
    let mut faults = unlisted(&docs)?;
    faults.extend(limits::faults(&docs)?);
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    if !Tool::MDBOOK.is_installed(&context.workspace) {
        return Ok(Verdict::Missing(Tool::MDBOOK));
    }
    let book = context.workspace.target.join("book");
    let pages = context.workspace.target.join("book-pages");
    for folder in [&book, &pages] {
        remove(folder)?;
    }
    staged::stage(root, &docs, &pages)?;
    build(&pages, &book)?;
    let faults = made::faults(&book)?;
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    println!("the book is {}", book.join("index.html").display());
    Ok(Verdict::Passed)
}

/// Pages that the summary leaves out, names twice, or names although they aren't there.
fn unlisted(docs: &Path) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut listed = BTreeSet::new();
    for (line, target) in links::links(&source::text(&docs.join(SUMMARY))?) {
        if !docs.join(&target).is_file() {
            faults.push(format!(
                "{DOCS}/{SUMMARY}:{line} names {target}, which isn't there"
            ));
        }
        if !listed.insert(docs.join(&target)) {
            faults.push(format!("{DOCS}/{SUMMARY}:{line} names {target} a second time"));
        }
    }
    let pages: Vec<PathBuf> = source::files(docs, "md")?;
    for page in pages.iter().filter(|page| !page.ends_with(SUMMARY)) {
        if !listed.contains(page) {
            let shown = page.strip_prefix(docs).unwrap_or(page).display();
            faults.push(format!(
                "{DOCS}/{shown} is not in {DOCS}/{SUMMARY}; name it where a reader would look for it"
            ));
        }
    }
    Ok(faults)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        let what = || format!("{} could not be removed", folder.display());
        std::fs::remove_dir_all(folder).with_context(what)?;
    }
    Ok(())
}

/// Has mdBook make it. A warning is a fault: of a page that is not as it should be, or of a setting that is none.
fn build(pages: &Path, book: &Path) -> anyhow::Result<()> {
    let output = Command::new("mdbook")
        .arg("build")
        .arg(pages)
        .arg("--dest-dir")
        .arg(book)
        .stdin(Stdio::null())
        .output()
        .context("`mdbook` could not be started")?;
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    ensure!(
        output.status.success() && !is_warning(&told),
        "`mdbook build` ({}) said:\n{}",
        output.status,
        told.trim_end()
    );
    Ok(())
}

fn is_warning(told: &str) -> bool {
    told.split_whitespace()
        .any(|word| matches!(word.trim_matches(['[', ']', ':']), "WARN" | "ERROR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_the_summary_leaves_out_or_names_in_vain_is_a_fault() {
        let folder = std::env::temp_dir().join(format!("xtask-book-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("SUMMARY.md", "- [A](a.md)\n- [A](a.md)\n- [C](c.md)\n");
        write("a.md", "");
        write("sub/b.md", "");
        let faults = unlisted(&folder).unwrap();
        assert_eq!(
            faults,
            [
                "docs/SUMMARY.md:2 names a.md a second time",
                "docs/SUMMARY.md:3 names c.md, which isn't there",
                "docs/sub/b.md is not in docs/SUMMARY.md; name it where a reader would look for it",
            ]
        );
        write("SUMMARY.md", "- [A](a.md)\n  - [B](sub/b.md)\n");
        assert_eq!(unlisted(&folder).unwrap(), Vec::<String>::new());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_line_of_the_level_warn_is_a_warning_and_a_word_in_a_page_is_not() {
        assert!(is_warning(" WARN unclosed HTML tag"));
        assert!(is_warning("2026-11-27 [WARN] (mdbook): a field is unknown"));
        assert!(is_warning("ERROR: no"));
        assert!(!is_warning(" INFO Book building has started; warnings.md"));
    }
}
