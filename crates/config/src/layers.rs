//! The order of the layers, and what each of them says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::draft::Draft;
use crate::finding::Finding;
use crate::problem::{ConfigError, Document, Place, Problem};
use crate::topology::Topology;
use crate::{Settings, check, file, together};

/// What the command line said, as text: it is read and judged together with the other layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawFlags {
    /// The file that `--config` names.
    pub config: Option<PathBuf>,
    /// Keys of [`Settings::ALL`] with what was given. A list may be given several times; of anything else
    /// the last counts.
    pub values: Vec<(&'static str, OsString)>,
}

/// A configuration file that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it was, for messages.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What there is to make settings of. Pure: the caller has read the file and the environment.
///
/// ```
/// use edgeproxy_config::{ConfigFile, Layers, Origin};
///
/// let layers = Layers {
///     env: vec![("EDGEPROXY_REGION".into(), "eu".into())],
///     file: Some(ConfigFile { path: "edgeproxy.toml".into(), text: "region = \"us\"\nspill = \"soft\"".into() }),
///     ..Layers::default()
/// };
/// let loaded = layers.load()?;
/// assert_eq!(loaded.settings.region.as_str(), "eu");
/// assert_eq!(loaded.origin("region"), Origin::Env);
/// assert_eq!(loaded.origin("spill"), Origin::File { line: 2 });
/// # Ok::<(), edgeproxy_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// The command line, which wins.
    pub flags: RawFlags,
    /// The environment, all of it; only `EDGEPROXY_*` is looked at. An empty variable counts as unset.
    pub env: Vec<(OsString, OsString)>,
    /// The file, where there is one.
    pub file: Option<ConfigFile>,
}

/// Settings, and where each came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The apps, routes and backends of the file.
    pub topology: Topology,
    /// The file that was read, where there was one.
    pub file: Option<PathBuf>,
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    pub(crate) places: BTreeMap<&'static str, Place>,
    /// Of each of the settings' listeners.
    pub(crate) listener_places: Vec<Place>,
    pub(crate) warnings: Vec<Finding>,
}

/// Which layer a setting's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// None said anything.
    Default,
    /// The file.
    File {
        /// The line; the first is 1.
        line: usize,
    },
    /// An environment variable.
    Env,
    /// A flag.
    Flag,
}

impl Loaded {
    /// Where the value of the setting with that key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).copied().unwrap_or(Origin::Default)
    }

    /// Where the setting with that key is said; `None` where it is a default.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }

    /// What is allowed but probably not meant: variables that no setting has, and what [`check`](crate::check) finds.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = self.warnings.clone();
        found.extend(check(self));
        found
    }
}

/// Settings that were made by hand: nothing is said anywhere, and there is no file.
impl From<Settings> for Loaded {
    fn from(settings: Settings) -> Self {
        Self {
            settings,
            topology: Topology::default(),
            file: None,
            origins: BTreeMap::new(),
            places: BTreeMap::new(),
            listener_places: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Env => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

impl Layers {
    /// Makes settings of the layers.
    ///
    /// # Errors
    /// Every problem of every layer, also of one that a higher layer would have overruled: a bad file is
    /// refused whole, rather than work until the flag that hid its fault is gone.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_after(Vec::new())
    }

    /// Like [`Layers::load`], where reading the layers has met problems already.
    pub(crate) fn load_after(&self, problems: Vec<Problem>) -> Result<Loaded, ConfigError> {
        let document = self
            .file
            .as_ref()
            .map(|file| Document::new(&file.path, &file.text));
        let mut draft = Draft::of(document.as_ref());
        if !problems.is_empty() {
            // What an unread file would have said is unknown, so nothing can be held against the rest.
            Settings::ALL.iter().for_each(|setting| draft.fail(setting));
            draft.fail_listeners();
        }
        problems.into_iter().for_each(|problem| draft.problem(problem));
        if let Some(document) = &document {
            file::read(document, &mut draft);
        }
        draft.read_env(&self.env);
        draft.read_flags(&self.flags);
        together::check(&mut draft);
        draft.finish()
    }
}

#[cfg(test)]
mod tests;
