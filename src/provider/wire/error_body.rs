//! The explanation inside an error answer, in any of the shapes that services and their proxies use.
//!
//! Only takes apart; what a code means is for each provider to judge.

use serde_json::Value;

/// What an error answer says about itself. Texts are as they came: redact before quoting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorBody {
    /// For people. Never branch on it before the fields below have been looked at.
    pub message: String,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.code`; numbers are written out.
    pub code: Option<String>,
    /// Which field of the request is meant.
    pub param: Option<String>,
    /// The body, where it is JSON.
    pub json: Option<Value>,
    /// Whether the body holds an error at all, as opposed to something else in JSON.
    pub is_error: bool,
}

impl ErrorBody {
    /// Takes a body apart; whatever it is, something can be said about it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => Self::from_json(json),
            Err(_) => Self {
                message: plain(&String::from_utf8_lossy(body)),
                ..Self::default()
            },
        }
    }

    /// Takes apart what is JSON already.
    #[must_use]
    pub fn from_json(json: Value) -> Self {
        // Gemini's imitation of OpenAI wraps its error object in a list.
        let outer = json.get(0).unwrap_or(&json);
        let error = outer.get("error").filter(|error| !error.is_null());
        let holder = match error {
            Some(error) if error.is_object() => error,
            _ => outer,
        };
        let message = [
            error,
            outer.get("detail"),
            outer.get("message"),
            outer.get("errors"),
            outer.get("title"),
        ]
        .into_iter()
        .flatten()
        .find_map(words);
        Self {
            is_error: error.is_some() || message.is_some(),
            message: message.unwrap_or_else(|| json.to_string()),
            kind: word(holder, "type"),
            code: word(holder, "code"),
            param: word(holder, "param"),
            json: Some(json),
        }
    }
}

/// A short field: a string or a number, written out.
fn word(holder: &Value, name: &str) -> Option<String> {
    match holder.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The text of a message in whatever it is wrapped: a string, an object, a list of either.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Object(object) => ["message", "msg", "detail"]
            .into_iter()
            .find_map(|name| object.get(name)?.as_str().map(str::to_owned)),
        Value::Array(list) => {
            let texts: Vec<String> = list.iter().take(5).filter_map(words).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        _ => None,
    }
}

/// Plain text as it is; of a page of HTML its title.
fn plain(text: &str) -> String {
    let text = text.trim();
    if !text.starts_with('<') {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = start + lower[start..].find('<')?;
        Some(text[start..end].trim())
    });
    match title {
        Some(title) => format!("an HTML page titled {title:?}"),
        None => "an HTML page without a title".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(body: &str, message: &str, code: Option<&str>) {
        let parsed = ErrorBody::parse(body.as_bytes());
        assert_eq!(
            (parsed.message.as_str(), parsed.code.as_deref()),
            (message, code),
            "{body}"
        );
    }

    #[test]
    fn every_shape_of_an_error_body_gives_its_message() {
        says(
            r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#,
            "m",
            Some("c"),
        );
        says(
            r#"{"error":{"message":"m","code":404,"status":"NOT_FOUND"}}"#,
            "m",
            Some("404"),
        );
        says(r#"[{"error":{"message":"m","code":null}}]"#, "m", None);
        says(r#"{"error":"text"}"#, "text", None);
        says(r#"{"detail":"text"}"#, "text", None);
        says(
            r#"{"detail":[{"loc":["body","size"],"msg":"a","type":"x"},{"msg":"b"}]}"#,
            "a; b",
            None,
        );
        says(r#"{"message":"m","code":"c"}"#, "m", Some("c"));
        says(r#"{"errors":["a","b"]}"#, "a; b", None);
        says(
            r#"{"title":"Payment Required","status":402}"#,
            "Payment Required",
            None,
        );
        says("upstream connect error\n", "upstream connect error", None);
        says(
            "<html><head><TITLE>502 Bad Gateway</TITLE></head></html>",
            "an HTML page titled \"502 Bad Gateway\"",
            None,
        );
        says("<!doctype html><p>x", "an HTML page without a title", None);
        says("", "", None);
        says(r#"{"created":1}"#, r#"{"created":1}"#, None);
    }

    #[test]
    fn an_answer_without_an_error_is_known_as_such() {
        for (body, is_error) in [
            (r#"{"created":1,"error":null,"data":[]}"#, false),
            (r#"{"created":1,"error":{}}"#, true),
            (r#"{"error":"x"}"#, true),
            ("3", false),
            ("not JSON", false),
        ] {
            assert_eq!(ErrorBody::parse(body.as_bytes()).is_error, is_error, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_parsing_panic(body in "(<title>)?.{0,60}") {
            let _ = ErrorBody::parse(body.as_bytes());
        }
    }
}
