//! What an entry of the table may say of a model: nothing that its service would never be asked for, as that would be left out
//! in silence.

use super::Model;
use crate::work_package::any_of;

/// Providers that send what is not to be seen.
const NEGATIVES: [&str; 6] = ["stability", "bedrock", "qwen", "fal", "flux", "openaiCompatible"];
/// Providers that send reference images, in the way that their service has for all of its models.
const REFERENCES: [&str; 6] = ["openai", "gemini", "imagen", "openrouter", "xai", "seedream"];
/// Providers that send them where an entry says.
const PLACED_REFERENCES: [&str; 3] = ["bfl", "fal", "flux"];

/// Whether an entry promises what is kept.
///
/// # Errors
/// What is not.
pub(super) fn check(model: &Model) -> Result<(), String> {
    let (provider, id) = (model.provider.as_str(), &model.id);
    if model.negative_prompt_max_chars.is_some() && !NEGATIVES.contains(&provider) {
        return Err(format!(
            "{id}: negative_prompt_max_chars was found for {provider}; it is accepted for {}",
            any_of(&NEGATIVES)
        ));
    }
    let Some(rules) = &model.references else {
        return Ok(());
    };
    let has_place = rules.place.is_some();
    match provider {
        _ if rules.most == 0 => Err(format!(
            "{id}: references of which there are 0 at the most; leave them out"
        )),
        _ if REFERENCES.contains(&provider) => Ok(()),
        _ if PLACED_REFERENCES.contains(&provider) && has_place => Ok(()),
        _ if PLACED_REFERENCES.contains(&provider) => Err(format!(
            "{id}: references without \"in\" were found; {provider} has to know where they stand, such as {{\"list\": \"image_urls\"}}"
        )),
        _ => Err(format!(
            "{id}: references were found for {provider}; they are accepted for {}",
            any_of(&[&REFERENCES[..], &PLACED_REFERENCES].concat())
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::catalog::parse;

    #[test]
    fn an_entry_that_promises_what_is_never_sent_is_refused() {
        let entry = |provider: &str, more: &str| {
            format!(
                r#"[{{"provider": "{provider}", "id": "m", "sizes": {{"listed": ["auto"]}}, "prompt_max_chars": 9, "formats": [],
                    "default_size": {{"icon": "auto", "otherwise": "auto"}}, {more}}}]"#
            )
        };
        for (provider, more, fault) in [
            (
                "fal",
                r#""references": {"most": 2, "in": {"list": "image_urls"}}"#,
                None,
            ),
            ("xai", r#""references": {"most": 2}"#, None),
            ("openaiCompatible", r#""negative_prompt_max_chars": 9"#, None),
            (
                "fal",
                r#""references": {"most": 2}"#,
                Some("m: references without \"in\" were found; fal has to know"),
            ),
            (
                "qwen",
                r#""references": {"most": 2}"#,
                Some("m: references were found for qwen; they are accepted for openai, gemini"),
            ),
            (
                "xai",
                r#""references": {"most": 0}"#,
                Some("m: references of which there are 0"),
            ),
            (
                "xai",
                r#""negative_prompt_max_chars": 9"#,
                Some("m: negative_prompt_max_chars was found for xai; it is accepted for stability"),
            ),
        ] {
            let parsed = parse(&entry(provider, more));
            match fault {
                None => assert!(parsed.is_ok(), "{parsed:?}"),
                Some(fault) => assert!(parsed.as_ref().unwrap_err().starts_with(fault), "{parsed:?}"),
            }
        }
    }
}
