//! Zip files. Nothing is written to a disk, so an entry's path is a name and no more; and what an archive says of its
//! entries' sizes is not believed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use edgeproxy_config::MAX_APIGEE_FILE_BYTES;
use zip::ZipArchive;

use super::files::{Gathered, MOST_FILES, is_wanted};

/// Reads the entries that are Apigee's, of bundles that are in no other archive.
pub(super) fn read(path: &Path, gathered: &mut Gathered<'_>) {
    let archive = File::open(path)
        .map_err(Into::into)
        .and_then(|file| ZipArchive::new(BufReader::new(file)));
    let mut archive = match archive {
        Ok(archive) => archive,
        Err(error) => return gathered.refuse(path, &error),
    };
    if archive.len() > MOST_FILES {
        let message = format!("has {} entries; expected at most {MOST_FILES}", archive.len());
        return gathered.problem(path, message);
    }
    for index in 0..archive.len() {
        if gathered.is_full() {
            return;
        }
        let mut entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => {
                gathered.problem(path, format!("has an entry that can't be read: {error}"));
                continue;
            }
        };
        let Some(name) = entry.enclosed_name() else {
            let message = "has an entry whose path leads outside of it, which was left out";
            gathered.problem(path, message.to_owned());
            continue;
        };
        if entry.is_dir() || entry.is_symlink() || !is_wanted(&name) {
            continue;
        }
        let name = path.join(name);
        let mut bytes = Vec::new();
        match entry
            .by_ref()
            .take(MAX_APIGEE_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
        {
            Ok(_) => gathered.take(name, bytes),
            Err(error) => gathered.refuse(&name, &error),
        }
    }
}
