//! What a file says, whether it was XML or JSON: elements with a place each.

use std::ops::Range;

/// Where something is: which file, and the range of bytes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: usize,
    pub(super) span: Range<usize>,
}

/// An element with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// Its text, without white space at either end.
    pub(super) text: String,
    /// Its start tag.
    pub(super) at: Spot,
    /// Its text, from the first character that is no white space; its start tag where there is none.
    pub(super) text_at: Spot,
}

impl Element {
    pub(super) fn new(name: String, at: Spot) -> Self {
        Self {
            name,
            attributes: Vec::new(),
            children: Vec::new(),
            text: String::new(),
            text_at: at.clone(),
            at,
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// What `name` calls it: nothing but white space is no name.
    pub(super) fn given_name(&self) -> Option<&str> {
        let name = self.attribute("name").map(str::trim);
        name.filter(|name| !name.is_empty())
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(super) fn children<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}
