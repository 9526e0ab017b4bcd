use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::schema::{component, names};
use crate::endpoint::{Endpoint, Need};
use crate::problem::Kind;
use crate::serve::accept::JSON;

/// What one endpoint takes and answers. What every request passes (`guard`), what the endpoint needs, and what comes with
/// its parameters is added when it is written, so that a description says no more than what is its own.
pub(crate) struct Operation {
    id: &'static str,
    tag: Tag,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<Answer>,
    refusals: BTreeSet<Kind>,
    has_one_form: bool,
}

/// Where people look for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tag {
    Lifecycle,
    Backends,
    Apps,
    Watching,
    Server,
    Pages,
}

impl Tag {
    pub(crate) const ALL: [Self; 6] = [
        Self::Lifecycle,
        Self::Backends,
        Self::Apps,
        Self::Watching,
        Self::Server,
        Self::Pages,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "A backend's life",
            Self::Backends => "Backends",
            Self::Apps => "Apps",
            Self::Watching => "What happens",
            Self::Server => "The server",
            Self::Pages => "Pages",
        }
    }

    pub(crate) fn described(self) -> Value {
        let text = match self {
            Self::Lifecycle => {
                "What a backend, or an agent beside it, calls: register, a heartbeat each third of the lease, deregister."
            }
            Self::Backends => "Who is registered, in which state and why; and an operator's changes.",
            Self::Apps => {
                "Apps by name: their policy, their backends' states, and which backend the next request would go to."
            }
            Self::Watching => "Events as they happen, and everything that is counted.",
            Self::Server => "Whether it lives and is ready, what is in force, and this document.",
            Self::Pages => "The dashboard, and this reference as a page. They need nothing from elsewhere.",
        };
        json!({"name": self.name(), "description": text})
    }
}

/// An answer that isn't a refusal.
pub(super) struct Answer {
    status: StatusCode,
    text: &'static str,
    content: Map<String, Value>,
    headers: Vec<&'static str>,
    links: Value,
}

impl Answer {
    pub(super) fn new(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            text,
            content: Map::new(),
            headers: Vec::new(),
            links: Value::Null,
        }
    }

    /// 200 with that component as JSON.
    pub(super) fn json(text: &'static str, of: &str, example: Value) -> Self {
        Self::new(StatusCode::OK, text).with_json(of, example)
    }

    pub(super) fn with_json(self, of: &str, example: Value) -> Self {
        let mut content = json!({"schema": component(of)});
        content["example"] = example;
        self.content(JSON, content)
    }

    /// An object of JSON that is described elsewhere.
    pub(super) fn with_any_json(self) -> Self {
        self.content(JSON, json!({"schema": {"type": "object"}}))
    }

    /// Text of that media type.
    pub(super) fn text(self, media: &str, example: &str) -> Self {
        let mut content = json!({"schema": {"type": "string"}});
        if !example.is_empty() {
            content["example"] = example.into();
        }
        self.content(media, content)
    }

    fn content(mut self, media: &str, content: Value) -> Self {
        self.content.insert(media.to_owned(), content);
        self
    }

    /// With that header, by the name of its component.
    pub(super) fn with(mut self, header: &'static str) -> Self {
        self.headers.push(header);
        self
    }

    /// What can be done next with the id of its body.
    pub(super) fn leads_to(mut self, operations: &[&str]) -> Self {
        let links = operations.iter().map(|operation| {
            let link = json!({"operationId": operation, "parameters": {"id": "$response.body#/id"}});
            ((*operation).to_owned(), link)
        });
        self.links = Value::Object(links.collect());
        self
    }

    fn written(&self) -> Value {
        let mut written = response(self.text, &self.headers);
        if !self.content.is_empty() {
            written["content"] = Value::Object(self.content.clone());
        }
        if !self.links.is_null() {
            written["links"] = self.links.clone();
        }
        written
    }
}

/// What every answer has, and what this one has besides.
fn response(text: &str, headers: &[&str]) -> Value {
    let all = ["Cache-Control", "X-Content-Type-Options", "X-Request-Id"];
    let named = all.iter().chain(headers).map(|name| {
        let there = json!({"$ref": format!("#/components/headers/{name}")});
        ((*name).to_owned(), there)
    });
    json!({"description": text, "headers": named.collect::<Map<String, Value>>()})
}

impl Operation {
    pub(super) fn new(id: &'static str, tag: Tag, summary: &'static str, text: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            text,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: BTreeSet::new(),
            has_one_form: false,
        }
    }

    /// The name that the path has in it.
    pub(super) fn path(mut self, name: &str, schema: Value, text: &str) -> Self {
        self.refusals.insert(Kind::Malformed);
        self.parameter("path", name, schema, text)
    }

    pub(super) fn query(mut self, name: &str, schema: Value, text: &str) -> Self {
        self.refusals.insert(Kind::InvalidFields);
        self.parameter("query", name, schema, text)
    }

    /// One that must be there.
    pub(super) fn required_query(self, name: &str, schema: Value, text: &str) -> Self {
        let mut operation = self.query(name, schema, text);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter["required"] = true.into();
        }
        operation
    }

    /// Values with commas between.
    pub(super) fn query_list(self, name: &str, item: Value, text: &str) -> Self {
        let mut list = json!({"type": "array", "minItems": 1});
        list["items"] = item;
        let mut operation = self.query(name, list, text);
        if let Some(parameter) = operation.parameters.last_mut() {
            parameter["explode"] = false.into();
        }
        operation
    }

    /// No parameter in the query; another than those is refused.
    pub(super) fn no_query(mut self) -> Self {
        self.refusals.insert(Kind::InvalidFields);
        self
    }

    pub(super) fn header(self, name: &str, schema: Value, text: &str) -> Self {
        self.parameter("header", name, schema, text)
    }

    /// `If-Match`, of a change.
    pub(super) fn fenced(mut self) -> Self {
        self.refusals.insert(Kind::DeadIncarnation);
        self.header(
            "If-Match",
            json!({"type": "string", "pattern": names::IF_MATCH, "examples": ["\"7\""]}),
            "The incarnation that is meant, in quotes: as `ETag` has it, and as the registration answered it. A dead one is \
             refused with 412, so that a process that is stopping can't remove its successor. Without it: whichever lives.",
        )
    }

    /// `If-None-Match`, and the answer to who knows it already.
    pub(super) fn kept(self) -> Self {
        let mut operation = self.header(
            "If-None-Match",
            json!({"type": "string", "examples": ["\"3.4\""]}),
            "The `ETag` of what is known already.",
        );
        for answer in &mut operation.answers {
            answer.headers.push("ETag");
        }
        operation.answer(Answer::new(StatusCode::NOT_MODIFIED, "It is as it was.").with("ETag"))
    }

    fn parameter(mut self, place: &str, name: &str, schema: Value, text: &str) -> Self {
        let mut parameter = json!({"in": place, "name": name, "description": text});
        parameter["schema"] = schema;
        if place == "path" {
            parameter["required"] = true.into();
        }
        self.parameters.push(parameter);
        self
    }

    /// A body of those media types, each with the same schema.
    pub(super) fn body(mut self, medias: &[&str], of: &str, examples: Value) -> Self {
        self.refusals.extend([
            Kind::BodyTooLarge,
            Kind::BodyTooSlow,
            Kind::NotJson,
            Kind::InvalidFields,
        ]);
        let mut content = json!({"schema": component(of)});
        content["examples"] = examples;
        let content: Map<String, Value> = medias
            .iter()
            .map(|media| ((*media).to_owned(), content.clone()))
            .collect();
        self.body = Some(json!({"required": true, "content": content}));
        self
    }

    /// The body may be left away.
    pub(super) fn optional_body(self, of: &str, examples: Value) -> Self {
        let mut operation = self.body(&[JSON], of, examples);
        if let Some(body) = &mut operation.body {
            body["required"] = false.into();
        }
        operation
    }

    pub(super) fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    pub(super) fn refuses(mut self, kinds: &[Kind]) -> Self {
        self.refusals.extend(kinds);
        self
    }

    /// It is told in one form, whatever `Accept` says.
    pub(super) const fn in_one_form(mut self) -> Self {
        self.has_one_form = true;
        self
    }

    /// As the document has it.
    pub(super) fn written(&self, endpoint: Endpoint, refusals: &mut Refusals) -> Value {
        let mut responses = Map::new();
        for answer in &self.answers {
            responses.insert(answer.status.as_str().to_owned(), answer.written());
        }
        let mut by_status: BTreeMap<StatusCode, Vec<Kind>> = BTreeMap::new();
        for kind in self.refusals_at(endpoint) {
            by_status.entry(kind.status()).or_default().push(kind);
        }
        for (status, kinds) in by_status {
            responses.insert(status.as_str().to_owned(), refusals.of(status, kinds));
        }
        let mut written = json!({
            "operationId": self.id,
            "tags": [self.tag.name()],
            "summary": self.summary,
            "description": format!("{}\n\n{}", self.text, need(endpoint.need)),
            "responses": responses,
            "security": security(endpoint.need),
        });
        if !self.parameters.is_empty() {
            written["parameters"] = self.parameters.clone().into();
        }
        if let Some(body) = &self.body {
            written["requestBody"] = body.clone();
        }
        written
    }

    /// Everything that it can be refused for there.
    pub(super) fn refusals_at(&self, endpoint: Endpoint) -> BTreeSet<Kind> {
        let mut refusals = self.refusals.clone();
        refusals.extend([
            Kind::Malformed,
            Kind::PeerNotServed,
            Kind::TokenRequired,
            Kind::TokenUnknown,
            Kind::TokenExpired,
            Kind::TokenElsewhere,
            Kind::TooManyRequests,
            Kind::TooManyWrongTokens,
            Kind::Internal,
            Kind::Overdue,
        ]);
        if endpoint.need != Need::Nothing {
            refusals.extend([Kind::CertificateUnknown, Kind::RoleTooLow]);
        }
        if matches!(endpoint.need, Need::Everywhere(_)) {
            refusals.insert(Kind::OtherApp);
        }
        if endpoint.method != "GET" {
            refusals.extend([Kind::ForeignHost, Kind::ForeignOrigin]);
        }
        if !self.has_one_form {
            refusals.insert(Kind::NotAcceptable);
        }
        refusals
    }
}

fn need(need: Need) -> String {
    match need {
        Need::Nothing => "It needs no token.".to_owned(),
        Need::Role(role) => format!("Where there are tokens, it takes the role `{role}`."),
        Need::Everywhere(role) => {
            format!("Where there are tokens, it takes the role `{role}` for all apps.")
        }
    }
}

fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::Role(role) | Need::Everywhere(role) => {
            let role = role.as_str();
            json!([{"bearer": [role]}, {"certificate": [role]}])
        }
    }
}

/// The refusals that several operations share, each once.
#[derive(Default)]
pub(super) struct Refusals(Vec<(StatusCode, Vec<Kind>)>);

impl Refusals {
    /// A reference to that one.
    fn of(&mut self, status: StatusCode, kinds: Vec<Kind>) -> Value {
        let known = self.0.iter().position(|known| *known == (status, kinds.clone()));
        let at = known.unwrap_or_else(|| {
            self.0.push((status, kinds));
            self.0.len() - 1
        });
        json!({"$ref": format!("#/components/responses/{}", self.name(at))})
    }

    /// The status, and a number from the second of it on.
    fn name(&self, at: usize) -> String {
        let of_it = |(status, _): &&(StatusCode, Vec<Kind>)| Some(*status) == self.0.get(at).map(|one| one.0);
        let status = self
            .0
            .get(at)
            .map_or_else(String::new, |(status, _)| status.as_str().to_owned());
        match self.0.iter().take(at).filter(of_it).count() {
            0 => status,
            before => format!("{status}-{}", before + 1),
        }
    }

    /// All of them, as the document has them.
    pub(super) fn written(&self) -> Value {
        let all = self.0.iter().enumerate();
        let written = all.map(|(at, (status, kinds))| (self.name(at), refusal(*status, kinds)));
        Value::Object(written.collect())
    }
}

fn refusal(status: StatusCode, kinds: &[Kind]) -> Value {
    let lines: Vec<String> = kinds
        .iter()
        .map(|kind| format!("- `{}`: {}.", kind.name(), kind.title()))
        .collect();
    let headers: &[&str] = match status {
        StatusCode::UNAUTHORIZED => &["WWW-Authenticate"],
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => &["Retry-After"],
        _ => &[],
    };
    let types: Vec<&str> = kinds.iter().map(|kind| kind.uri()).collect();
    let of = if status == StatusCode::UNPROCESSABLE_ENTITY {
        "ProblemOfFields"
    } else {
        "Problem"
    };
    let mut written = response(&lines.join("\n"), headers);
    written["content"] = json!({"application/problem+json": {"schema": {
        "allOf": [component(of), {"properties": {
            "type": {"enum": types},
            "status": {"const": status.as_u16()},
        }}]
    }}});
    written
}
