use std::fmt;
use std::str::FromStr;

use edgeproxy_backend::AppName;

/// Which apps: one, those whose names begin alike, or all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppPattern {
    /// `*`.
    Any,
    /// `shop-*`: what stands before the star, not empty.
    Prefix(Box<str>),
    /// `shop`.
    Exact(AppName),
}

/// A text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{found:?}; expected the name of an app, its beginning and a star such as \"shop-*\", or \"*\"")]
pub struct PatternError {
    /// The beginning of what was found.
    pub found: String,
}

impl AppPattern {
    /// Reads one. Upper case is folded, as in names.
    ///
    /// # Errors
    /// When it is neither a name, nor the beginning of one and a star, nor a star.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let refused = || PatternError {
            found: text.chars().take(64).collect(),
        };
        let Some(prefix) = text.strip_suffix('*') else {
            return AppName::parse(text).map(Self::Exact).map_err(|_| refused());
        };
        if prefix.is_empty() {
            return Ok(Self::Any);
        }
        // It is the beginning of a name if it is one with something behind it.
        let name = AppName::parse(&format!("{prefix}x")).map_err(|_| refused())?;
        let folded = name.as_str().strip_suffix('x').unwrap_or_default();
        Ok(Self::Prefix(folded.into()))
    }

    /// Whether the app is one of them.
    #[must_use]
    pub fn covers(&self, app: &AppName) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => app.as_str().starts_with(&**prefix),
            Self::Exact(name) => app == name,
        }
    }
}

impl FromStr for AppPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for AppPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_a_beginning_or_a_star() {
        let covers = |pattern: &str, app: &str| {
            let pattern = AppPattern::parse(pattern).unwrap();
            assert_eq!(AppPattern::parse(&pattern.to_string()).unwrap(), pattern);
            pattern.covers(&AppName::parse(app).unwrap())
        };
        for (pattern, app, expected) in [
            ("shop", "shop", true),
            ("SHOP", "shop", true),
            ("shop", "shop-eu", false),
            ("shop-*", "shop-eu", true),
            ("Shop-*", "shop-eu", true),
            ("shop-*", "shop", false),
            ("shop-*", "shopping", false),
            ("shop*", "shopping", true),
            ("shop.*", "shop.eu", true),
            ("*", "shop", true),
        ] {
            assert_eq!(covers(pattern, app), expected, "{pattern} {app}");
        }
        for bad in [
            "",
            "**",
            "*shop",
            "sh*op",
            "shop-**",
            "a b",
            "a_b*",
            "-*",
            "shop,other",
        ] {
            let error = AppPattern::parse(bad).unwrap_err();
            assert!(error.to_string().contains("\"shop-*\""), "{bad}: {error}");
        }
    }
}
