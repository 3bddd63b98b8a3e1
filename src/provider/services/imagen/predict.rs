//! `:predict`, as Imagen models speak it.
//!
//! Source: Vertex AI, "Imagen API", "Responsible AI and usage guidelines for Imagen".

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAME;
use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::provider::wire::google;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture_text::{NotJson, Text, decode, parse};
use crate::provider::{
    CheckedSpec, DigitalSource, DrawnImage, ImageSpec, ProviderError, Unsupported, catalog,
};
use crate::work_package::Prompt;

/// Models that the table does not know are taken to offer what this one did.
const LIKE: &str = "imagen-4.0-generate-001";

/// Checks a request for a model that the table of models does not know.
pub(super) fn check(spec: &ImageSpec, id: &str) -> Result<CheckedSpec, Unsupported> {
    let like = catalog::find(NAME, LIKE).ok_or_else(|| Unsupported {
        class: ErrorClass::InvalidRequest,
        message: format!("Unsupported image model for {NAME}: {id}"),
    })?;
    // On a day on which that model was there.
    let living = like
        .ends_on
        .and_then(|ends_on| ends_on.pred_opt())
        .unwrap_or_default();
    let as_like = ImageSpec {
        model: Some(LIKE.to_owned()),
        ..spec.clone()
    };
    let checked = catalog::check(NAME, &as_like, living)?;
    Ok(CheckedSpec {
        model: id.to_owned(),
        size: checked.size,
        quality: None,
        seed: spec.seed,
        options: spec.options,
    })
}

/// The body of a request for one picture.
pub(super) fn request(prompt: &Prompt, spec: &CheckedSpec) -> Value {
    let (ratio, resolution) = catalog::split_resolution(spec.size.as_deref().unwrap_or("1:1"));
    let mut parameters = json!({"sampleCount": 1, "aspectRatio": ratio,
        "safetySetting": "block_medium_and_above", "includeRaiReason": true});
    if let Some(resolution) = resolution {
        parameters["sampleImageSize"] = resolution.into();
    }
    if let Some(seed) = spec.seed {
        parameters["seed"] = seed.into();
        // Both at once are refused.
        parameters["addWatermark"] = false.into();
    }
    if let Some(format) = spec.options.output_format {
        parameters["outputOptions"] = json!({"mimeType": format.media_type()});
    }
    json!({"instances": [{"prompt": prompt.expose()}], "parameters": parameters})
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    predictions: Option<Vec<Prediction<'a>>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow, default)]
    bytes_base64_encoded: Option<Text<'a>>,
    #[serde(default)]
    rai_filtered_reason: Option<String>,
}

/// What a body with a successful status holds.
enum Found {
    Picture(Bytes),
    /// The body explains an error in spite of its status.
    IsError,
    /// No picture: why, in this program's words, and what the service says about it, to be masked.
    Nothing(ErrorClass, String, String),
}

fn read(body: &[u8]) -> Found {
    let nothing = |class, why: String| Found::Nothing(class, why, String::new());
    let body: Body<'_> = match parse(body) {
        Ok(body) => body,
        Err(NotJson::Cut) => {
            let why = "the answer broke off in the middle of its JSON".to_owned();
            return nothing(ErrorClass::Ambiguous, why);
        }
        Err(NotJson::Other(why)) => return nothing(ErrorClass::BadOutput, why),
    };
    if body.error.is_some() {
        return Found::IsError;
    }
    let predictions = body.predictions.unwrap_or_default();
    let picture = predictions
        .iter()
        .find_map(|prediction| prediction.bytes_base64_encoded.as_ref());
    if let Some(Text(text)) = picture {
        return match decode(text) {
            Ok(bytes) => Found::Picture(bytes),
            Err(why) => nothing(ErrorClass::BadOutput, why.to_owned()),
        };
    }
    match predictions.first() {
        // What is filtered is left out, mostly without a word.
        None => nothing(
            ErrorClass::Moderation,
            "the answer holds no prediction: the picture was filtered".to_owned(),
        ),
        Some(Prediction {
            rai_filtered_reason: Some(reason),
            ..
        }) => {
            let category = category(reason).map(|category| format!(" ({category})"));
            let why = format!("the picture was filtered{}", category.unwrap_or_default());
            Found::Nothing(ErrorClass::Moderation, why, reason.clone())
        }
        Some(_) => nothing(
            ErrorClass::BadOutput,
            "the prediction holds no picture".to_owned(),
        ),
    }
}

/// What the first known support code in a reason stands for.
fn category(reason: &str) -> Option<&'static str> {
    reason
        .split(|character: char| !character.is_ascii_digit())
        .find_map(|code| {
            Some(match code {
                "58061214" | "17301594" => "children",
                "29310472" | "15236754" => "celebrities",
                "62263041" => "dangerous content",
                "57734940" | "22137204" => "hate",
                "90789179" | "63429089" | "43188360" => "sexual content",
                "78610348" => "toxic content",
                "61493863" | "56562880" => "violence",
                "92201652" => "personal data",
                "89371032" | "49114662" | "72817394" => "prohibited content",
                "39322892" => "people or faces",
                "42876398" | "29578790" | "74803281" => "other",
                _ => return None,
            })
        })
}

/// Finds the picture in an answer, or why there is none.
pub(super) async fn picture_of(
    answer: &Answer,
    incident: &Incident<'_>,
) -> Result<DrawnImage, ProviderError> {
    if !answer.status.is_success() {
        return Err(google::explain(incident, answer));
    }
    match incident.read(answer, read).await? {
        // What models that are not in the table cost is not known.
        Found::Picture(bytes) => Ok(DrawnImage {
            bytes,
            source: DigitalSource::TrainedModel,
            request_id: None,
            usage: None,
            cost: None,
        }),
        Found::IsError => Err(google::explain(incident, answer)),
        Found::Nothing(class, why, said) => {
            let why = match incident.quoted(&said) {
                empty if empty.is_empty() => why,
                said => format!("{why}: {said:?}"),
            };
            Err(incident.unusable(answer.status, class, &why))
        }
    }
}
