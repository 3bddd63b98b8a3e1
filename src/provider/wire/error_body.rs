//! The explanation inside an error answer, in any of the shapes that services and their proxies use.
//!
//! Only takes apart; what a code means is for each provider to judge.

use serde_json::Value;

use super::json;
use crate::http_client::Answer;

/// What an error answer says about itself. Texts are as they came: redact before quoting.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::provider) struct ErrorBody {
    /// For people. Never branch on it before the fields below have been looked at.
    pub(in crate::provider) message: String,
    /// Every code and type, the ones closest to the cause first.
    pub(in crate::provider) kinds: Vec<String>,
    /// `error.code`; numbers are written out.
    pub(in crate::provider) code: Option<String>,
    /// Which field of the request is meant.
    pub(in crate::provider) param: Option<String>,
    /// What is repeated besides the message, each under its name.
    pub(in crate::provider) words: Vec<(&'static str, String)>,
    /// The service's own id of the call.
    pub(in crate::provider) request_id: Option<String>,
    /// The body, where it is JSON.
    pub(in crate::provider) json: Option<Value>,
    /// Whether the body holds an error at all, as opposed to something else in JSON.
    pub(in crate::provider) is_error: bool,
}

impl ErrorBody {
    /// Takes an answer apart; whatever it is, something can be said about it.
    #[must_use]
    pub(in crate::provider) fn of(answer: &Answer) -> Self {
        let mut body = Self::parse(&answer.body);
        // Source: fal documentation, "Errors"; AWS, "RestJson1 protocol": the name may stand before a colon and a namespace.
        let named = ["x-fal-error-type", "x-amzn-errortype"];
        let kind = named
            .iter()
            .find_map(|name| answer.headers.get(*name)?.to_str().ok());
        if let Some(kind) = kind.and_then(|kind| kind.split(':').next()) {
            body.kinds.push(kind.to_owned());
            if !body.words.iter().any(|(name, _)| *name == "type") {
                body.words.push(("type", kind.to_owned()));
            }
        }
        body
    }

    /// Takes a body apart.
    #[must_use]
    pub(in crate::provider) fn parse(body: &[u8]) -> Self {
        match json::parse(body) {
            Ok(json) => Self::from_json(json),
            Err(_) => Self {
                message: plain(&String::from_utf8_lossy(body)),
                ..Self::default()
            },
        }
    }

    /// Takes apart what is JSON already.
    #[must_use]
    pub(in crate::provider) fn from_json(json: Value) -> Self {
        let outer = outer(&json);
        let error = Self::error_in(&json);
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
        let (code, kind) = (word(holder, "code"), word(holder, "type"));
        let details = outer.get("detail").and_then(Value::as_array);
        let mut kinds: Vec<String> = details
            .into_iter()
            .flatten()
            .take(5)
            .filter_map(|detail| word(detail, "type"))
            .collect();
        kinds.extend(word(outer, "error_type"));
        kinds.extend(code.clone());
        kinds.extend(kind.clone());
        let param = word(holder, "param");
        let is_word = |code: &String| code.parse::<f64>().is_err();
        let first_kind = kinds.first().filter(|kind| code.as_ref() != Some(kind)).cloned();
        let named = [
            ("code", code.clone().filter(is_word)),
            ("type", kind.or(first_kind)),
            ("status", word(holder, "status").filter(is_word)),
            ("name", word(outer, "name")),
            (
                "reason",
                rpc(holder, "ErrorInfo").find_map(|info| word(info, "reason")),
            ),
            (
                "quota",
                violations(holder).next().and_then(|quota| word(quota, "quotaId")),
            ),
            ("param", param.clone()),
            ("field", field(outer)),
            (
                "errors",
                outer.get("errors").and_then(Value::as_str).map(str::to_owned),
            ),
        ];
        let request_id = rpc(holder, "RequestInfo").find_map(|info| word(info, "requestId"));
        Self {
            is_error: error.is_some() || message.is_some(),
            message: message.unwrap_or_else(|| json.to_string()),
            kinds,
            code,
            param,
            words: named
                .into_iter()
                .filter_map(|(name, word)| Some((name, word.filter(|word| !word.is_empty())?)))
                .collect(),
            request_id: request_id
                .or_else(|| word(outer, "request_id"))
                .or_else(|| word(outer, "id")),
            json: Some(json),
        }
    }

    /// The error in an answer. One that is empty stands beside good data and means nothing.
    #[must_use]
    pub(in crate::provider) fn error_in(json: &Value) -> Option<&Value> {
        let error = outer(json).get("error")?;
        (!is_empty(error)).then_some(error)
    }

    /// Why, and at which stage, OpenAI's moderation has refused.
    #[must_use]
    pub(in crate::provider) fn moderation_details(&self) -> Option<&Value> {
        let details = self.json.as_ref()?.pointer("/error/moderation_details");
        details.filter(|details| !details.is_null())
    }

    /// The object that explains the error: `error`, or all of it.
    #[must_use]
    pub(in crate::provider) fn holder(&self) -> Option<&Value> {
        let json = self.json.as_ref()?;
        Some(Self::error_in(json).unwrap_or_else(|| outer(json)))
    }

    /// The body, out of the list that it may be wrapped in.
    #[must_use]
    pub(in crate::provider) fn outer(&self) -> Option<&Value> {
        self.json.as_ref().map(outer)
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// Gemini's imitation of OpenAI, and some gateways, wrap the object in a list.
fn outer(json: &Value) -> &Value {
    json.get(0).unwrap_or(json)
}

/// Details of one kind in an error of a Google API. Source: Google Cloud, "Errors" (google.rpc.Status).
pub(in crate::provider) fn rpc<'a>(error: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let details = error.get("details").and_then(Value::as_array);
    details.into_iter().flatten().filter(move |detail| {
        let found = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
        found
            .strip_suffix(kind)
            .is_some_and(|start| start.ends_with("google.rpc."))
    })
}

/// Quotas that are used up.
pub(in crate::provider) fn violations(error: &Value) -> impl Iterator<Item = &Value> {
    let violations = rpc(error, "QuotaFailure").filter_map(|detail| detail.get("violations")?.as_array());
    violations.flatten()
}

/// Which field of the request is meant, in the shapes of fal and FastAPI.
fn field(outer: &Value) -> Option<String> {
    let named = outer.pointer("/invalid_fields/0/field").and_then(Value::as_str);
    named.map(str::to_owned).or_else(|| {
        let place = outer.pointer("/detail/0/loc")?.as_array()?;
        let parts: Vec<&str> = place.iter().filter_map(Value::as_str).collect();
        Some(parts.join("."))
    })
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
            (r#"{"created":1,"error":{}}"#, false),
            (r#"{"created":1,"error":""}"#, false),
            (r#"{"created":1,"error":[]}"#, false),
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
