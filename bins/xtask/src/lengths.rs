//! No source file grows beyond what one can keep in mind.

use anyhow::ensure;

use crate::source;
use crate::step::{Context, Verdict};

const MAX_LINES: usize = 600;

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let root = &context.workspace.root;
    let mut too_long = Vec::new();
    for path in source::files(root, "rs")? {
        let lines = source::text(&path)?.lines().count();
        if lines > MAX_LINES {
            let path = path.strip_prefix(root).unwrap_or(&path);
            too_long.push(format!(
                "{} has {lines} lines; split it, {MAX_LINES} is the limit",
                path.display()
            ));
        }
    }
    ensure!(too_long.is_empty(), "{}", too_long.join("\n"));
    Ok(Verdict::Passed)
}
