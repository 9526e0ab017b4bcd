use crate::Settings;
use crate::policy::Decimal;
use crate::shown::Shown;
use crate::value::{Mismatch, Value};

/// One setting: its names, its default, what it takes and what it does. The three names follow from the
/// key, so that whoever knows one of them knows all.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setting {
    /// The name in `edgeproxy.toml`, such as `listen_addr`.
    pub key: &'static str,
    /// The default, as it would be written in an environment variable; empty for an empty list.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether an app may have it differently.
    pub scope: Scope,
    /// Whether a running process can go over to another value.
    pub reload: Reload,
    /// Whether its value is not for everybody's eyes.
    pub secret: bool,
    pub(crate) env_name: Option<&'static str>,
    pub(crate) doc_text: &'static str,
    pub(crate) apply: fn(&mut Settings, &Value) -> Result<(), Mismatch>,
    /// The value as it is, secret or not.
    pub(crate) show: fn(&Settings) -> Shown,
}

/// What a setting is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The proxy as a whole.
    Proxy,
    /// Every app that doesn't say otherwise in its `[apps.NAME]`.
    App,
}

/// When another value of a setting is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// As soon as the configuration has been read again.
    Live,
    /// Once the process has been restarted. Until then a configuration with another value is refused.
    Restart,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
        /// What is counted, in the plural; empty for a plain number.
        unit: &'static str,
        /// A word that is accepted in place of a number.
        word: Option<&'static str>,
    },
    /// A number with at most three decimals.
    Decimal {
        /// The least, in thousandths.
        min: u32,
        /// The greatest, in thousandths.
        max: u32,
    },
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A text of a certain form.
    Text {
        /// The placeholder in `--help`.
        name: &'static str,
        /// What it is, with an example.
        expected: &'static str,
    },
    /// A list: an array in the file, separated by commas elsewhere, where `none` is the empty one.
    List {
        /// The placeholder in `--help`.
        name: &'static str,
        /// What each item is, with an example.
        expected: &'static str,
    },
    /// Statuses of HTTP responses from 200 to 599: an array of numbers, and of ranges as text, in the file;
    /// separated by commas elsewhere, where `none` is the empty list.
    Codes,
    /// Names with a whole number each: a table.
    Numbers {
        /// The placeholder in `--help`.
        name: &'static str,
        /// What it is, with an example for the file.
        expected: &'static str,
    },
    /// Names with a value each: a table in the file, `name:value` separated by commas elsewhere.
    Table {
        /// The placeholder in `--help`.
        name: &'static str,
        /// What it is, with an example for the file.
        expected: &'static str,
    },
}

/// The path of the configuration file: a flag and a variable, but no key, since a file can't name itself.
pub const CONFIG_FLAG: &str = "config";
/// The variable with the path of the configuration file.
pub const CONFIG_ENV: &str = "EDGEPROXY_CONFIG";
/// The variable that says where the API is of which commands ask. It is no setting, and none is meant by it.
pub const API_ENV: &str = "EDGEPROXY_API";
/// The file that is read when neither flag nor variable names one, if it exists.
pub const CONFIG_DEFAULT: &str = "edgeproxy.toml";

pub(crate) const ENV_PREFIX: &str = "EDGEPROXY_";

impl Setting {
    /// The setting of that key.
    #[must_use]
    pub fn by_key(key: &str) -> Option<&'static Self> {
        Settings::ALL.iter().find(|setting| setting.key == key)
    }

    /// The environment variable, such as `EDGEPROXY_LISTEN_ADDR`.
    #[must_use]
    pub fn env(&self) -> String {
        match self.env_name {
            Some(name) => name.to_owned(),
            None => format!("{ENV_PREFIX}{}", self.key.to_ascii_uppercase()),
        }
    }

    /// The flag without its two hyphens, such as `listen-addr`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// Its value, unless that is secret. Passwords in URLs are left out.
    #[must_use]
    pub fn shown(&self, settings: &Settings) -> Shown {
        let value = (self.show)(settings);
        if self.secret {
            value.masked()
        } else {
            value.without_passwords()
        }
    }

    /// What it does, in a sentence or a few.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.doc_text.trim()
    }
}

impl Kind {
    /// The placeholder for a value in `--help`.
    #[must_use]
    pub fn value_name(&self) -> String {
        match self {
            Self::Switch => "true|false".to_owned(),
            Self::Number {
                unit: "", word: None, ..
            } => "N".to_owned(),
            Self::Number { unit: "seconds", .. } => "SECS".to_owned(),
            Self::Number { word: Some(word), .. } => format!("N|{word}"),
            Self::Number { .. } | Self::Decimal { .. } => "N".to_owned(),
            Self::Codes => "STATUS,…".to_owned(),
            Self::OneOf(words) => words.join("|"),
            Self::Text { name, .. }
            | Self::List { name, .. }
            | Self::Table { name, .. }
            | Self::Numbers { name, .. } => (*name).to_owned(),
        }
    }

    /// Whether it takes several values, so that a flag may be given several times.
    #[must_use]
    pub const fn is_many(&self) -> bool {
        matches!(
            self,
            Self::List { .. } | Self::Codes | Self::Numbers { .. } | Self::Table { .. }
        )
    }

    /// What is expected in `edgeproxy.toml`, for a person.
    pub(crate) fn expected_in_file(&self) -> String {
        match self {
            Self::Switch => "true or false, without quotes".to_owned(),
            Self::Decimal { .. } => self.expected_in_text(),
            Self::Codes => format!("an array; each item is {CODE}"),
            Self::Number { word: None, .. } => self.expected_in_text(),
            Self::Number { word: Some(word), .. } => format!("{} or \"{word}\"", self.number()),
            Self::OneOf(words) => one_of(words.iter().map(|word| format!("\"{word}\""))),
            Self::Text { expected, .. } | Self::Table { expected, .. } | Self::Numbers { expected, .. } => {
                (*expected).to_owned()
            }
            Self::List { expected, .. } => format!("an array; each item is {expected}"),
        }
    }

    /// What is expected in a variable or a flag, for a person.
    pub(crate) fn expected_in_text(&self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Decimal { min, max } => {
                let (min, max) = (Decimal::from_thousandths(*min), Decimal::from_thousandths(*max));
                format!("a number from {min} to {max} with at most three decimals")
            }
            Self::Codes => format!("{CODE}; several are separated by commas"),
            Self::Number { word: None, .. } => self.number(),
            Self::Number { word: Some(word), .. } => format!("{} or {word}", self.number()),
            Self::OneOf(words) => one_of(words.iter().map(|word| (*word).to_owned())),
            Self::Text { expected, .. } => (*expected).to_owned(),
            Self::List { expected, .. } => format!("{expected}; several are separated by commas"),
            Self::Numbers { .. } => "pairs such as a:90,b:10".to_owned(),
            Self::Table { .. } => "pairs such as mx:MX,za:ZA".to_owned(),
        }
    }

    /// What an item of a list or table is, for a person.
    pub(crate) fn expected_item(&self) -> String {
        match self {
            Self::List { expected, .. } => (*expected).to_owned(),
            Self::Codes => CODE.to_owned(),
            _ => self.expected_in_file(),
        }
    }

    fn number(&self) -> String {
        let Self::Number { min, max, unit, .. } = self else {
            return String::new();
        };
        let of = if unit.is_empty() {
            String::new()
        } else {
            format!(" of {unit}")
        };
        format!("a whole number{of} from {min} to {max}")
    }
}

const CODE: &str = "a status from 200 to 599, or a range of them such as \"500-504\"";

fn one_of(words: impl ExactSizeIterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    let Some(last) = words.pop() else {
        return String::new();
    };
    if words.is_empty() {
        last
    } else {
        format!("{} or {last}", words.join(", "))
    }
}
