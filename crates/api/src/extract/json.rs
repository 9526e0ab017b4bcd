//! JSON text to values, with every member that comes twice noted: the last one would win in silence.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON text, read.
#[derive(Debug)]
pub(crate) struct Text {
    /// What it says; of members that come twice, the last.
    pub(crate) value: Value,
    /// The paths of members that come twice, such as `metadata.rack`; at most [`MOST_DUPLICATES`].
    pub(crate) duplicates: Vec<String>,
}

const MOST_DUPLICATES: usize = 16;

/// Reads one JSON text (RFC 8259). The depth is bounded by the parser at 128.
///
/// # Errors
/// Says what is wrong, with line and column.
pub(crate) fn parse(bytes: &[u8]) -> Result<Text, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = Seed {
        duplicates: &mut duplicates,
        path: None,
    }
    .deserialize(&mut parser)?;
    parser.end()?;
    Ok(Text { value, duplicates })
}

/// Where the parser is. Linked through its own stack, so that a path costs nothing until it is needed.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    member: &'a str,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        write!(f, "{:.64}", self.member)
    }
}

struct Seed<'a> {
    duplicates: &'a mut Vec<String>,
    path: Option<&'a Path<'a>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { duplicates, path } = self;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Seed {
            duplicates: &mut *duplicates,
            path,
        })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Self { duplicates, path } = self;
        let mut object = Map::new();
        while let Some(member) = members.next_key::<String>()? {
            let here = Path {
                parent: path,
                member: &member,
            };
            let value = members.next_value_seed(Seed {
                duplicates: &mut *duplicates,
                path: Some(&here),
            })?;
            if object.contains_key(&member) && duplicates.len() < MOST_DUPLICATES {
                duplicates.push(here.to_string());
            }
            object.insert(member, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_that_comes_twice_is_named_with_its_path() {
        let text = parse(br#"{"a":1,"m":{"x":[{"y":1,"y":2}],"z":{"z":1}},"a":2}"#).unwrap();
        assert_eq!(text.duplicates, ["m.x.y", "a"]);
        assert_eq!(text.value["a"], 2);
        let many = format!("{{{}}}", vec![r#""a":1"#; 100].join(","));
        assert_eq!(parse(many.as_bytes()).unwrap().duplicates.len(), MOST_DUPLICATES);
    }

    #[test]
    fn depth_and_trailing_text_are_errors_with_a_place() {
        for (bad, place) in [
            ("{\"a\":\n  x}", "at line 2 column 3"),
            ("{} {}", "at line 1 column 4"),
            ("{\"a\":1e999}", "at line 1 column 10"),
            ("\u{feff}{}", "at line 1 column 1"),
        ] {
            let message = parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(message.ends_with(place), "{message}");
        }
        let deep = "[".repeat(60_000);
        assert!(
            parse(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("recursion limit")
        );
        assert!(parse(b"\"\xff\"").is_err());
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in "[\\[\\]{},:\"a-c0-9.eE+\\- tfnulrse\\\\]{0,40}") {
            let ours = parse(text.as_bytes()).map(|text| text.value).ok();
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).ok());
        }
    }
}
