//! Names that Apigee permits and this project doesn't, made into some that it does.

use std::collections::{HashMap, HashSet};

use edgeproxy_backend::{AppName, BackendId};

/// Names that are taken.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// How often each was wanted, so that the thousandth is not compared with all before.
    wanted: HashMap<String, usize>,
}

impl Names {
    /// A name of an app, like that one and not taken yet.
    pub(super) fn app(&mut self, wanted: &str) -> String {
        let folded: String = wanted
            .to_ascii_lowercase()
            .chars()
            .take(AppName::MAX_LEN)
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let labels: Vec<&str> = folded
            .split('.')
            .map(|label| {
                label
                    .get(..label.len().min(56))
                    .unwrap_or_default()
                    .trim_matches('-')
            })
            .filter(|label| !label.is_empty())
            .collect();
        let name = labels.join(".");
        let name = name
            .get(..name.len().min(240))
            .unwrap_or_default()
            .trim_matches(['-', '.']);
        self.free(if AppName::parse(name).is_ok() { name } else { "app" }, '-')
    }

    /// An identity of a backend, like that one and not taken yet.
    pub(super) fn backend(&mut self, wanted: &str) -> String {
        let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        let name: String = wanted
            .chars()
            .take(BackendId::MAX_LEN - 8)
            .map(|c| if permitted(c) { c } else { '-' })
            .collect();
        self.free(if name.is_empty() { "backend" } else { &name }, '-')
    }

    fn free(&mut self, name: &str, joint: char) -> String {
        let number = self.wanted.entry(name.to_owned()).or_default();
        loop {
            *number += 1;
            let free = match *number {
                1 => name.to_owned(),
                number => format!("{name}{joint}{number}"),
            };
            if self.taken.insert(free.clone()) {
                return free;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_one_that_is_permitted_and_free() {
        let mut names = Names::default();
        for (wanted, expected) in [
            ("default", "default"),
            ("Default", "default-2"),
            ("Shop_API v1", "shop-api-v1"),
            ("..--..", "app"),
            ("", "app-2"),
            ("münchen", "m-nchen"),
        ] {
            assert_eq!(names.app(wanted), expected, "{wanted}");
        }
        for long in ["a".repeat(1_000), "a.".repeat(1_000), "-é".repeat(500)] {
            let name = names.app(&long);
            assert!(AppName::parse(&name).is_ok(), "{name}");
            assert!(BackendId::parse(&names.backend(&long)).is_ok());
        }
    }
}
