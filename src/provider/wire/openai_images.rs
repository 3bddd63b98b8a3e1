//! What all services have in common that speak OpenAI's Images API: where they are asked, and what they mean.
//!
//! What goes on the wire is each provider's business; so is what its service means by codes of its own.

use serde::Serialize;
use serde_json::{Value, json};

use super::body::with;
use super::errors::{Signs, class_of_status, is_timeout};
use super::reading::{Dialect, NoPicture};
use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::Call;

/// The path of every service, below its base URL.
pub(in crate::provider) const PATH: &str = "images/generations";
/// Where pictures are made from others.
pub(in crate::provider) const EDITS: &str = "images/edits";

/// The fields that all of them know but the model.
pub(in crate::provider) fn body(call: &Call<'_>) -> Value {
    let spec = call.spec;
    let fields = [
        ("size", spec.size.as_deref().map(Value::from)),
        ("quality", spec.quality.as_deref().map(Value::from)),
        ("background", spec.background().map(Value::from)),
    ];
    with(json!({"prompt": call.prompt.expose(), "n": 1}), fields)
}

/// Asks for a picture below `base`: from the prompt alone in JSON, or from reference images too in a form.
///
/// Source: OpenAI API reference, "Create image edit"; Microsoft Learn, "Image edit API".
pub(in crate::provider) fn asking(base: &str, call: &Call<'_>, request: &impl Serialize) -> Outgoing {
    match call.references.is_empty() {
        true => Outgoing::post_json(format!("{base}{PATH}"), request),
        false => Outgoing::post_form(format!("{base}{EDITS}"), request, "image[]"),
    }
}

/// What OpenAI means by its answers.
pub(in crate::provider) const DIALECT: Dialect = Dialect {
    judge,
    nothing: filtered,
    ..Dialect::PLAIN
};

/// The class of an error answer of OpenAI, or of a service that imitates it: by code and type, `x-should-retry`,
/// status and message, in this order.
///
/// Source: OpenAI guide "Error codes"; codes as OpenAI's images endpoint and its imitators send them.
pub(in crate::provider) fn judge(signs: &Signs<'_>) -> ErrorClass {
    if signs.body.moderation_details().is_some() {
        return ErrorClass::Moderation;
    }
    if let Some(class) = signs.by_word(class_of_word) {
        return match class {
            ErrorClass::RateLimited if allows_nothing(signs) => ErrorClass::Quota,
            // A gateway gave up waiting: whatever it says, the service behind it may go on drawing.
            ErrorClass::Overloaded if is_timeout(signs.status) => ErrorClass::Ambiguous,
            class => class,
        };
    }
    if is_model_gone(signs) {
        return ErrorClass::ModelGone;
    }
    let by_status = class_of_status(signs.status);
    match signs.is_repeatable {
        Some(true) if !by_status.is_retried() => return ErrorClass::Overloaded,
        Some(false) if by_status == ErrorClass::RateLimited => return ErrorClass::Quota,
        Some(false) if by_status == ErrorClass::Overloaded => return ErrorClass::InvalidRequest,
        _ => {}
    }
    match signs.status {
        429 if allows_nothing(signs) => ErrorClass::Quota,
        200..=299 | 400 | 422 => class_of_phrase(signs).unwrap_or(by_status),
        _ => by_status,
    }
}

fn class_of_word(word: &str) -> Option<ErrorClass> {
    Some(match word {
        "moderation_blocked"
        | "content_policy_violation"
        | "content_filter"
        | "contentFilter"
        | "image_content_policy_violation" => ErrorClass::Moderation,
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "billing_hard_limit_reached"
        | "billing_not_active" => ErrorClass::Quota,
        "invalid_api_key" | "unsupported_country_region_territory" => ErrorClass::Auth,
        "model_not_found" | "DeploymentNotFound" => ErrorClass::ModelGone,
        "rate_limit_exceeded" | "slow_down" | "rate_limit_error" | "requests" | "tokens" => {
            ErrorClass::RateLimited
        }
        "server_error" | "service_unavailable_error" | "server_is_overloaded" => ErrorClass::Overloaded,
        "unknown_parameter" | "invalid_value" | "missing_required_parameter" => ErrorClass::InvalidRequest,
        // `invalid_request_error` and `image_generation_user_error` are on refused keys, dead models and
        // refused prompts alike and say no more than the status.
        _ => return None,
    })
}

fn is_model_gone(signs: &Signs<'_>) -> bool {
    let is_about_model = signs.body.param.as_deref() == Some("model")
        || (signs.message.contains("model")
            && signs.says(&[
                "does not exist",
                "deprecated",
                "has been shut down",
                "no longer available",
            ]));
    signs.status == 404 && is_about_model
}

/// "Limit: 0/1min": the account may not use this model at all, and waiting does not help.
fn allows_nothing(signs: &Signs<'_>) -> bool {
    signs.says(&["limit: 0/"])
}

/// Phrases mislead, so they count last, and not at all where a field of the request is named.
fn class_of_phrase(signs: &Signs<'_>) -> Option<ErrorClass> {
    if signs.body.param.is_some() {
        return None;
    }
    if signs.says(&[
        "safety system",
        "safety_violations",
        "content policy",
        "content_policy",
    ]) {
        Some(ErrorClass::Moderation)
    } else if signs.says(&["billing hard limit", "exceeded your current quota"]) {
        Some(ErrorClass::Quota)
    } else {
        None
    }
}

/// Whether a content filter has taken the picture away.
///
/// Source: xAI API reference, "Image generations", `respect_moderation`; Azure OpenAI reference, "Image generations":
/// verdicts by category, each with `filtered`.
fn filtered(answer: &Value) -> Option<NoPicture> {
    let says_filtered = |holder: &Value| {
        holder.get("respect_moderation") == Some(&Value::Bool(false))
            || ["prompt_filter_results", "content_filter_results"]
                .iter()
                .filter_map(|name| holder.get(*name)?.as_object())
                .flat_map(|categories| categories.values())
                .any(|verdict| verdict.get("filtered") == Some(&Value::Bool(true)))
    };
    let drawings = answer.get("data").and_then(Value::as_array);
    let mut holders = drawings.into_iter().flatten().chain([answer]);
    holders.any(says_filtered).then(|| {
        let why = "the answer holds the verdict of a content filter in place of a picture";
        NoPicture::new(ErrorClass::Moderation, why, "")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_that_was_held_back_is_told_from_none() {
        for answer in [
            json!({"data": [{"url": "", "respect_moderation": false}]}),
            json!({"data": [{"content_filter_results": {"violence": {"filtered": true, "severity": "high"}}}]}),
            json!({"data": [{"b64_json": null, "prompt_filter_results": {"hate": {"filtered": true}}}]}),
            json!({"data": [], "prompt_filter_results": {"hate": {"filtered": true}}}),
        ] {
            assert!(filtered(&answer).is_some(), "{answer}");
        }
        let verdict = json!({"data": [{"content_filter_results": {"hate": {"filtered": false}}}]});
        assert_eq!(filtered(&verdict), None);
    }
}
