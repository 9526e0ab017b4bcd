use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

use crate::metrics;
use crate::problem::Problem;

/// Refuses a request whose `Accept` leaves no room for JSON (RFC 9110 §12.5.1). What is told in another format is told to
/// whoever asks for it.
pub(crate) fn check(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if path == metrics::PATH {
        return Ok(());
    }
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return Ok(());
    }
    // The most specific range that speaks of JSON decides.
    let decisive = ranges
        .filter_map(Range::about_json)
        .max_by_key(|range| range.precision);
    if decisive.is_some_and(|range| range.acceptable) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::NOT_ACCEPTABLE,
        "the Accept header leaves no room for application/json, which is all that this API speaks",
    ))
}

struct Range {
    precision: u8,
    acceptable: bool,
}

impl Range {
    fn about_json(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let range = parts.next()?;
        let precision = match range.to_ascii_lowercase().as_str() {
            "application/json" => 2,
            "application/*" => 1,
            "*/*" => 0,
            _ => return None,
        };
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then(|| value.trim().parse::<f32>().ok())
        });
        // A quality that can't be read is no reason to refuse.
        let acceptable = quality.flatten().is_none_or(|quality| quality > 0.0);
        Some(Self {
            precision,
            acceptable,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        check("/", &headers).is_ok()
    }

    #[test]
    fn only_an_accept_that_excludes_json_is_refused() {
        for good in [
            "*/*",
            "application/json",
            "APPLICATION/JSON; q=0.1",
            "text/html, application/*;q=0.5",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/json;q=bad",
            "text/html;q=0, */*",
        ] {
            assert!(accepts(&[good]), "{good}");
        }
        for bad in [
            "text/html",
            "application/xml",
            "*/*;q=0",
            "application/json;q=0, */*",
            "json",
            "text/*",
        ] {
            assert!(!accepts(&[bad]), "{bad}");
        }
        assert!(accepts(&[]));
        assert!(accepts(&["text/html", "application/json"]));
    }
}
