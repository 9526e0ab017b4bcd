//! Links between the documents lead somewhere: to a file that is there, and to a heading in it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;

use crate::source;
use crate::step::{Context, Verdict};

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let root = &context.workspace.root;
    let mut faults = Vec::new();
    for path in source::files(root, "md")? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        for (line, target) in links(&source::text(&path)?) {
            if let Some(fault) = fault(&path, &target)? {
                faults.push(format!("{shown}:{line} links to {target}: {fault}"));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(Verdict::Passed)
}

/// What is wrong with a link in that document; links that leave the tree are not followed.
fn fault(document: &Path, target: &str) -> anyhow::Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = document.parent().unwrap_or(Path::new("."));
    let file = if file.is_empty() {
        document.to_path_buf()
    } else {
        folder.join(file)
    };
    if !file.exists() {
        return Ok(Some("there is no such file"));
    }
    let is_document = file.extension().is_some_and(|extension| extension == "md");
    if !heading.is_empty() && is_document && !anchors(&source::text(&file)?).contains(heading) {
        return Ok(Some("the file has no such heading"));
    }
    Ok(None)
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` and `[name]: target`, with their line numbers.
pub(crate) fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every other piece between backquotes is code.
        let line = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for piece in line.split("](").skip(1) {
            found.extend(
                piece
                    .split([')', ' '])
                    .next()
                    .map(|target| (number, target.to_owned())),
            );
        }
        let definition = line
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((name, target)) = definition
            && !name.contains(['[', ']'])
        {
            found.push((number, target.trim().to_owned()));
        }
    }
    found
}

/// The anchors of a document's headings, as the usual renderers make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() < line.len() && title.starts_with(' ') {
            let anchor = anchor(title.trim());
            let repeated = (1..).map(|count| format!("{anchor}-{count}"));
            let free = std::iter::once(anchor.clone())
                .chain(repeated)
                .find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
    }
    anchors
}

fn anchor(title: &str) -> String {
    title
        .chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
        .flat_map(char::to_lowercase)
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_code_are_not_links() {
        let text = "See [a](docs/a.md) and [b](b.md#top \"title\"), not `[c](c.md)`.\n\
                    ```sh\n[d](d.md)\n```\n[e]: ../e.md\n";
        let expected = [(1, "docs/a.md"), (1, "b.md#top"), (5, "../e.md")];
        assert_eq!(
            links(text),
            expected.map(|(line, target)| (line, target.to_owned()))
        );
    }

    #[test]
    fn anchors_are_those_of_the_usual_renderers() {
        let text =
            "# One request, step by step\n## `Meter`\n## Same\n## Same\n```sh\n# no heading\n```\n#hash\n";
        let expected = ["meter", "one-request-step-by-step", "same", "same-1"];
        assert_eq!(anchors(text), BTreeSet::from(expected.map(str::to_owned)));
    }

    #[test]
    fn a_link_to_nowhere_is_a_fault_and_a_link_out_of_the_tree_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("xtask-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let document = folder.join("a.md");
        std::fs::write(&document, "# Here\n").unwrap();
        let fault = |target| fault(&document, target).unwrap();
        assert_eq!(fault("a.md#here"), None);
        assert_eq!(fault("#here"), None);
        assert_eq!(fault("#there"), Some("the file has no such heading"));
        assert_eq!(fault("b.md"), Some("there is no such file"));
        assert_eq!(fault("https://example.com/b.md"), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
