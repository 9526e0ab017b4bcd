//! Settings in the making, and the problems met so far.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::ops::Range;

use crate::finding::{Finding, Severity};
use crate::layers::{Loaded, Origin, RawFlags};
use crate::problem::{ConfigError, Document, Place, Problem};
use crate::setting::{API_ENV, CONFIG_ENV, ENV_PREFIX, Setting};
use crate::suggest::closest;
use crate::topology::{Sections, Topology};
use crate::value::{Mismatch, Value};
use crate::{Settings, fleet};

/// Settings in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft<'a> {
    pub(crate) settings: Settings,
    document: Option<&'a Document<'a>>,
    sources: BTreeMap<&'static str, Source>,
    failed: BTreeSet<&'static str>,
    /// Where each of the settings' listeners stands.
    pub(crate) listener_spans: Vec<Range<usize>>,
    listeners_failed: bool,
    /// What the file says of apps, routes and backends, before it has been seen as a whole.
    pub(crate) sections: Sections,
    pub(crate) topology: Topology,
    /// What a fleet file says besides; `None` of a configuration file, which has none of it.
    pub(crate) fleet: Option<fleet::Raw>,
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
    pub(crate) fn of(document: Option<&'a Document<'a>>) -> Self {
        Self {
            document,
            ..Self::default()
        }
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// How many problems there are so far.
    pub(crate) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Whether another guess at what was meant would be read: of thousands of problems a few are shown.
    pub(crate) fn guesses(&self) -> bool {
        const ENOUGH: usize = 100;
        self.problems.len() < ENOUGH
    }

    /// The line of a range of the file.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.document.map_or(0, |document| document.line(span))
    }

    /// The place of a range of the file.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        self.document
            .map_or(Place::Defaults, |document| document.place(span))
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

    pub(crate) fn read_env(&mut self, env: &[(OsString, OsString)]) {
        // Sorted, so that the same environment gives the same report.
        let mut ours: Vec<(&str, &OsStr)> = env
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())))
            .filter(|(name, value)| name.starts_with(ENV_PREFIX) && !value.is_empty())
            // EDGEPROXY_API_TOKEN_FILE and the others that the same commands take are told of: meant for the file of tokens,
            // or for the API's TLS, they would leave it open.
            .filter(|(name, _)| ![CONFIG_ENV, API_ENV].contains(name))
            .collect();
        ours.sort_unstable();
        for (name, value) in ours {
            match Settings::ALL.iter().find(|setting| setting.env() == name) {
                Some(setting) => self.set_from_text(setting, name, value, Source::Env),
                None => self.warnings.push(unknown_variable(name)),
            }
        }
    }

    pub(crate) fn read_flags(&mut self, flags: &RawFlags) {
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

    pub(crate) fn finish(mut self) -> Result<Loaded, ConfigError> {
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
        let place = |source: &Source| match (source, document) {
            (Source::File(span), Some(document)) => document.place(span),
            (Source::File(_), None) => Place::Defaults,
            (Source::Env, _) => Place::Environment,
            (Source::Flag, _) => Place::CommandLine,
        };
        let places = self
            .sources
            .iter()
            .map(|(key, source)| (*key, place(source)))
            .collect();
        let listener_places = self.listener_spans.iter().map(|span| self.place(span)).collect();
        let origins = self
            .sources
            .into_iter()
            .map(|(key, source)| (key, origin(source)))
            .collect();
        let file = document.map(|document| document.path.to_owned());
        Ok(Loaded {
            settings: self.settings,
            topology: self.topology,
            file,
            origins,
            places,
            listener_places,
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
        severity: Severity::Warning,
        place: Some(Place::Environment),
        message,
        advice,
    }
}
