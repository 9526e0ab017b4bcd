//! The file of tokens: read at the start and at reloads, watched, and put in force whole or not at all.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use edgeproxy_access::{Grants, GrantsError, UnixSecs};
use edgeproxy_api::Granted;
use edgeproxy_config::{GrantsFile, Settings};

use crate::watch::{self, Fault, Subject, Watched};

/// Why a file of tokens can't be used. What it says of hashes is never repeated.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It isn't text, or has more of it than is read.
    #[error("{} is no text of at most {} bytes; expected TOML with [[tokens]]", path.display(), Grants::MAX_FILE_BYTES)]
    NoText {
        /// Which.
        path: PathBuf,
    },
    /// What it says is wrong.
    #[error("{}:{error}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// Everything that is wrong with it.
        error: GrantsError,
    },
}

/// What the settings' file of tokens grants, and the file to be watched; nothing where there is none.
pub(crate) fn load(settings: &Settings) -> Result<(Option<Granted>, Option<Watched>), TokensError> {
    let Some(path) = path(settings) else {
        return Ok((None, None));
    };
    // Before it is read: what changes meanwhile is read again.
    let stamps = watch::stamps([path.as_path()]);
    let (grants, _) = read(path)?;
    let granted = Granted::new(grants);
    let subject = TokensFile {
        path: path.clone(),
        granted: granted.clone(),
    };
    let watched = Watched::new("api_tokens_file".to_owned(), subject, stamps);
    Ok((Some(granted), Some(watched)))
}

/// What `check` has to know of the settings' file of tokens, having read it. `None`: there is none.
///
/// # Errors
/// When it can't be used.
pub fn granted(settings: &Settings) -> Result<Option<GrantsFile>, TokensError> {
    let Some(path) = path(settings) else {
        return Ok(None);
    };
    let (grants, metadata) = read(path)?;
    let UnixSecs(now) = UnixSecs::of(SystemTime::now());
    let mut ending: Vec<(String, Option<Duration>)> = grants
        .iter()
        .filter_map(|grant| {
            let UnixSecs(at) = grant.expires?;
            let left = at.checked_sub(now).filter(|left| *left > 0);
            Some((grant.name().to_owned(), left.map(Duration::from_secs)))
        })
        .collect();
    ending.sort_unstable();
    Ok(Some(GrantsFile {
        file: path.clone(),
        mode: metadata.permissions().mode(),
        ending,
    }))
}

fn path(settings: &Settings) -> Option<&PathBuf> {
    settings.api_tokens_file.as_ref().filter(|_| settings.api_enabled)
}

fn read(path: &Path) -> Result<(Grants, Metadata), TokensError> {
    let mut bytes = Vec::new();
    let most = u64::try_from(Grants::MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        // One more than is accepted, which tells a file that is too long from one that just fits.
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(metadata)
    });
    let path = path.to_owned();
    let metadata = match read {
        Ok(metadata) => metadata,
        Err(source) => return Err(TokensError::Read { path, source }),
    };
    if bytes.len() > Grants::MAX_FILE_BYTES {
        return Err(TokensError::NoText { path });
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(TokensError::NoText { path });
    };
    match Grants::parse(&text) {
        Ok(grants) => Ok((grants, metadata)),
        Err(error) => Err(TokensError::Wrong { path, error }),
    }
}

struct TokensFile {
    path: PathBuf,
    /// What this file puts in force. After a reload that names another file nobody asks it any more.
    granted: Granted,
}

impl Subject for TokensFile {
    fn paths(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn reload(&self) -> Result<(), Fault> {
        let (grants, _) = read(&self.path)?;
        self.granted.replace(grants);
        Ok(())
    }
}
