use axum::extract::FromRequestParts;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_control::Handle;
use http::header::IF_MATCH;
use http::request::Parts;

use crate::problem::{Kind, Problem};

/// `If-Match` (RFC 9110 §13.1.1). The entity tag of a backend is its incarnation: `"7"`.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum IfMatch {
    /// Missing, or `*`: whichever incarnation lives.
    Any,
    /// One of these. A tag that no incarnation can have, a weak one included, is left out, so there may be
    /// none.
    OneOf(Vec<Incarnation>),
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::Any);
        }
        // Several lines are one list (RFC 9110 §5.3).
        let list = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect::<Vec<_>>()
            .join(",");
        Self::parse(&list).ok_or_else(|| {
            Problem::malformed(
                "If-Match is neither an incarnation in quotes, such as \"7\", nor a list of them, nor *",
            )
        })
    }
}

impl IfMatch {
    pub(crate) fn parse(list: &str) -> Option<Self> {
        if list.trim() == "*" {
            return Some(Self::Any);
        }
        let mut incarnations = Vec::new();
        let mut rest = list.trim_start();
        loop {
            let weak = rest.strip_prefix("W/");
            let (tag, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
            if tag.chars().any(|c| c <= ' ' || c == '\u{7f}') {
                return None;
            }
            // The comparison is a strong one (RFC 9110 §13.1.1): a weak tag never matches.
            let incarnation = tag
                .parse()
                .ok()
                .and_then(Incarnation::new)
                .filter(|live| live.to_string() == tag);
            incarnations.extend(incarnation.filter(|_| weak.is_none()));
            let after = after.trim_start();
            if after.is_empty() {
                return Some(Self::OneOf(incarnations));
            }
            rest = after.strip_prefix(',')?.trim_start();
        }
    }

    /// The one incarnation that a change may go to. `unknown` words the refusal where there is no backend.
    pub(crate) fn fence(
        &self,
        handle: &Handle,
        id: &BackendId,
        unknown: fn(&BackendId) -> Problem,
    ) -> Result<Option<Incarnation>, Problem> {
        let tags = match self {
            Self::Any => return Ok(None),
            Self::OneOf(tags) => tags,
        };
        if let [only] = **tags {
            return Ok(Some(only));
        }
        // The registry takes one incarnation and checks it again, so nothing can slip in between.
        let status = handle.get(id).ok_or_else(|| unknown(id))?;
        let live = status.endpoint.incarnation;
        if tags.contains(&live) {
            return Ok(Some(live));
        }
        let error = format!("If-Match names no live incarnation of backend {id}; the live one is \"{live}\"");
        Err(Problem::new(Kind::DeadIncarnation, error).with_id(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of(numbers: &[u64]) -> Option<IfMatch> {
        Some(IfMatch::OneOf(
            numbers.iter().map(|n| Incarnation::new(*n).unwrap()).collect(),
        ))
    }

    #[test]
    fn entity_tags_are_read_as_the_rfc_writes_them() {
        assert_eq!(IfMatch::parse("\"7\""), one_of(&[7]));
        assert_eq!(IfMatch::parse(" \"7\" , \"8\""), one_of(&[7, 8]));
        assert_eq!(IfMatch::parse(" * "), Some(IfMatch::Any));
        // Well-formed, but no incarnation's.
        for foreign in [
            "W/\"7\"",
            "\"abc\"",
            "\"\"",
            "\"0\"",
            "\"07\"",
            "\"+7\"",
            "\"a,b\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(IfMatch::parse(foreign), one_of(&[]), "{foreign}");
        }
        for bad in [
            "",
            "7",
            "\"7",
            "7\"",
            "\"7\" \"8\"",
            "\"7\",",
            ",",
            "w/\"7\"",
            "\"a b\"",
            "*, \"7\"",
            "'7'",
        ] {
            assert_eq!(IfMatch::parse(bad), None, "{bad}");
        }
    }
}
