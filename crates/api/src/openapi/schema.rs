//! The schemas of what is sent and answered: the components of the document.

mod answered;
pub(super) mod names;
mod sent;

use serde_json::{Map, Value, json};

/// A reference to one of them.
pub(super) fn component(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// All of them.
pub(super) fn components() -> Value {
    let all = names::all().into_iter().chain(sent::all()).chain(answered::all());
    Value::Object(all.map(|(name, schema)| (name.to_owned(), schema)).collect())
}

/// A member of an object.
struct Member {
    name: &'static str,
    schema: Value,
    is_required: bool,
}

/// One that is always there.
fn must(name: &'static str, schema: Value) -> Member {
    Member {
        name,
        schema,
        is_required: true,
    }
}

/// One that may be missing.
fn may(name: &'static str, schema: Value) -> Member {
    Member {
        name,
        schema,
        is_required: false,
    }
}

fn object(text: &str, members: impl IntoIterator<Item = Member>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        if member.is_required {
            required.push(member.name);
        }
        properties.insert(member.name.to_owned(), member.schema);
    }
    let mut written = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        written["required"] = required.into();
    }
    if !text.is_empty() {
        written["description"] = text.into();
    }
    written
}

/// That schema with what it is here.
fn told(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

/// That schema, or null.
fn nullable(mut schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some(name) => {
            schema["type"] = json!([name, "null"]);
            schema
        }
        None => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn whole(text: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": text})
}

fn number(text: &str) -> Value {
    json!({"type": "number", "minimum": 0, "description": text})
}

fn text(text: &str) -> Value {
    json!({"type": "string", "description": text})
}

fn flag(text: &str) -> Value {
    json!({"type": "boolean", "description": text})
}
