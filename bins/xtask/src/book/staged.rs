//! The pages as mdBook gets them: as they are, but for links that leave their folder.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::source;

/// The folder of the book that copies of the tree's files are in.
const SOURCE: &str = "source";

/// Copies `docs` to `to`, with a copy of each file outside of it that a page links to.
pub(super) fn stage(root: &Path, docs: &Path, to: &Path) -> anyhow::Result<()> {
    copy(docs, to)?;
    let mut outside = BTreeSet::new();
    for page in source::files(docs, "md")? {
        let inside = page.strip_prefix(docs).context("a page is below its folder")?;
        if inside == Path::new(super::SUMMARY) {
            // It names pages as they are called, and was copied as it is.
            continue;
        }
        let text = relinked(&source::text(&page)?, inside, |target| {
            let file = resolved(&page, target);
            if let Ok(inside) = file.strip_prefix(docs) {
                // mdBook makes an index of it, and leaves links to it as they were.
                let is_first = file.file_name().is_some_and(|name| name == "README.md");
                return Ok(is_first.then(|| inside.with_file_name("index.md")));
            }
            let file = file.strip_prefix(root).map(Path::to_path_buf);
            let file = file.with_context(|| format!("{} links out of the tree: {target}", page.display()))?;
            if !root.join(&file).is_file() {
                bail!(
                    "{} links to {target}, which is no file; link to a file in it",
                    page.display()
                );
            }
            outside.insert(file.clone());
            Ok(Some(copied(&file)))
        })?;
        write(&to.join(inside), text.as_bytes())?;
    }
    for file in outside {
        let bytes = std::fs::read(root.join(&file))
            .with_context(|| format!("{} could not be read", file.display()))?;
        write(&to.join(copied(&file)), &bytes)?;
    }
    Ok(())
}

/// Where a file of the tree is in the book. As text, whatever it is, so that a browser shows it; and not by the name of a page,
/// since mdBook takes whatever has `.md` in it for one.
fn copied(file: &Path) -> PathBuf {
    let name = file.display().to_string();
    Path::new(SOURCE).join(format!("{}.txt", name.trim_end_matches(".md")))
}

/// The path that a link leads to, without what comes after `#`, and without asking the file system.
fn resolved(page: &Path, target: &str) -> PathBuf {
    let target = target.split('#').next().unwrap_or_default();
    let joined = page.parent().unwrap_or(Path::new("")).join(target);
    let mut path = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// A page with its relative links as `place` says, which gets the target and gives a path from the book's root; none leaves
/// the link alone. `page` is the page's own path from there.
fn relinked(
    text: &str,
    page: &Path,
    mut place: impl FnMut(&str) -> anyhow::Result<Option<PathBuf>>,
) -> anyhow::Result<String> {
    let up = "../".repeat(page.components().count().saturating_sub(1));
    let mut made = String::with_capacity(text.len());
    let mut fenced = false;
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        if fenced || is_fence {
            made.push_str(line);
            continue;
        }
        for (at, piece) in line.split('`').enumerate() {
            if at > 0 {
                made.push('`');
            }
            // Every other piece between backquotes is code, and a link's text may be that.
            if at % 2 == 1 {
                made.push_str(piece);
                continue;
            }
            for (at, part) in piece.split("](").enumerate() {
                if at == 0 {
                    made.push_str(part);
                    continue;
                }
                made.push_str("](");
                let end = part.find([')', ' ']).unwrap_or(part.len());
                let (target, rest) = part.split_at(end);
                let is_relative = !target.contains(':') && !target.starts_with('#');
                match if is_relative { place(target)? } else { None } {
                    Some(path) => {
                        made.push_str(&format!("{up}{}", path.display()));
                        let is_page = path.extension().is_some_and(|extension| extension == "md");
                        let anchor = target.find('#').and_then(|at| target.get(at..));
                        made.push_str(anchor.filter(|_| is_page).unwrap_or_default());
                    }
                    None => made.push_str(target),
                }
                made.push_str(rest);
            }
        }
    }
    Ok(made)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let unreadable = || format!("{} could not be read", from.display());
    for entry in std::fs::read_dir(from).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(unreadable)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            let bytes = std::fs::read(entry.path()).with_context(unreadable)?;
            write(&target, &bytes)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unwritable = || format!("{} could not be written", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(unwritable)?;
    }
    std::fs::write(path, bytes).with_context(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_folder_leads_to_a_copy_one_to_an_index_there_and_any_other_stays() {
        let text = "[a](README.md#x), [b](../crates/b.rs#L3 \"title\"), `[c](../c)` and [`d`](../d), [f](#f), [g](https://g).\n\
                    ```sh\n[e](../e)\n```\n";
        let mut asked = Vec::new();
        let made = relinked(text, Path::new("decisions/0001.md"), |target| {
            asked.push(target.to_owned());
            Ok(match target {
                "../d" => None,
                "README.md#x" => Some("decisions/index.md".into()),
                _ => Some(copied(Path::new("crates/b.rs"))),
            })
        })
        .unwrap();
        assert_eq!(asked, ["README.md#x", "../crates/b.rs#L3", "../d"]);
        assert_eq!(
            made,
            "[a](../decisions/index.md#x), [b](../source/crates/b.rs.txt \"title\"), `[c](../c)` and [`d`](../d), \
             [f](#f), [g](https://g).\n```sh\n[e](../e)\n```\n"
        );
        assert_eq!(copied(Path::new("README.md")), Path::new("source/README.txt"));
    }

    #[test]
    fn a_link_is_followed_from_the_page_that_has_it() {
        let page = Path::new("/w/docs/decisions/a.md");
        assert_eq!(resolved(page, "../b.md#c"), Path::new("/w/docs/b.md"));
        assert_eq!(resolved(page, "../../README.md"), Path::new("/w/README.md"));
    }
}
