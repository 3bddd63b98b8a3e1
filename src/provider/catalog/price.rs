//! From token counts to US dollars.

use serde::Deserialize;
use serde_json::Value;

use super::Model;
use crate::provider::{Cost, CostBasis};

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrices {
    /// Of the prompt.
    pub text_in: f64,
    /// Of the part of the prompt that the service had seen just before.
    pub text_in_cached: f64,
    /// Of reference pictures.
    pub image_in: f64,
    /// Of reference pictures that the service had seen just before.
    pub image_in_cached: f64,
    /// Of the drawn picture.
    pub image_out: f64,
    /// Of text that comes along with it; where it has no price of its own, it counts as picture.
    pub text_out: Option<f64>,
}

/// What a call cost in US dollars, from the `usage` object of its answer and the price list.
///
/// `None` where the model has no price or the counts are not there. Tokens that the answer does not
/// break down count as text going in and as picture coming out, which is what a drawing is made of.
///
/// Source: OpenAI API reference, "The image generation response", field `usage`.
#[must_use]
pub fn cost_usd(model: &Model, usage: &Value) -> Option<f64> {
    let prices = model.usd_per_million_tokens?;
    let tokens = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
    let inputs = tokens("/input_tokens")?;
    let outputs = tokens("/output_tokens")?;

    let images_in = tokens("/input_tokens_details/image_tokens")
        .unwrap_or(0)
        .min(inputs);
    let texts_in = inputs - images_in;
    let cached = tokens("/input_tokens_details/cached_tokens").unwrap_or(0);
    let texts_cached = tokens("/input_tokens_details/cached_tokens_details/text_tokens")
        .unwrap_or(cached)
        .min(texts_in);
    let images_cached = tokens("/input_tokens_details/cached_tokens_details/image_tokens")
        .unwrap_or(0)
        .min(images_in);
    let texts_out = tokens("/output_tokens_details/text_tokens")
        .unwrap_or(0)
        .min(outputs);

    let part = |tokens: u64, price: f64| tokens as f64 * price / 1e6;
    Some(
        part(texts_in - texts_cached, prices.text_in)
            + part(texts_cached, prices.text_in_cached)
            + part(images_in - images_cached, prices.image_in)
            + part(images_cached, prices.image_in_cached)
            + part(outputs - texts_out, prices.image_out)
            + part(texts_out, prices.text_out.unwrap_or(prices.image_out)),
    )
}

/// The same for whoever asks only with both.
pub(in crate::provider) fn cost(model: &Model, usage: &Value) -> Option<Cost> {
    Some(Cost {
        usd: cost_usd(model, usage)?,
        basis: CostBasis::Computed,
    })
}

/// What a picture costs as the table has it.
pub(in crate::provider) fn listed(model: Option<&Model>) -> Option<Cost> {
    Some(Cost {
        usd: model?.usd_per_image?,
        basis: CostBasis::Estimated,
    })
}

/// About what a picture of this quality will cost. Where the service chooses the quality, it may choose the dearest.
pub(in crate::provider) fn estimate_usd(model: &Model, quality: Option<&str>) -> Option<f64> {
    let of_quality = quality.and_then(|quality| model.usd_per_quality.get(quality));
    let dearest = || model.usd_per_quality.values().copied().reduce(f64::max);
    model.usd_per_image.or(of_quality.copied()).or_else(dearest)
}

/// What a service says that it has charged, where that is a price.
pub(in crate::provider) fn reported(usd: Option<f64>) -> Option<Cost> {
    Some(Cost {
        usd: usd.filter(|usd| usd.is_finite() && *usd >= 0.0)?,
        basis: CostBasis::Reported,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::catalog::find;

    #[track_caller]
    fn costs(model: &str, usage: Value, expected: Option<f64>) {
        let cost = cost_usd(find("openai", model).unwrap(), &usage);
        let difference = cost.zip(expected).map(|(cost, expected)| (cost - expected).abs());
        assert_eq!(cost.is_some(), expected.is_some());
        assert!(
            difference.unwrap_or(0.0) < 1e-12,
            "{cost:?} instead of {expected:?}"
        );
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        costs(
            "gpt-image-2",
            json!({"input_tokens": 23, "output_tokens": 1584, "total_tokens": 1607,
                   "input_tokens_details": {"text_tokens": 23, "image_tokens": 0}}),
            Some(0.047_635),
        );
        costs(
            "gpt-image-1.5",
            json!({"input_tokens": 1000, "output_tokens": 1100,
                   "input_tokens_details": {"text_tokens": 900, "image_tokens": 100,
                       "cached_tokens": 450, "cached_tokens_details": {"text_tokens": 400, "image_tokens": 50}},
                   "output_tokens_details": {"text_tokens": 100, "image_tokens": 1000}}),
            Some(0.0025 + 0.0005 + 0.0004 + 0.0001 + 0.032 + 0.001),
        );
    }

    #[test]
    fn a_picture_is_estimated_by_its_quality_and_at_the_dearest_where_that_is_not_known() {
        let estimate = |provider, id, quality| estimate_usd(find(provider, id).unwrap(), quality);
        assert_eq!(estimate("openai", "gpt-image-2", Some("medium")), Some(0.053));
        for unknown in [Some("auto"), None] {
            assert_eq!(estimate("openai", "gpt-image-2", unknown), Some(0.211));
        }
        let listed = find("stability", "core").and_then(|model| model.usd_per_image);
        assert!(listed.is_some());
        assert_eq!(estimate("stability", "core", None), listed);
        assert_eq!(estimate("openrouter", "somebody/something", None), None);
    }

    #[test]
    fn counts_that_make_no_sense_cost_nothing_rather_than_nonsense() {
        costs(
            "gpt-image-2",
            json!({"input_tokens": -3, "output_tokens": 1}),
            None,
        );
        costs(
            "gpt-image-2",
            json!({"input_tokens": "3", "output_tokens": 1}),
            None,
        );
        costs("gpt-image-2", json!(null), None);
        costs("dall-e-3", json!({"input_tokens": 3, "output_tokens": 1}), None);
        costs(
            "gpt-image-2",
            json!({"input_tokens": 0, "output_tokens": 0, "input_tokens_details": {"image_tokens": 9},
                   "output_tokens_details": {"text_tokens": 9}}),
            Some(0.0),
        );
    }
}
