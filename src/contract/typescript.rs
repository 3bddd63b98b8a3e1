//! Types for TypeScript, made from the schemas.

use std::fmt::Write;

use serde_json::Value;

/// Types of packages and events.
pub(super) fn types(package: &Value, event: &Value) -> String {
    let mut text = "// Made by `generative-ai-worker schema typescript`.\n".to_owned();
    interface(&mut text, "WorkPackage", package, true);
    let statuses = event["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = Vec::new();
    for status in statuses {
        let name = format!("{}Event", status["title"].as_str().unwrap_or_default());
        interface(&mut text, &name, status, false);
        names.push(name);
    }
    comment(&mut text, "", event);
    let _ = writeln!(text, "export type JobEvent = {};", names.join(" | "));
    text
}

fn interface(text: &mut String, name: &str, schema: &Value, is_open: bool) {
    comment(text, "", schema);
    let _ = writeln!(text, "export interface {name} {{");
    let is_required = |name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|required| required.iter().any(|required| required == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        comment(text, "  ", property);
        let mark = if is_required(name) { "" } else { "?" };
        let _ = writeln!(text, "  {name}{mark}: {};", type_of(property));
    }
    if is_open {
        text.push_str("  /** Kept and ignored. */\n  [field: string]: unknown;\n");
    }
    text.push_str("}\n");
}

fn comment(text: &mut String, indent: &str, schema: &Value) {
    if indent.is_empty() {
        text.push('\n');
    }
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(
            text,
            "{indent}/** {description}{} */",
            if description.ends_with('.') { "" } else { "." }
        );
    }
}

/// The type of a value with this schema; `unknown` where the schema says nothing.
fn type_of(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return union(values.iter().map(ToString::to_string));
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    let named = |kind: &Value| match kind.as_str() {
        Some("integer" | "number") => "number".to_owned(),
        Some("array") => format!("({})[]", type_of(&schema["items"])),
        Some(kind @ ("string" | "boolean" | "null")) => kind.to_owned(),
        _ => "unknown".to_owned(),
    };
    match (&schema["type"], schema["anyOf"].as_array()) {
        (Value::Array(kinds), _) => union(kinds.iter().map(named)),
        (Value::Null, Some(any)) => union(any.iter().map(type_of)),
        (kind, _) => named(kind),
    }
}

fn union(types: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for each in types.flat_map(|union| union.split(" | ").map(ToOwned::to_owned).collect::<Vec<_>>()) {
        // A text that may be empty is a text.
        let is_said = each == "\"\"" && all.iter().any(|other| other == "string");
        if !is_said && !all.contains(&each) {
            all.push(each);
        }
    }
    all.join(" | ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_become_types() {
        let cases = [
            (json!({"type": "integer"}), "number"),
            (json!({"type": ["string", "null"]}), "string | null"),
            (
                json!({"anyOf": [{"type": "string"}, {"const": ""}, {"type": "null"}]}),
                "string | null",
            ),
            (json!({"enum": ["low", "", null]}), r#""low" | "" | null"#),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                "(string)[]",
            ),
            (
                json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
                "string",
            ),
            (json!({}), "unknown"),
        ];
        for (schema, expected) in cases {
            assert_eq!(type_of(&schema), expected, "{schema}");
        }
    }
}
