//! The book as it was made: what its pages refer to is in it, and nothing is asked for elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source;

/// What a page refers to.
#[derive(PartialEq, Eq, Debug)]
enum Reference<'a> {
    /// Where a reader may go.
    Link(&'a str),
    /// What a browser gets by itself, to show the page.
    Resource(&'a str),
}

/// Every reference that leads nowhere, or that makes a browser ask somebody else.
pub(super) fn faults(book: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for path in source::files(book, "html")? {
        let text = source::text(&path)?;
        pages.insert(path, text);
    }
    let ids: BTreeMap<&PathBuf, BTreeSet<String>> =
        pages.iter().map(|(path, text)| (path, ids(text))).collect();
    let mut faults = BTreeSet::new();
    for (path, text) in &pages {
        let shown = path.strip_prefix(book).unwrap_or(path).display();
        for reference in references(text) {
            if let Some(fault) = fault(path, &reference, &ids) {
                let (Reference::Link(target) | Reference::Resource(target)) = reference;
                faults.insert(format!("{shown} refers to {target}: {fault}"));
            }
        }
    }
    for path in source::files(book, "css")? {
        let shown = path.strip_prefix(book).unwrap_or(&path).display().to_string();
        let text = source::text(&path)?;
        for target in between(&text, "url(", &[')']) {
            if is_elsewhere(target.trim_matches(['"', '\''])) {
                faults.insert(format!("{shown} loads {target}: {ELSEWHERE}"));
            }
        }
    }
    for path in source::files(book, "svg")? {
        let shown = path.strip_prefix(book).unwrap_or(&path).display().to_string();
        let text = source::text(&path)?;
        for part in ["<script", "<image", "<foreignObject", "@import", "@font-face"] {
            if text.contains(part) {
                faults.insert(format!(
                    "{shown} has {part}; a picture is shapes and text, and nothing that is loaded"
                ));
            }
        }
    }
    Ok(faults.into_iter().collect())
}

const ELSEWHERE: &str = "it isn't in the book, which has to work where there is no network";

fn fault(
    page: &Path,
    reference: &Reference<'_>,
    ids: &BTreeMap<&PathBuf, BTreeSet<String>>,
) -> Option<&'static str> {
    let target = match reference {
        Reference::Resource(target) if is_elsewhere(target) => return Some(ELSEWHERE),
        Reference::Link(target) if is_elsewhere(target) => return None,
        Reference::Link(target) | Reference::Resource(target) => target.replace("&amp;", "&"),
    };
    if target.starts_with("data:") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
    let file = match file {
        "" => page.to_path_buf(),
        file => normal(&page.parent()?.join(file)),
    };
    if !file.is_file() {
        return Some("there is no such file in the book");
    }
    let has = |anchor: &str| ids.get(&file).is_none_or(|ids| ids.contains(anchor));
    (!anchor.is_empty() && !has(anchor)).then_some("the page has nothing of that id")
}

fn is_elsewhere(target: &str) -> bool {
    ["http://", "https://", "//"]
        .iter()
        .any(|begin| target.starts_with(begin))
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The references of a page. mdBook writes attributes between double quotes, and text with `<` as `&lt;`.
fn references(html: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    for tag in between(html, "<", &['>']) {
        let name = tag.split_whitespace().next().unwrap_or_default();
        if name == "a" {
            found.extend(attribute(tag, "href").map(Reference::Link));
        } else if matches!(name, "img" | "script" | "iframe" | "source" | "object" | "video") {
            found.extend(attribute(tag, "src").map(Reference::Resource));
            found.extend(attribute(tag, "data").map(Reference::Resource));
        } else if name == "link" {
            found.extend(attribute(tag, "href").map(Reference::Resource));
        }
    }
    found
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    between(tag, &format!(" {name}=\""), &['"']).next()
}

fn ids(html: &str) -> BTreeSet<String> {
    between(html, "<", &['>'])
        .filter_map(|tag| attribute(tag, "id"))
        .map(str::to_owned)
        .collect()
}

/// What is between each `begin` and the next of `ends`.
fn between<'a>(text: &'a str, begin: &str, ends: &'a [char]) -> impl Iterator<Item = &'a str> {
    let begin = begin.to_owned();
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.find(&begin)? + begin.len();
        let found = rest.get(at..)?;
        let end = found.find(ends)?;
        rest = found.get(end..)?;
        found.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_link_or_what_a_browser_gets_by_itself() {
        let html = "<p id=\"here\">a &lt;b&gt; <a class=\"x\" href=\"b.html#c\">b</a> <img src=\"d.svg\" alt=\"\">\n\
                    <link rel=\"stylesheet\" href=\"e.css\"><script src=\"f.js\"></script><a id=\"i\"></a>";
        assert_eq!(
            references(html),
            [
                Reference::Link("b.html#c"),
                Reference::Resource("d.svg"),
                Reference::Resource("e.css"),
                Reference::Resource("f.js"),
            ]
        );
        assert_eq!(ids(html), BTreeSet::from(["here".to_owned(), "i".to_owned()]));
    }

    #[test]
    fn what_leads_nowhere_and_what_is_elsewhere_are_faults() {
        let book = std::env::temp_dir().join(format!("xtask-made-{}", std::process::id()));
        std::fs::create_dir_all(book.join("sub")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(book.join(name), text).unwrap();
        write(
            "a.html",
            "<h1 id=\"top\"><a href=\"sub/b.html#up\"><a href=\"https://example.com/\">",
        );
        write(
            "sub/b.html",
            "<p id=\"up\"><a href=\"../a.html#top\"><a href=\"../a.html#down\"><a href=\"c.html\"><a href=\"#up\">\
             <script src=\"https://example.com/x.js\">",
        );
        write(
            "x.css",
            "a { background: url('https://example.com/y.png') } b { background: url(z.png) }",
        );
        write("y.svg", "<svg><style>@import 'a.css'</style></svg>");
        assert_eq!(
            faults(&book).unwrap(),
            [
                "sub/b.html refers to ../a.html#down: the page has nothing of that id".to_owned(),
                "sub/b.html refers to c.html: there is no such file in the book".to_owned(),
                format!("sub/b.html refers to https://example.com/x.js: {ELSEWHERE}"),
                format!("x.css loads 'https://example.com/y.png': {ELSEWHERE}"),
                "y.svg has @import; a picture is shapes and text, and nothing that is loaded".to_owned(),
            ]
        );
        std::fs::remove_dir_all(&book).unwrap();
    }
}
