mod kind;
pub(crate) mod refusal;

use axum::response::{IntoResponse, Response};
use edgeproxy_backend::BackendId;
use http::HeaderValue;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use serde::Serialize;

pub(crate) use kind::Kind;

/// One field that breaks its rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct FieldProblem {
    pub(crate) field: String,
    pub(crate) problem: String,
}

/// Every field that breaks its rule, in the order found.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub(crate) fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(FieldProblem {
            field: field.into(),
            problem: problem.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer that refuses, in the shape of RFC 9457.
///
/// Boxed, because it travels in the error half of every `Result` of this crate and is rare.
#[derive(Debug)]
pub(crate) struct Problem(Box<Content>);

#[derive(Debug)]
struct Content {
    kind: Kind,
    error: String,
    id: Option<BackendId>,
    fields: Vec<FieldProblem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What an answer refuses, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) id: Option<BackendId>,
    pub(crate) error: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a BackendId>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldProblem],
}

impl Problem {
    pub(crate) fn new(kind: Kind, error: impl Into<String>) -> Self {
        Self(Box::new(Content {
            kind,
            error: error.into(),
            id: None,
            fields: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// 400: what was sent can't even be read.
    pub(crate) fn malformed(error: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, error)
    }

    /// 422 with every field that breaks its rule.
    pub(crate) fn unprocessable(problems: Problems) -> Self {
        let fields = problems.0;
        let error = match &*fields {
            [only] if only.field.is_empty() => only.problem.clone(),
            [only] => format!("{} {}", only.field, only.problem),
            several => format!("{} fields break their rules; see fields", several.len()),
        };
        let mut problem = Self::new(Kind::InvalidFields, error);
        problem.0.fields = fields;
        problem
    }

    /// 404 on a path that leads nowhere.
    pub(crate) fn no_such_path(path: &str) -> Self {
        let path: String = path.chars().take(128).collect();
        Self::new(
            Kind::NoSuchPath,
            format!("there is nothing at {path:?}; the API begins at /api/v1/"),
        )
    }

    /// 405 with the methods that the path has.
    pub(crate) fn method_not_allowed(allow: HeaderValue) -> Self {
        let methods = allow.to_str().unwrap_or_default().replace(',', ", ");
        Self::new(Kind::MethodNotAllowed, format!("this path allows only {methods}"))
            .with_header(ALLOW, allow)
    }

    /// What is worth another try after `secs`.
    pub(crate) fn for_now(kind: Kind, error: impl Into<String>, secs: u64) -> Self {
        Self::new(kind, error).with_header(RETRY_AFTER, HeaderValue::from(secs))
    }

    /// 503 because the process is going down.
    pub(crate) fn stopping() -> Self {
        Self::for_now(
            Kind::Stopping,
            "the server is stopping; try again, or try another proxy",
            STOPPING_RETRY_SECS,
        )
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The answer's body.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let Content {
            kind,
            error,
            id,
            fields,
            ..
        } = &*self.0;
        let body = Body {
            r#type: kind.uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            error,
            id: id.as_ref(),
            fields,
        };
        // Text and numbers alone: this can't fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    pub(crate) fn with_id(mut self, id: &BackendId) -> Self {
        self.0.id = Some(id.clone());
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }
}

/// A restart takes about that long.
const STOPPING_RETRY_SECS: u64 = 2;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.to_json();
        let Content {
            kind,
            error,
            id,
            headers,
            ..
        } = *self.0;
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (kind.status(), [(CONTENT_TYPE, content_type)], body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(Refused { id, error });
        response
    }
}
