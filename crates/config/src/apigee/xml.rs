//! XML (the fifth edition of 1.0) as far as it is needed, from files that nobody vouches for: no document type, so no
//! entities to expand; and a limit to everything.

use std::ops::Range;

use quick_xml::errors::{IllFormedError, SyntaxError};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

use super::element::{Element, Spot};
use crate::problem::{Document, Problem};

/// How deep elements may be in one another. What Apigee reads is seven deep.
pub(super) const MAX_DEPTH: usize = 64;
/// How many elements a file may have.
pub(super) const MAX_ELEMENTS: usize = 100_000;
/// How many attributes an element may have.
pub(super) const MAX_ATTRIBUTES: usize = 64;

/// What went wrong, where, and what to do about it.
struct Fault {
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

impl Fault {
    fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Reads the one element that an XML file is.
pub(super) fn parse(document: &Document<'_>, file: usize) -> Result<Element, Problem> {
    let told = |fault: Fault| document.problem(&fault.span, fault.message, fault.help);
    legal(document.text).map_err(told)?;
    let mut tree = Tree {
        document,
        file,
        open: Vec::new(),
        root: None,
        elements: 0,
    };
    tree.read().map_err(told)?;
    tree.root.ok_or_else(|| {
        let end = document.text.len();
        told(Fault::at(
            end..end,
            "the file has no element; expected one, such as <TargetEndpoint>",
        ))
    })
}

/// Characters that XML has no place for, not even as a reference (§2.2).
fn legal(text: &str) -> Result<(), Fault> {
    let forbidden =
        |c: char| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    match text.char_indices().find(|(_, c)| forbidden(*c)) {
        Some((at, found)) => Err(Fault::at(
            at..at + found.len_utf8(),
            format!(
                "the character U+{:04X}, which XML doesn't allow; expected text",
                u32::from(found)
            ),
        )
        .help("remove it")),
        None => Ok(()),
    }
}

/// The elements that are open, the outermost first, and what is closed already.
struct Tree<'d> {
    document: &'d Document<'d>,
    file: usize,
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl<'d> Tree<'d> {
    fn read(&mut self) -> Result<(), Fault> {
        let mut reader = Reader::from_str(self.document.text);
        loop {
            let from = offset(reader.buffer_position());
            let event = reader.read_event();
            let span = from..offset(reader.buffer_position());
            match event {
                Ok(Event::Eof) => return self.ended(),
                Ok(event) => self.take(event, span)?,
                Err(error) => return Err(self.ill(error, offset(reader.error_position()), span)),
            }
        }
    }

    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Fault> {
        match event {
            Event::Start(tag) => {
                let element = self.element(&tag, span)?;
                self.open.push(element);
                Ok(())
            }
            Event::Empty(tag) => {
                let element = self.element(&tag, span)?;
                self.close(element);
                Ok(())
            }
            Event::End(_) => {
                if let Some(element) = self.open.pop() {
                    self.close(element);
                }
                Ok(())
            }
            Event::Text(text) => self.text(&text.into_inner(), span.start, span),
            // After `<![CDATA[`.
            Event::CData(text) => self.text(&text.into_inner(), span.start.saturating_add(9), span),
            Event::GeneralRef(reference) => {
                let character = resolve(&reference, &span)?;
                self.text(character.encode_utf8(&mut [0; 4]), span.start, span)
            }
            Event::DocType(_) => Err(Fault::at(
                span,
                "a document type declaration; expected none, since entities are not expanded",
            )
            .help("remove it; Apigee's files have none")),
            Event::Decl(_) if span.start > 0 => Err(Fault::at(
                span,
                "the XML declaration stands after something else; expected it at the very beginning of the file",
            )
            .help("move it there, or remove it")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn element(&mut self, tag: &BytesStart<'_>, span: Range<usize>) -> Result<Element, Fault> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Fault::at(
                span,
                format!("more than {MAX_ELEMENTS} elements; expected fewer"),
            ));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::at(
                span,
                format!("an element inside of {MAX_DEPTH} others; expected fewer"),
            ));
        }
        self.ended_in_time(&span)?;
        let qualified = tag.name();
        let name = named(qualified.as_ref(), &span)?;
        if self.open.is_empty()
            && let Some(root) = &self.root
        {
            let message = format!("a second element, <{name}>, after </{}>; expected one", root.name);
            return Err(Fault::at(span, message).help("write it to a file of its own"));
        }
        let mut element = Element::new(name.to_owned(), self.spot(span.clone()));
        let mut attributes = tag.attributes();
        // What compares each with all others is done below, for a bounded number.
        attributes.with_checks(false);
        for attribute in attributes {
            let attribute = attribute.map_err(|error| ill_attribute(&error, &span))?;
            let key = named(attribute.key.as_ref(), &span)?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                let message = format!("<{name}> has more than {MAX_ATTRIBUTES} attributes; expected fewer");
                return Err(Fault::at(span, message));
            }
            if element.attribute(key).is_some() {
                let message = format!("<{name}> has {key} twice; expected it once");
                return Err(Fault::at(span, message).help("remove one of them"));
            }
            if attribute.value.contains('<') {
                let message = format!(
                    "the value of {key} in <{name}> has a `<`; expected `&lt;`, or a quote before it"
                );
                return Err(Fault::at(span, message));
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| {
                Fault::at(
                    span.clone(),
                    format!(
                        "the value of {key} in <{name}> has an `&` that begins no reference that XML has; expected `&amp;`"
                    ),
                )
            })?;
            element.attributes.push((key.to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    /// Whether the next tag begins before this one ends.
    fn ended_in_time(&self, span: &Range<usize>) -> Result<(), Fault> {
        let tag = self.document.text.get(span.clone()).unwrap_or_default();
        let mut quote = None;
        for (at, c) in tag.char_indices().skip(1) {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (None, '<') => {
                    let at = span.start + at;
                    return Err(Fault::at(at..at + 1, "a `<` inside of a tag; expected `>` first"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, mut element: Element) {
        element.text.truncate(element.text.trim_end().len());
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    /// Text that begins at that offset; `span` is all of its markup.
    fn text(&mut self, text: &str, begins: usize, span: Range<usize>) -> Result<(), Fault> {
        let shown = text.trim_start();
        if shown.is_empty() && self.open.last().is_none_or(|element| element.text.is_empty()) {
            return Ok(());
        }
        let at = begins + (text.len() - shown.len());
        let file = self.file;
        let Some(element) = self.open.last_mut() else {
            let end = at + shown.trim_end().len().max(1);
            let message = format!("the text {}; expected an element", quoted(shown.trim_end()));
            return Err(Fault::at(at.min(span.end)..end, message).help("remove it"));
        };
        if element.text.is_empty() {
            let end = at + shown.trim_end().len().max(1);
            element.text_at = Spot { file, span: at..end };
            element.text.push_str(shown);
        } else {
            element.text.push_str(text);
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<(), Fault> {
        let Some(inner) = self.open.last() else {
            return Ok(());
        };
        let end = self.document.text.trim_end().len();
        let missing: Vec<String> = self
            .open
            .iter()
            .rev()
            .take(4)
            .map(|element| format!("</{}>", element.name))
            .collect();
        let missing = missing.concat();
        let line = self.document.line(&inner.at.span);
        let message = format!(
            "the file ends inside of <{}>, which begins on line {line}; expected {missing}",
            inner.name
        );
        Err(Fault::at(end..end, message).help(format!("add {missing}, if nothing else is missing")))
    }

    fn ill(&self, error: Error, at: usize, span: Range<usize>) -> Fault {
        // What was read of it; the rest of its line, if that is nothing.
        let rest = at..span.end.max(at + 1);
        match error {
            Error::Syntax(error) => syntax(&error, rest),
            Error::IllFormed(IllFormedError::MismatchedEndTag { expected, found }) => {
                let line = self
                    .open
                    .last()
                    .map_or(1, |open| self.document.line(&open.at.span));
                let message = format!(
                    "the end tag </{}>; expected </{}> first, for the one that begins on line {line}",
                    excerpt(&found),
                    excerpt(&expected)
                );
                Fault::at(rest, message)
            }
            Error::IllFormed(IllFormedError::UnmatchedEndTag(found)) => Fault::at(
                rest,
                format!(
                    "the end tag </{}> ends nothing; expected no more",
                    excerpt(&found)
                ),
            )
            .help("remove it, or add what it ends"),
            Error::IllFormed(IllFormedError::UnclosedReference) => {
                Fault::at(at..at + 1, "an `&` that begins no reference; expected `&amp;`")
            }
            other => Fault::at(rest, format!("not well-formed XML: {other}")),
        }
    }

    fn spot(&self, span: Range<usize>) -> Spot {
        Spot {
            file: self.file,
            span,
        }
    }
}

fn syntax(error: &SyntaxError, span: Range<usize>) -> Fault {
    let (what, end) = match error {
        SyntaxError::UnclosedComment => ("a comment", "`-->`"),
        SyntaxError::UnclosedCData => ("a CDATA section", "`]]>`"),
        SyntaxError::UnclosedPI | SyntaxError::UnclosedXmlDecl => ("a processing instruction", "`?>`"),
        SyntaxError::UnclosedDoctype | SyntaxError::InvalidBangMarkup => ("a declaration", "`>`"),
        SyntaxError::UnclosedTag => ("a tag", "`>`"),
        SyntaxError::UnclosedSingleQuotedAttributeValue => ("a tag with the value of an attribute", "`'`"),
        SyntaxError::UnclosedDoubleQuotedAttributeValue => ("a tag with the value of an attribute", "`\"`"),
    };
    Fault::at(span, format!("{what} that never ends; expected {end}"))
}

fn ill_attribute(error: &AttrError, span: &Range<usize>) -> Fault {
    // Counted from the first character after `<`.
    let at = |position: usize| {
        let at = (span.start + 1 + position).min(span.end.saturating_sub(1));
        at..at + 1
    };
    match error {
        AttrError::ExpectedEq(position) => Fault::at(
            at(*position),
            "an attribute without a value; expected `=` and a value in quotes",
        ),
        AttrError::ExpectedValue(position) | AttrError::UnquotedValue(position) => Fault::at(
            at(*position),
            "the value of an attribute without quotes; expected `\"`",
        ),
        AttrError::ExpectedQuote(position, quote) => Fault::at(
            at(*position),
            format!(
                "the value of an attribute that never ends; expected `{}`",
                char::from(*quote)
            ),
        ),
        AttrError::Duplicated(position, _) => {
            Fault::at(at(*position), "an attribute that comes twice; expected it once")
        }
    }
}

/// The name of an element or attribute, without its prefix: Apigee's files have one vocabulary.
fn named<'n>(qualified: &'n str, span: &Range<usize>) -> Result<&'n str, Fault> {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let begins = |c: char| c.is_alphabetic() || matches!(c, '_' | ':');
    if qualified.starts_with(begins) && qualified.chars().all(inside) && qualified.len() <= 256 {
        return Ok(qualified
            .rsplit(':')
            .next()
            .filter(|local| !local.is_empty())
            .unwrap_or(qualified));
    }
    let message = format!("a tag with {}; expected a name", quoted(qualified));
    Err(Fault::at(span.clone(), message))
}

fn resolve(reference: &BytesRef<'_>, span: &Range<usize>) -> Result<char, Fault> {
    let unknown = || {
        let text = reference.xml10_content();
        let message = format!(
            "the reference &{};, which XML doesn't have; expected one of &amp; &lt; &gt; &quot; &apos; or the number of a \
             character",
            excerpt(&text)
        );
        Fault::at(span.clone(), message)
    };
    match &*reference.xml10_content() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match reference.resolve_char_ref() {
            Ok(Some(found)) if legal(found.encode_utf8(&mut [0; 4])).is_ok() => Ok(found),
            _ => Err(unknown()),
        },
    }
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests;
