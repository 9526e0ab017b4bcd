//! From what was written to a typed value, in two steps: the [`Kind`] says which shape it must have, the
//! field's type says which values of that shape it takes.

use toml::de::DeValue;

use crate::policy::Decimal;
use crate::setting::Kind;
use crate::suggest::closest;

/// A value of the right shape, wherever it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Switch(bool),
    Number(u64),
    /// In thousandths.
    Decimal(u32),
    Text(String),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
}

/// Why something is not a value of its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// What was found, as a noun phrase; a message puts `is` before it.
    pub(crate) found: String,
    /// What to write instead, where that can be guessed.
    pub(crate) help: Option<String>,
    /// Which item of a list or table is at fault.
    pub(crate) item: Option<usize>,
}

impl Mismatch {
    pub(crate) fn new(found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            help: None,
            item: None,
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::new(quoted(text))
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(crate) fn item(self, index: usize) -> Self {
        Self {
            item: Some(index),
            ..self
        }
    }
}

/// Repeats what a person wrote, but not a megabyte of it, and nothing that would move a terminal's cursor.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut start: String = text.chars().take(LONGEST).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

impl Kind {
    /// Reads the text of a variable or a flag.
    pub(crate) fn read_text(&self, text: &str) -> Result<Value, Mismatch> {
        let text = text.trim();
        match *self {
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Value::Switch(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Switch(false)),
                _ => Err(Mismatch::text(text)),
            },
            Self::Number { word: Some(word), .. } if text == word => Ok(Value::Text(text.to_owned())),
            Self::Number { min, max, unit, .. } => match text.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
                Ok(_) => Err(Mismatch::new(text)),
                Err(_) => Err(not_a_number(text, unit)),
            },
            Self::Decimal { min, max } => Decimal::parse(text)
                .map(Decimal::thousandths)
                .filter(|found| (min..=max).contains(found))
                .map(Value::Decimal)
                .ok_or_else(|| Mismatch::text(text)),
            Self::OneOf(_) | Self::Text { .. } => self.read_word(text),
            Self::List { .. } | Self::Codes => Ok(Value::List(items(text).map(str::to_owned).collect())),
            Self::Table { .. } | Self::Numbers { .. } => items(text)
                .enumerate()
                .map(|(index, pair)| match pair.split_once(':') {
                    Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                    None => Err(Mismatch::text(pair).item(index)),
                })
                .collect::<Result<_, _>>()
                .map(Value::Pairs),
        }
    }

    /// Reads a value of `edgeproxy.toml`.
    pub(crate) fn read_toml(&self, value: &DeValue<'_>) -> Result<Value, Mismatch> {
        match (self, value) {
            (Self::Switch, DeValue::Boolean(switch)) => Ok(Value::Switch(*switch)),
            (Self::Number { min, max, .. }, DeValue::Integer(integer)) => {
                match u64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) if (*min..=*max).contains(&number) => Ok(Value::Number(number)),
                    _ => Err(Mismatch::new(integer.to_string())),
                }
            }
            (Self::Number { word: Some(word), .. }, DeValue::String(text)) if text == word => {
                Ok(Value::Text((*word).to_owned()))
            }
            (Self::Decimal { .. }, DeValue::Integer(number)) => self.read_decimal(number.as_str()),
            (Self::Decimal { .. }, DeValue::Float(number)) => self.read_decimal(number.as_str()),
            (Self::OneOf(_) | Self::Text { .. }, DeValue::String(text)) => self.read_word(text),
            (Self::Codes, DeValue::Array(array)) => array
                .iter()
                .enumerate()
                .map(|(index, item)| code(item.get_ref()).map_err(|mismatch| mismatch.item(index)))
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Self::List { .. }, DeValue::Array(array)) => array
                .iter()
                .enumerate()
                .map(|(index, item)| string(item.get_ref()).map_err(|mismatch| mismatch.item(index)))
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Self::Table { .. } | Self::Numbers { .. }, DeValue::Table(table)) => table
                .iter()
                .enumerate()
                .map(|(index, (name, value))| match self.pair(value.get_ref()) {
                    Ok(text) => Ok((name.get_ref().to_string(), text)),
                    Err(mismatch) => Err(mismatch.item(index)),
                })
                .collect::<Result<_, _>>()
                .map(Value::Pairs),
            _ => Err(self.wrong_type(value)),
        }
    }

    /// The second half of a pair.
    fn pair(&self, value: &DeValue<'_>) -> Result<String, Mismatch> {
        match (self, value) {
            (Self::Numbers { .. }, DeValue::Integer(number)) => Ok(number.to_string()),
            (Self::Numbers { .. }, other) => Err(Mismatch::new(described(other))),
            _ => string(value),
        }
    }

    fn read_decimal(&self, number: &str) -> Result<Value, Mismatch> {
        self.read_text(number).map_err(|_| Mismatch::new(number))
    }

    fn read_word(&self, text: &str) -> Result<Value, Mismatch> {
        let Self::OneOf(words) = self else {
            return Ok(Value::Text(text.to_owned()));
        };
        if words.contains(&text) {
            return Ok(Value::Text(text.to_owned()));
        }
        let mismatch = Mismatch::text(text);
        Err(match closest(text, words.iter().copied()) {
            Some(word) => mismatch.help(format!("did you mean {word:?}?")),
            None => mismatch,
        })
    }

    fn wrong_type(&self, value: &DeValue<'_>) -> Mismatch {
        let mismatch = Mismatch::new(described(value));
        let DeValue::String(text) = value else {
            return match self {
                Self::OneOf(_) | Self::Text { .. } if is_scalar(value) => mismatch.help("put it in quotes"),
                Self::List { .. } if is_scalar(value) => mismatch.help("put it in quotes and brackets"),
                Self::Codes if is_scalar(value) => mismatch.help("put it in brackets"),
                _ => mismatch,
            };
        };
        match (self, self.read_text(text)) {
            (Self::Switch, Ok(Value::Switch(switch))) => {
                mismatch.help(format!("write {switch}, without quotes"))
            }
            (Self::Number { .. }, Ok(Value::Number(number))) => {
                mismatch.help(format!("write {number}, without quotes"))
            }
            (Self::Decimal { .. }, Ok(_)) => mismatch.help(format!("write {}, without quotes", text.trim())),
            (Self::Number { unit, .. }, Err(_)) => Mismatch {
                help: not_a_number(text.trim(), unit).help,
                ..mismatch
            },
            (Self::Codes, Ok(Value::List(items))) => mismatch.help(format!("write [{}]", items.join(", "))),
            (Self::List { .. }, Ok(Value::List(items))) => mismatch.help(format!("write {items:?}")),
            _ => mismatch,
        }
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = if text == "none" { "" } else { text };
    text.split([',', ' ', '\t', '\n'])
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Whoever writes `30s` means 30 where the unit is seconds, and should be told so.
fn not_a_number(text: &str, unit: &str) -> Mismatch {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let mismatch = Mismatch::text(text);
    match (unit, text[digits.len()..].trim(), digits.parse::<u64>()) {
        ("seconds", "s" | "sec" | "secs" | "seconds", Ok(number)) => {
            mismatch.help(format!("the unit is seconds already: write {number}"))
        }
        ("seconds", "m" | "min", Ok(number)) => mismatch.help(format!(
            "the unit is seconds: write {}",
            number.saturating_mul(60)
        )),
        _ => mismatch,
    }
}

fn string(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other if is_scalar(other) => Err(Mismatch::new(described(other)).help("put it in quotes")),
        other => Err(Mismatch::new(described(other))),
    }
}

fn code(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value {
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(Mismatch::new(described(other))),
    }
}

fn is_scalar(value: &DeValue<'_>) -> bool {
    !matches!(value, DeValue::Array(_) | DeValue::Table(_))
}

/// A TOML value with its type, for a person.
pub(crate) fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A type that a setting can have.
pub(crate) trait FromValue: Sized {
    /// Takes a value of the shape that the setting's kind has.
    fn from_value(value: &Value) -> Result<Self, Mismatch>;
}

impl Value {
    /// Only reachable where an entry of the list of settings joins a kind with a type that can't take it,
    /// which the defaults would show at once.
    pub(crate) fn unfit(&self) -> Mismatch {
        Mismatch::new(format!("{self:?}"))
    }

    pub(crate) fn as_text(&self) -> Result<&str, Mismatch> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.unfit()),
        }
    }
}

#[cfg(test)]
mod tests;
