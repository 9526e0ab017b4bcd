//! The dashboard: one page and its parts, which are in the binary and need nothing from elsewhere.
//!
//! Whoever may connect may have them, since there is nothing in them that isn't public; what they show they ask the API for,
//! as any other client does.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, REFERRER_POLICY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::problem::Problem;

/// A file of the page.
struct Part {
    name: &'static str,
    media: &'static str,
    text: &'static str,
    /// What `ETag` says of it.
    tag: u64,
}

const fn part(name: &'static str, media: &'static str, text: &'static str) -> Part {
    Part {
        name,
        media,
        text,
        tag: fnv1a(text.as_bytes()),
    }
}

/// FNV-1a: to tell one edition from the other, and no more.
pub(crate) const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    #[allow(
        clippy::indexing_slicing,
        reason = "at is less than the length, and the compiler runs it"
    )]
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A text of the folder `ui`.
macro_rules! ui {
    ($name:literal, $media:expr) => {
        part($name, $media, include_str!(concat!("../../ui/", $name)))
    };
}

static INDEX: Part = ui!("index.html", HTML);
static DOCS: Part = ui!("docs.html", HTML);

static PARTS: &[Part] = &[
    ui!("icon.svg", SVG),
    ui!("base.css", CSS),
    ui!("docs.css", CSS),
    ui!("parts.css", CSS),
    ui!("actions.js", SCRIPT),
    ui!("api.js", SCRIPT),
    ui!("app.js", SCRIPT),
    ui!("columns.js", SCRIPT),
    ui!("detail.js", SCRIPT),
    ui!("docs.js", SCRIPT),
    ui!("operation.js", SCRIPT),
    ui!("schema.js", SCRIPT),
    ui!("dom.js", SCRIPT),
    ui!("empty.js", SCRIPT),
    ui!("explain.js", SCRIPT),
    ui!("fleet.js", SCRIPT),
    ui!("header.js", SCRIPT),
    ui!("history.js", SCRIPT),
    ui!("log.js", SCRIPT),
    ui!("row.js", SCRIPT),
    ui!("session.js", SCRIPT),
    ui!("spark.js", SCRIPT),
    ui!("stream.js", SCRIPT),
    ui!("words.js", SCRIPT),
];

/// Nothing but what is here, no script but from a file, and no text that becomes markup: a backend's id or reason can't
/// be more than text, whatever a mistake in the scripts would do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Whether that path is the page's or a part's place.
pub(crate) fn is_part(path: &str) -> bool {
    path == "/" || path == "/docs" || path.strip_prefix("/ui/").is_some_and(|name| !name.contains('/'))
}

/// `GET /`.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    INDEX.answer(&headers)
}

/// `GET /docs`: the document of `GET /openapi.json`, to be read.
pub(crate) async fn docs(headers: HeaderMap) -> Response {
    DOCS.answer(&headers)
}

/// The names of all parts.
pub(crate) fn part_names() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|part| part.name)
}

/// `GET /ui/{file}`.
pub(crate) async fn part_of(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = PARTS.iter().find(|part| part.name == name);
    let part = found.ok_or_else(|| Problem::no_such_path(&format!("/ui/{name}")))?;
    Ok(part.answer(&headers))
}

impl Part {
    fn answer(&self, asked: &HeaderMap) -> Response {
        let tag = format!("\"{:016x}\"", self.tag);
        let mut known = asked
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|one| one.trim().trim_start_matches("W/"));
        let mut response = if known.any(|one| one == tag || one == "*") {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.text.into_response()
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        // It may be kept, and is asked for each time: another edition's page must not meet this one's scripts.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(
            CROSS_ORIGIN_OPENER_POLICY,
            HeaderValue::from_static("same-origin"),
        );
        // Digits and quotes: this can't fail.
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}
