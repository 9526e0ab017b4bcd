//! What must be left of a message, and what the proxy may change.

use super::Message;

/// Fields that a proxy removes, adds or rewrites. What becomes of them is held against the specification line by
/// line in `fuzzing`; here they are left out of the comparison.
const REWRITTEN: [&str; 22] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
    // Between neighbours of HTTP/1.0 it means nothing.
    "expect",
];

/// Names that must not stand behind a body, besides those.
const NO_TRAILERS: [&str; 1] = ["trailer"];

/// The fields that reach the other side as they are.
fn end_to_end(message: &Message, rewritten: &[&str]) -> Vec<(String, String)> {
    let named = items(message, "connection");
    let passes = |(name, _): &&(String, String)| {
        let folded = name.replace('_', "-");
        let lookalike = name.contains('_') && is_known(&folded);
        !(rewritten.contains(&name.as_str()) || named.contains(name) || lookalike)
    };
    message.fields.iter().filter(passes).cloned().collect()
}

fn is_known(name: &str) -> bool {
    REWRITTEN.contains(&name) || matches!(name, "date" | "trailer")
}

/// The items of a list, in lower case.
fn items(message: &Message, name: &str) -> Vec<String> {
    let values = values(message, name);
    let items = values.iter().flat_map(|value| value.split(','));
    let items = items.map(|item| item.trim().to_lowercase());
    items.filter(|item| !item.is_empty()).collect()
}

fn values<'m>(message: &'m Message, name: &str) -> Vec<&'m str> {
    let fields = message.fields.iter().filter(|(found, _)| found == name);
    fields.map(|(_, value)| value.as_str()).collect()
}

fn trailers(message: &Message) -> Vec<(String, String)> {
    let passes = |(name, _): &&(String, String)| {
        let folded = name.replace('_', "-");
        let removed = REWRITTEN.contains(&folded.as_str()) || NO_TRAILERS.contains(&folded.as_str());
        let lookalike = name.contains('_') && is_known(&folded);
        !(removed || lookalike)
    };
    message.trailers.iter().filter(passes).cloned().collect()
}

fn differ(parts: &[(&str, bool)]) -> Option<String> {
    let wrong: Vec<&str> = parts
        .iter()
        .filter(|(_, same)| !same)
        .map(|(what, _)| *what)
        .collect();
    (!wrong.is_empty()).then(|| format!("another {}", wrong.join(", ")))
}

/// What differs between a request as the client meant it and as the backend gets it. `keeps`: whether the client's
/// connection lasts.
pub(super) fn differ_requests(before: &Message, behind: &Message, keeps: bool) -> Option<String> {
    // RFC 9112 §3.2.4.
    let star = before.method == "OPTIONS" && before.authority.is_some() && before.target == "/";
    let host = match (&before.authority, values(before, "host").as_slice()) {
        (Some(authority), _) => authority.clone(),
        (None, [host]) => (*host).to_owned(),
        (None, _) => "backend".to_owned(),
    };
    differ(&[
        ("method", before.method == behind.method),
        (
            "target",
            before.target == behind.target || (star && behind.target == "*"),
        ),
        ("host", values(behind, "host") == [host.as_str()]),
        ("form of target", behind.authority.is_none()),
        ("version", behind.minor == 1),
        (
            "field",
            end_to_end(before, &REWRITTEN) == end_to_end(behind, &REWRITTEN),
        ),
        ("body", before.body == behind.body),
        ("trailer", trailers(before) == behind.trailers),
        ("end of the client's connection", before.keeps == keeps),
        ("end of the backend's connection", behind.keeps),
    ])
}

/// What differs between a response as the backend meant it and as the client gets it. `keeps`: whether the
/// backend's connection lasts.
pub(super) fn differ_responses(before: &Message, behind: &Message, keeps: bool) -> Option<String> {
    let rewritten = [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let end_to_end = |message: &Message| {
        let named = items(message, "connection");
        let mut fields = message.fields.clone();
        fields.retain(|(name, _)| !rewritten.contains(&name.as_str()) && !named.contains(name));
        fields
    };
    differ(&[
        ("status", before.target == behind.target),
        ("version", behind.minor == 1),
        ("field", end_to_end(before) == end_to_end(behind)),
        ("body", before.body == behind.body),
        (
            "trailer",
            trailers(before) == behind.trailers || behind.trailers.is_empty() && behind.minor == 1,
        ),
        ("end of the backend's connection", before.keeps == keeps),
    ])
}
