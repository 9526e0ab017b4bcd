//! The order of the layers, and what each of them says.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::finding::{Finding, findings};
use crate::problem::{ConfigError, Document, Place, Problem};
use crate::setting::{CONFIG_ENV, ENV_PREFIX, Setting};
use crate::suggest::closest;
use crate::value::{Mismatch, Value};
use crate::{Settings, check, file};

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
    /// The file that was read, where there was one.
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
    warnings: Vec<Finding>,
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

    /// What is allowed but probably not meant: variables that no setting has, and [`findings`].
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.warnings
            .iter()
            .cloned()
            .chain(findings(&self.settings))
            .collect()
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
        let document = self.file.as_ref().map(|file| Document {
            path: &file.path,
            text: &file.text,
        });
        let mut draft = Draft {
            document,
            ..Draft::default()
        };
        if !problems.is_empty() {
            // What an unread file would have said is unknown, so nothing can be held against the rest.
            Settings::ALL.iter().for_each(|setting| draft.fail(setting));
            draft.fail_listeners();
        }
        draft.problems = problems;
        if let Some(document) = document {
            file::read(&document, &mut draft);
        }
        draft.read_env(&self.env);
        draft.read_flags(&self.flags);
        check::together(&mut draft);
        draft.finish()
    }
}

/// Settings in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft<'a> {
    pub(crate) settings: Settings,
    document: Option<Document<'a>>,
    sources: BTreeMap<&'static str, Source>,
    failed: BTreeSet<&'static str>,
    /// Where each of the settings' listeners stands.
    pub(crate) listener_spans: Vec<Range<usize>>,
    listeners_failed: bool,
    problems: Vec<Problem>,
    warnings: Vec<Finding>,
}

#[derive(Debug, Clone)]
enum Source {
    File(Range<usize>),
    Env,
    Flag,
}

impl<'a> Draft<'a> {
    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Takes a value of the file; `at` is where it stands.
    pub(crate) fn set_from_file(
        &mut self,
        setting: &'static Setting,
        value: &Value,
        at: Range<usize>,
    ) -> Result<(), Mismatch> {
        self.set(setting, value, Source::File(at))
    }

    /// Marks a setting as given but unusable, so that nothing is checked against its default.
    pub(crate) fn fail(&mut self, setting: &'static Setting) {
        self.failed.insert(setting.key);
    }

    /// Marks that a listener was given and can't be used.
    pub(crate) fn fail_listeners(&mut self) {
        self.listeners_failed = true;
    }

    /// Whether every listener that was given can be used.
    pub(crate) fn listeners_valid(&self) -> bool {
        !self.listeners_failed
    }

    /// A problem at a place of the file.
    pub(crate) fn conflict_at(&mut self, span: &Range<usize>, message: String, help: Option<String>) {
        if let Some(document) = self.document {
            self.problems.push(document.problem(span, message, help));
        }
    }

    /// Whether all of these settings are as the layers want them.
    pub(crate) fn all_valid(&self, keys: &[&'static str]) -> bool {
        keys.iter().all(|key| !self.failed.contains(key))
    }

    /// A problem with a setting as it finally is, at the place that it comes from.
    pub(crate) fn conflict(&mut self, key: &'static str, message: String, help: Option<String>) {
        let place = match (self.sources.get(key), self.document) {
            (Some(Source::File(span)), Some(document)) => {
                self.problems.push(document.problem(span, message, help));
                return;
            }
            (Some(Source::Env), _) => Place::Environment,
            (Some(Source::Flag), _) => Place::CommandLine,
            _ => Place::Defaults,
        };
        self.problems.push(Problem {
            place,
            message,
            help,
            excerpt: None,
        });
    }

    /// Whether any layer sets it.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    fn set(&mut self, setting: &'static Setting, value: &Value, source: Source) -> Result<(), Mismatch> {
        (setting.apply)(&mut self.settings, value)?;
        self.sources.insert(setting.key, source);
        Ok(())
    }

    fn read_env(&mut self, env: &[(OsString, OsString)]) {
        // Sorted, so that the same environment gives the same report.
        let mut ours: Vec<(&str, &OsStr)> = env
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
            .filter(|(name, value)| name.starts_with(ENV_PREFIX) && *name != CONFIG_ENV && !value.is_empty())
            .collect();
        ours.sort_unstable();
        for (name, value) in ours {
            match Settings::ALL.iter().find(|setting| setting.env() == name) {
                Some(setting) => self.set_from_text(setting, name, value, Source::Env),
                None => self.warnings.push(unknown_variable(name)),
            }
        }
    }

    fn read_flags(&mut self, flags: &RawFlags) {
        for setting in Settings::ALL {
            let given = flags
                .values
                .iter()
                .filter(|(key, _)| *key == setting.key)
                .map(|(_, value)| value);
            let mut given: Vec<&OsString> = given.collect();
            if !setting.kind.is_many() {
                given.drain(..given.len().saturating_sub(1));
            }
            if !given.is_empty() {
                let joined = given
                    .into_iter()
                    .map(OsString::as_os_str)
                    .collect::<Vec<_>>()
                    .join(OsStr::new(","));
                self.set_from_text(setting, &format!("--{}", setting.flag()), &joined, Source::Flag);
            }
        }
    }

    fn set_from_text(&mut self, setting: &'static Setting, name: &str, value: &OsStr, source: Source) {
        let place = if matches!(source, Source::Env) {
            Place::Environment
        } else {
            Place::CommandLine
        };
        let read = match value.to_str() {
            Some(text) => setting.kind.read_text(text),
            None => Err(Mismatch::new(format!(
                "{}, which is not UTF-8",
                crate::value::quoted(&value.to_string_lossy())
            ))),
        };
        let Err(mismatch) = read.and_then(|value| self.set(setting, &value, source)) else {
            return;
        };
        self.fail(setting);
        self.problem(Problem {
            place,
            message: format!(
                "{name} is {}; expected {}",
                mismatch.found,
                setting.kind.expected_in_text()
            ),
            help: mismatch.help,
            excerpt: None,
        });
    }

    fn finish(mut self) -> Result<Loaded, ConfigError> {
        if !self.problems.is_empty() {
            self.problems.sort_by(|a, b| a.place.cmp(&b.place));
            return Err(ConfigError {
                problems: self.problems,
            });
        }
        let document = self.document;
        let origin = |source: Source| match (source, document) {
            (Source::File(span), Some(document)) => Origin::File {
                line: document.line(&span),
            },
            (Source::File(_), None) => Origin::Default,
            (Source::Env, _) => Origin::Env,
            (Source::Flag, _) => Origin::Flag,
        };
        let origins = self
            .sources
            .into_iter()
            .map(|(key, source)| (key, origin(source)))
            .collect();
        let file = document.map(|document| document.path.to_owned());
        Ok(Loaded {
            settings: self.settings,
            file,
            origins,
            warnings: self.warnings,
        })
    }
}

fn unknown_variable(name: &str) -> Finding {
    let names: Vec<String> = Settings::ALL
        .iter()
        .map(Setting::env)
        .chain([CONFIG_ENV.to_owned()])
        .collect();
    let candidates = names.iter().filter_map(|name| name.strip_prefix(ENV_PREFIX));
    let advice = match closest(&name[ENV_PREFIX.len()..], candidates) {
        Some(meant) => format!("did you mean {ENV_PREFIX}{meant}?"),
        None => "unset it; `edgeproxy run --help` lists every variable".to_owned(),
    };
    let message = format!("the environment variable {name:.80} belongs to no setting and was ignored");
    Finding {
        rule: "unknown-variable",
        message,
        advice,
    }
}

#[cfg(test)]
mod tests;
