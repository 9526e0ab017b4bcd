//! What is to be told, and reading values so that nothing is passed over without a word.

use std::collections::HashSet;
use std::net::IpAddr;

use super::element::{Element, Spot};
use super::rules::{self, Told};
use crate::finding::Finding;
use crate::problem::{Document, Place};
use crate::value::quoted;

/// What has been found so far, with its places.
#[derive(Debug)]
pub(super) struct Notes<'d> {
    documents: &'d [Document<'d>],
    found: Vec<(Spot, Finding)>,
    /// How many more there were than are kept.
    more: usize,
}

/// How many findings are kept. Nobody reads as many, and a file can be made to have any number.
const MOST: usize = 1_000;

/// What an element may have.
pub(super) struct Known {
    /// Children that come once at the most.
    pub(super) once: &'static [&'static str],
    /// Children that come as often as they like.
    pub(super) often: &'static [&'static str],
    pub(super) attributes: &'static [&'static str],
}

impl Known {
    pub(super) const fn once(once: &'static [&'static str]) -> Self {
        Self {
            once,
            often: &[],
            attributes: &[],
        }
    }

    fn has(&self, name: &str) -> bool {
        self.once.contains(&name) || self.often.contains(&name)
    }
}

impl<'d> Notes<'d> {
    pub(super) fn of(documents: &'d [Document<'d>]) -> Self {
        Self {
            documents,
            found: Vec::new(),
            more: 0,
        }
    }

    /// The findings, file by file and from top to bottom.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|(spot, _)| (spot.file, spot.span.start));
        let mut findings: Vec<Finding> = self.found.into_iter().map(|(_, finding)| finding).collect();
        if self.more > 0 {
            findings.push(Finding {
                rule: rules::NOT_IMPORTED.name,
                severity: rules::NOT_IMPORTED.severity,
                place: None,
                message: format!("there are {} findings more, which are not told", self.more),
                advice: "import fewer files at a time".to_owned(),
            });
        }
        findings
    }

    pub(super) fn place(&self, spot: &Spot) -> Place {
        self.documents
            .get(spot.file)
            .map_or(Place::Defaults, |document| document.place(&spot.span))
    }

    pub(super) fn tell(
        &mut self,
        rule: Told,
        spot: &Spot,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        if self.found.len() >= MOST {
            self.more += 1;
            return;
        }
        let finding = Finding {
            rule: rule.name,
            severity: rule.severity,
            place: Some(self.place(spot)),
            message: message.into(),
            advice: advice.into(),
        };
        self.found.push((spot.clone(), finding));
    }

    /// Tells of everything that is in an element and is not known there.
    pub(super) fn only(&mut self, element: &Element, known: &Known) {
        for (key, value) in &element.attributes {
            if key != "name" && !key.starts_with("xmlns") && !known.attributes.contains(&key.as_str()) {
                let message = format!(
                    "{}=\"{}\" of <{}> has no counterpart and was not taken over",
                    key,
                    shown(value),
                    element.name
                );
                self.tell(rules::NO_COUNTERPART, &element.at, message, "do without it");
            }
        }
        if !element.text.is_empty() {
            let message = format!(
                "the text {} stands between the elements of <{}>",
                quoted(&element.text),
                element.name
            );
            self.tell(
                rules::STRAY_TEXT,
                &element.text_at,
                message,
                "remove it; a tag may have been misspelt",
            );
        }
        let mut seen: HashSet<&str> = HashSet::new();
        for child in &element.children {
            if !known.has(&child.name) {
                let message = format!(
                    "<{}> in <{}> has no counterpart and was not taken over",
                    child.name, element.name
                );
                self.tell(rules::NO_COUNTERPART, &child.at, message, "do without it");
            } else if known.once.contains(&child.name.as_str()) && seen.contains(child.name.as_str()) {
                let message = format!(
                    "<{}> comes twice in <{}>: the first counts",
                    child.name, element.name
                );
                self.tell(rules::DEFINED_TWICE, &child.at, message, "remove one of them");
            }
            seen.insert(&child.name);
        }
    }

    /// The text of an element. Nothing where it is empty, or what only Apigee could fill in.
    pub(super) fn text<'e>(&mut self, element: &'e Element) -> Option<&'e str> {
        if let Some(child) = element.children.first() {
            self.bad(
                element,
                &format!("the element <{}>", shown(&child.name)),
                "a value",
                None,
            );
            return None;
        }
        if element.text.is_empty() {
            return None;
        }
        if has_variable(&element.text) {
            let message = format!(
                "<{}> is {}, a variable that only Apigee could fill in",
                element.name,
                quoted(&element.text)
            );
            self.tell(rules::VARIABLE, &element.text_at, message, "write its value");
            return None;
        }
        Some(&element.text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, element: Option<&Element>) -> Option<bool> {
        let element = element?;
        let text = self.text(element)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.bad(element, &quoted(text), "true or false", None);
                None
            }
        }
    }

    /// A whole number. One that is above what a setting takes becomes the most that it takes.
    pub(super) fn whole(&mut self, element: Option<&Element>, most: u64) -> Option<u64> {
        let element = element?;
        let text = self.text(element)?;
        match text.parse::<u64>() {
            Ok(number) if number <= most => Some(number),
            Ok(number) => {
                let meanwhile = format!("{most} was written");
                self.bad(
                    element,
                    &number.to_string(),
                    &format!("at most {most}"),
                    Some(&meanwhile),
                );
                Some(most)
            }
            Err(_) => {
                self.bad(element, &quoted(text), "a whole number", None);
                None
            }
        }
    }

    /// Milliseconds as the seconds that a setting takes, rounded up.
    pub(super) fn millis(&mut self, element: &Element, most_secs: u64) -> Option<u64> {
        let millis = self.whole(Some(element), most_secs.saturating_mul(1_000))?;
        if millis == 0 {
            self.bad(element, "0", "a number of milliseconds above 0", None);
            return None;
        }
        Some(millis.div_ceil(1_000))
    }

    /// A value that can't be used. What is written in its place, or else the default is.
    pub(super) fn bad(&mut self, element: &Element, found: &str, expected: &str, meanwhile: Option<&str>) {
        let message = format!(
            "<{}> is {found}; expected {expected}; {}",
            element.name,
            meanwhile.unwrap_or("it was left out")
        );
        self.tell(
            rules::BAD_VALUE,
            &element.text_at,
            message,
            "mend it here, or in what was written",
        );
    }
}

/// Names such as `{request.header.x}` that Apigee replaces.
pub(super) fn has_variable(text: &str) -> bool {
    text.split_once('{').is_some_and(|(_, rest)| rest.contains('}'))
}

/// A piece of a stranger's text that can't move a terminal's cursor, nor end a comment.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// The address that a host is, without asking anybody.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}
