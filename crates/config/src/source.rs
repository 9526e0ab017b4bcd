//! The one part that touches the machine: which file is read, and how much of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::layers::{ConfigFile, Layers, Loaded, RawFlags};
use crate::problem::{ConfigError, Document, Place, Problem};
use crate::setting::{CONFIG_DEFAULT, CONFIG_ENV, CONFIG_FLAG};

/// The most bytes of a configuration file: 1 MiB.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the configuration file that flags or environment name, or `edgeproxy.toml` of the working
/// directory if there is one, and makes settings of all layers.
///
/// # Errors
/// Every problem at once, as [`Layers::load`]; a named file that can't be read is one of them.
pub fn load(flags: RawFlags, env: Vec<(OsString, OsString)>) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let file = match read(&Choice::of(&flags, &env)) {
        Ok(file) => file,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    Layers { flags, env, file }.load_after(problems)
}

/// The path of the configuration file that flags or environment name, or else that of `edgeproxy.toml` in the working
/// directory. It need not exist.
#[must_use]
pub fn file_path(flags: &RawFlags, env: &[(OsString, OsString)]) -> PathBuf {
    Choice::of(flags, env).path
}

struct Choice {
    path: PathBuf,
    /// Who named it; `None` is nobody, and then it need not exist.
    named_by: Option<(Place, String)>,
}

impl Choice {
    fn of(flags: &RawFlags, env: &[(OsString, OsString)]) -> Self {
        if let Some(path) = &flags.config {
            return Self {
                path: path.clone(),
                named_by: Some((Place::CommandLine, format!("--{CONFIG_FLAG}"))),
            };
        }
        match env
            .iter()
            .find(|(name, value)| name == CONFIG_ENV && !value.is_empty())
        {
            Some((_, path)) => Self {
                path: path.into(),
                named_by: Some((Place::Environment, CONFIG_ENV.to_owned())),
            },
            None => Self {
                path: CONFIG_DEFAULT.into(),
                named_by: None,
            },
        }
    }
}

fn read(choice: &Choice) -> Result<Option<ConfigFile>, Problem> {
    let path = &choice.path;
    match (read_bytes(path), &choice.named_by) {
        (Ok(bytes), _) => text(path, bytes).map(|text| {
            Some(ConfigFile {
                path: path.clone(),
                text,
            })
        }),
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        (Err(error), None) => Err(Problem {
            place: Place::File(path.clone()),
            message: format!("can't be read: {error}"),
            help: Some(format!(
                "make it readable, move it away, or name another with --{CONFIG_FLAG}"
            )),
            excerpt: None,
        }),
        (Err(error), Some((place, name))) => Err(Problem {
            place: place.clone(),
            message: format!(
                "{name} is {:?}; expected a configuration file: {error}",
                path.display().to_string()
            ),
            help: None,
            excerpt: None,
        }),
    }
}

/// Reads a file that has to be there.
pub(crate) fn named(path: &Path) -> Result<ConfigFile, Problem> {
    let bytes = read_bytes(path).map_err(|error| Problem {
        place: Place::File(path.to_owned()),
        message: format!("can't be read: {error}"),
        help: None,
        excerpt: None,
    })?;
    text(path, bytes).map(|text| ConfigFile {
        path: path.to_owned(),
        text,
    })
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is accepted, which tells a file that is too long from one that just fits.
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Problem> {
    let whole = |message: &str, help: &str| Problem {
        place: Place::File(path.to_owned()),
        message: message.to_owned(),
        help: Some(help.to_owned()),
        excerpt: None,
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(whole(
            "is longer than 1 MiB; expected a configuration file",
            "name another file",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned();
        let place = Document::new(path, &text).place(&(end..end));
        Problem {
            place,
            ..whole(
                "a byte that is not UTF-8; expected text",
                "save the file as UTF-8",
            )
        }
    })
}

#[cfg(test)]
mod tests;
