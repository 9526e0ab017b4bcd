use http::HeaderMap;
use http::header::ACCEPT;

use crate::endpoint::metrics;
use crate::problem::{Kind, Problem};

/// What the API speaks.
pub(crate) const JSON: &str = "application/json";
/// What it speaks to whoever follows events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Refuses a request whose `Accept` leaves no room for what its path speaks (RFC 9110 §12.5.1).
pub(crate) fn check(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let spoken: &[&str] = match path {
        "/api/v1/events" => &[EVENT_STREAM, JSON],
        // Metrics are told in another format to whoever asks for it.
        metrics::PATH => return Ok(()),
        // A page and its parts have one form each, which a browser takes whatever it says.
        _ if crate::endpoint::page::is_part(path) => return Ok(()),
        _ => &[JSON],
    };
    if spoken.iter().any(|media| quality(headers, media) > 0.0) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::NotAcceptable,
        format!(
            "the Accept header leaves no room for {}, which is all that this API speaks",
            spoken.join(" or ")
        ),
    ))
}

/// How welcome that media type is, 0.0–1.0.
pub(crate) fn quality(headers: &HeaderMap, media: &str) -> f32 {
    let mut ranges = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() {
        return 1.0;
    }
    // The most specific range that speaks of it decides.
    let decisive = ranges
        .filter_map(|range| Range::about(range, media))
        .max_by_key(|range| range.precision);
    decisive.map_or(0.0, |range| range.quality)
}

struct Range {
    precision: u8,
    quality: f32,
}

impl Range {
    fn about(text: &str, media: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let range = parts.next()?.to_ascii_lowercase();
        let of_its_kind = range.strip_suffix("/*").zip(media.split_once('/'));
        let precision = if range == media {
            2
        } else if of_its_kind.is_some_and(|(kind, (its, _))| kind == its) {
            1
        } else if range == "*/*" {
            0
        } else {
            return None;
        };
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then(|| value.trim().parse::<f32>().ok())
        });
        Some(Self {
            precision,
            // A quality that can't be read is no reason to refuse.
            quality: quality
                .flatten()
                .filter(|quality| (0.0..=1.0).contains(quality))
                .unwrap_or(1.0),
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
        check("/api/v1/apps", &headers).is_ok()
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
            "application/json;q=nan",
            "application/json;q=-1",
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

    #[test]
    fn events_are_a_stream_unless_json_is_more_welcome() {
        let prefers_json = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            check("/api/v1/events", &headers).unwrap();
            quality(&headers, JSON) > quality(&headers, EVENT_STREAM)
        };
        for stream in [
            "*/*",
            "text/event-stream",
            "text/*",
            "text/event-stream, application/json;q=0.5",
        ] {
            assert!(!prefers_json(stream), "{stream}");
        }
        for json in [
            "application/json",
            "application/json, */*;q=0.1",
            "application/*, text/*;q=0.9",
        ] {
            assert!(prefers_json(json), "{json}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html"));
        assert!(check("/api/v1/events", &headers).is_err());
        assert!(check("/", &headers).is_ok());
    }
}
