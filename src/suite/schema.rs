//! The JSON Schema of suites and task files, generated from the key tables, for editors.

use serde_json::{Map, Value, json};

use super::keys::{Key, SUITE_KEYS, Shape, TASK_KEYS};

/// Draft-07 schema of a suite, or of a task file.
pub fn schema(of_task: bool) -> Value {
    let keys = if of_task { TASK_KEYS } else { SUITE_KEYS };
    let mut schema = object(keys);
    let head = schema.as_object_mut().expect("an object was built");
    head.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    head.insert("title".to_owned(), json!(if of_task { "veval task file" } else { "veval suite" }));
    schema
}

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut value = match &key.shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Count => json!({ "type": "integer", "minimum": 0 }),
        Shape::Number(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Texts => json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
        Shape::TextOrMap => json!({
            "anyOf": [{ "type": "string" }, { "type": "object", "additionalProperties": { "type": "string" } }],
        }),
        Shape::SomeOf(options) => {
            let one = json!({ "type": "string", "enum": options });
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::OneOf(options) => json!({ "type": "string", "enum": options }),
        Shape::Table(keys) => object(keys),
        Shape::Tables(keys) => json!({ "type": "array", "items": object(keys) }),
        Shape::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    };
    if let Some(map) = value.as_object_mut() {
        map.insert("description".to_owned(), json!(key.doc));
    }
    value
}
