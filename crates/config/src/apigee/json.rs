//! The newer files of target servers are JSON. They become the elements that the older ones are made of:
//! `sSLInfo.enabled` is `<SSLInfo><Enabled>`.

use std::fmt;
use std::ops::Range;

use serde_json::de::Deserializer as JsonDeserializer;
use serde_json::value::RawValue;

use super::element::{Element, Spot};
use crate::problem::{Document, Problem};

/// How deep values may be in one another. What Apigee writes is four deep.
const MAX_DEPTH: usize = 16;
/// How many values a file may have.
const MAX_VALUES: usize = 100_000;

/// Reads the target servers of a file: one, an array of them, or a member `targetServers`. Anything else is one element
/// named `JSON`.
pub(super) fn parse(document: &Document<'_>, file: usize) -> Result<Vec<Element>, Problem> {
    let told = |fault: Fault| document.problem(&fault.span, fault.message, None);
    let mut values = Values {
        text: document.text,
        file,
        count: 0,
    };
    let end = document.text.len();
    let raw: &RawValue = serde_json::from_str(document.text).map_err(|error| {
        let span = values.place(&error, 0..end);
        told(Fault {
            span,
            message: format!("not valid JSON: {}; expected a target server", sentence(&error)),
        })
    })?;
    let root = values.element("JSON", raw, 0).map_err(told)?;
    Ok(servers(root))
}

fn servers(mut root: Element) -> Vec<Element> {
    let is_server = |element: &Element| element.child("Host").is_some();
    if is_server(&root) {
        root.name = "TargetServer".to_owned();
        return vec![root];
    }
    let listed = |element: &Element| !element.children.is_empty() && element.children.iter().all(is_server);
    let holder = if listed(&root) {
        Some(&mut root)
    } else {
        let named = |child: &&mut Element| {
            let name = child.name.to_ascii_lowercase();
            matches!(name.as_str(), "targetserver" | "targetservers")
        };
        root.children
            .iter_mut()
            .find(|child| named(child) && listed(child))
    };
    match holder {
        Some(holder) => {
            let mut found = std::mem::take(&mut holder.children);
            found
                .iter_mut()
                .for_each(|server| server.name = "TargetServer".to_owned());
            found
        }
        None => vec![root],
    }
}

struct Fault {
    span: Range<usize>,
    message: String,
}

struct Values<'t> {
    text: &'t str,
    file: usize,
    count: usize,
}

impl<'t> Values<'t> {
    fn element(&mut self, name: &str, raw: &'t RawValue, depth: usize) -> Result<Element, Fault> {
        let span = self.span(raw);
        self.count += 1;
        if depth >= MAX_DEPTH {
            let message = format!("a value inside of {MAX_DEPTH} others; expected fewer");
            return Err(Fault { span, message });
        }
        if self.count > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values; expected fewer");
            return Err(Fault { span, message });
        }
        let spot = Spot {
            file: self.file,
            span: span.clone(),
        };
        let mut element = Element::new(capital(name), spot);
        match raw.get().as_bytes().first() {
            Some(b'{') => {
                for (key, value) in self.read::<Members<'t>>(raw, &span)?.0 {
                    let child = self.element(&key, value, depth + 1)?;
                    if key == "name" {
                        element.attributes.push((key, child.text));
                    } else {
                        element.children.push(child);
                    }
                }
            }
            Some(b'[') => {
                for value in self.read::<Vec<&'t RawValue>>(raw, &span)? {
                    let child = self.element("item", value, depth + 1)?;
                    // What is listed as words in XML is an array here.
                    if child.children.is_empty() && !child.text.is_empty() {
                        let comma = if element.text.is_empty() { "" } else { "," };
                        element.text.push_str(comma);
                        element.text.push_str(&child.text);
                    } else {
                        element.children.push(child);
                    }
                }
            }
            Some(b'"') => element.text = self.read::<String>(raw, &span)?.trim().to_owned(),
            // A missing value and null are the same.
            Some(b'n') => {}
            _ => element.text = raw.get().to_owned(),
        }
        Ok(element)
    }

    fn read<T: serde::Deserialize<'t>>(&self, raw: &'t RawValue, span: &Range<usize>) -> Result<T, Fault> {
        let mut deserializer = JsonDeserializer::from_str(raw.get());
        T::deserialize(&mut deserializer).map_err(|error| Fault {
            span: self.place(&error, span.clone()),
            message: format!("not valid JSON: {}", sentence(&error)),
        })
    }

    /// Where a value stands: it is a part of the text.
    fn span(&self, raw: &RawValue) -> Range<usize> {
        let begin = raw
            .get()
            .as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr());
        let begin = begin.min(self.text.len());
        begin..begin.saturating_add(raw.get().len()).min(self.text.len())
    }

    /// Where an error is, counted from the beginning of what was read.
    fn place(&self, error: &serde_json::Error, within: Range<usize>) -> Range<usize> {
        let text = self.text.get(within.clone()).unwrap_or_default();
        let line = error.line().saturating_sub(1);
        let skipped: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = within.start + skipped + error.column().saturating_sub(1);
        let at = self.text.floor_char_boundary(at.min(self.text.len()));
        at..at
    }
}

/// The message without its place, which is told already.
fn sentence(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}

/// `isEnabled` as `IsEnabled`.
fn capital(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.next();
    first
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters)
        .collect()
}

/// An object's members in their order.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> serde::Deserialize<'t> for Members<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'t> serde::de::Visitor<'t> for Visitor {
            type Value = Members<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<Element>, String> {
        let document = Document::new(Path::new("servers.json"), text);
        parse(&document, 0).map_err(|problem| format!("{}: {}", problem.place, problem.message))
    }

    #[test]
    fn one_server_an_array_and_a_member_are_read() {
        let one = r#"{"name": "target1", "host": "10.0.0.1", "port": 80, "isEnabled": true,
                      "sSLInfo": {"enabled": "true", "protocols": ["TLSv1.2", "TLSv1.3"]}}"#;
        for text in [
            one.to_owned(),
            format!("[{one}]"),
            format!(r#"{{"env": "test", "targetServers": [{one}]}}"#),
        ] {
            let found = parsed(&text).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            let server = &found[0];
            assert_eq!(
                (server.name.as_str(), server.attribute("name")),
                ("TargetServer", Some("target1"))
            );
            assert_eq!(server.child("Port").unwrap().text, "80");
            let tls = server.child("SSLInfo").unwrap();
            assert_eq!(tls.child("Enabled").unwrap().text, "true");
            assert_eq!(tls.child("Protocols").unwrap().text, "TLSv1.2,TLSv1.3");
            let at = &server.child("Host").unwrap().at.span;
            assert_eq!(&text[at.clone()], "\"10.0.0.1\"");
        }
        assert_eq!(parsed("{\"dependencies\": {}}").unwrap()[0].name, "JSON");
        assert_eq!(parsed("[]").unwrap()[0].name, "JSON");
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let told = parsed("{\n  \"name\": \"target1\",\n  \"host\": 10.0.0.1\n}").unwrap_err();
        assert!(told.starts_with("servers.json:3:"), "{told}");
        assert!(told.contains("not valid JSON"), "{told}");
        assert!(
            parsed("")
                .unwrap_err()
                .starts_with("servers.json:1:1: not valid JSON")
        );
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(parsed(&deep).unwrap_err().contains("inside of 16 others"));
    }
}
