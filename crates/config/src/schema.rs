//! The reference for editors: a JSON Schema, made of the lists.
//!
//! By hand rather than by `schemars`: that derives from types, and the types of [`Settings`] say less than the list
//! does: no range, no unit, no word that stands for a number, no default. It would be a second list.

mod json;

use crate::Settings;
use crate::policy::Decimal;
use crate::setting::{Kind, Setting};
use crate::shape::{Form, Shape, shapes};
use crate::table::Field;
use crate::value::Value;

use json::Json;

/// The schema of `edgeproxy.toml`, as JSON Schema 2020-12.
#[must_use]
pub fn schema() -> String {
    let mut properties: Vec<(&str, Json)> = Settings::ALL.iter().map(of_setting).collect();
    for shape in shapes() {
        // The setting `regions` is a table that says more in the file.
        properties.retain(|(key, _)| *key != shape.key);
        properties.push((shape.key, of_shape(&shape)));
    }
    let schema = Json::object([
        (
            "$schema",
            Json::text("https://json-schema.org/draft/2020-12/schema"),
        ),
        ("title", Json::text("edgeproxy.toml")),
        ("type", Json::text("object")),
        ("properties", Json::object(properties)),
        ("additionalProperties", Json::Bool(false)),
    ]);
    format!("{schema}\n")
}

fn of_setting(setting: &'static Setting) -> (&'static str, Json) {
    let mut members = of_kind(&setting.kind);
    members.push(("description", Json::text(setting.doc())));
    // An empty text stands for nothing, and can't be written in a file that has to name something.
    let default = setting.kind.read_text(setting.default).ok();
    if let Some(value) = default.filter(|_| !setting.default.is_empty() || setting.kind.is_many()) {
        members.push(("default", of_value(value)));
    }
    (setting.key, Json::object(members))
}

fn of_field(field: &'static Field) -> (&'static str, Json) {
    let mut members = of_kind(&field.kind);
    let text = format!("{} Default: {}.", field.doc(), field.default.replace('`', ""));
    let required = field.default == "required";
    let text = if required { field.doc().to_owned() } else { text };
    members.push(("description", Json::Text(text)));
    (field.key, Json::object(members))
}

fn of_shape(shape: &Shape) -> Json {
    let fields = shape.fields.iter().map(|field| of_field(field));
    let inner = shape.inner.iter().map(|inner| (inner.key, of_shape(inner)));
    let required = shape.fields.iter().filter(|field| field.default == "required");
    let table = Json::object([
        ("type", Json::text("object")),
        ("properties", Json::object(fields.chain(inner))),
        (
            "required",
            Json::Array(required.map(|field| Json::text(field.key)).collect()),
        ),
        ("additionalProperties", Json::Bool(false)),
    ]);
    let about = ("description", Json::text(shape.about));
    let text = Json::object([("type", Json::text("string"))]);
    match shape.form {
        Form::One => table,
        Form::Many => Json::object([("type", Json::text("array")), about, ("items", table)]),
        Form::Named => Json::object([
            ("type", Json::text("object")),
            about,
            ("additionalProperties", table),
        ]),
        Form::NamedOrText => {
            let either = Json::object([("anyOf", Json::Array(vec![text, table]))]);
            Json::object([
                ("type", Json::text("object")),
                about,
                ("additionalProperties", either),
            ])
        }
    }
}

fn of_kind(kind: &Kind) -> Vec<(&'static str, Json)> {
    let typed = |name| ("type", Json::text(name));
    let listed = |item: Vec<(&'static str, Json)>| vec![typed("array"), ("items", Json::object(item))];
    let keyed = |item| {
        vec![
            typed("object"),
            ("additionalProperties", Json::object([typed(item)])),
        ]
    };
    match *kind {
        Kind::Switch => vec![typed("boolean")],
        Kind::Number { min, max, word, .. } => {
            let number = vec![
                typed("integer"),
                ("minimum", Json::Number(min)),
                ("maximum", Json::Number(max)),
            ];
            match word {
                None => number,
                Some(word) => {
                    let word = Json::object([("const", Json::text(word))]);
                    vec![("anyOf", Json::Array(vec![Json::object(number), word]))]
                }
            }
        }
        Kind::Decimal { min, max } => {
            let bound = |thousandths| Json::Decimal(Decimal::from_thousandths(thousandths));
            vec![typed("number"), ("minimum", bound(min)), ("maximum", bound(max))]
        }
        Kind::OneOf(words) => vec![(
            "enum",
            Json::Array(words.iter().map(|word| Json::text(word)).collect()),
        )],
        Kind::Text { .. } => vec![typed("string")],
        Kind::List { .. } => listed(vec![typed("string")]),
        Kind::Codes => {
            let number = [
                typed("integer"),
                ("minimum", Json::Number(200)),
                ("maximum", Json::Number(599)),
            ];
            let range = [
                typed("string"),
                ("pattern", Json::text("^[2-5][0-9]{2}(-[2-5][0-9]{2})?$")),
            ];
            listed(vec![(
                "anyOf",
                Json::Array(vec![Json::object(number), Json::object(range)]),
            )])
        }
        Kind::Table { .. } => keyed("string"),
        Kind::Numbers { .. } => keyed("integer"),
    }
}

fn of_value(value: Value) -> Json {
    match value {
        Value::Switch(switch) => Json::Bool(switch),
        Value::Number(number) => Json::Number(number),
        Value::Decimal(thousandths) => Json::Decimal(Decimal::from_thousandths(thousandths)),
        Value::Text(text) => Json::Text(text),
        Value::List(items) => Json::Array(items.into_iter().map(Json::Text).collect()),
        Value::Pairs(pairs) => Json::object(pairs.into_iter().map(|(name, text)| (name, Json::Text(text)))),
    }
}
