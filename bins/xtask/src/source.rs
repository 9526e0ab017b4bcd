//! Files of the tree.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Every file below `folder` whose name ends in `.EXTENSION`, in order; what is built, fetched or hidden is left out.
///
/// # Errors
/// A folder can't be read.
pub(crate) fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{} could not be read", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let name = entry.file_name();
            let path = entry.path();
            let skipped =
                name == "target" || name == "node_modules" || name.to_string_lossy().starts_with('.');
            if entry.file_type().with_context(unreadable)?.is_dir() {
                if !skipped {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a file.
///
/// # Errors
/// It can't be read, or is not UTF-8.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}
