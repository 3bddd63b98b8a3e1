//! Stability AI's models on Amazon Bedrock: one call, one picture, as base64 in JSON.
//!
//! Source: Amazon Bedrock, "Stability AI models", "API keys" and "InvokeModel, Errors"; all as of 2026-11.

use std::sync::Arc;

use anyhow::Context;
use object_store::aws::AwsCredential;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient, Outgoing};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::body::with;
use crate::provider::wire::direct::{self, Direct};
use crate::provider::wire::errors::{Signs, judge_by_path};
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::reading::{Dialect, NoPicture};
use crate::provider::wire::service::Service;
use crate::provider::{Call, ImageProvider};
use crate::settings::{Reader, Variable, values, variable};

#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "bedrock";
const TOKEN: &str = "AWS_BEARER_TOKEN_BEDROCK";
const REGION: &str = "BEDROCK_REGION";
const BASE: &str = "BEDROCK_BASE_URL";

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        TOKEN,
        None,
        "...",
        "API key of Amazon Bedrock. Without it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY sign, where BEDROCK_REGION is set",
    ),
    variable(
        REGION,
        None,
        "us-west-2",
        "Region of Amazon Bedrock; the models of Stability AI are in us-west-2",
    ),
    variable(
        BASE,
        None,
        "https://bedrock-runtime.us-west-2.amazonaws.com",
        "Where Amazon Bedrock is. Default: Amazon's address of the region",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub(crate) struct BedrockSettings {
    token: Option<SecretString>,
    /// Access key, secret key and, of temporary ones, the session's token: for who has no [`TOKEN`].
    keys: Option<(SecretString, SecretString, Option<SecretString>)>,
    region: Option<String>,
    base_url: Option<Url>,
}

impl BedrockSettings {
    /// Reads [`VARIABLES`] and the keys that the store may use too, and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let region = reader.optional(REGION, region);
        let named = region.as_deref().map(address);
        let keys = reader
            .secret("AWS_ACCESS_KEY_ID")
            .zip(reader.secret("AWS_SECRET_ACCESS_KEY"));
        let session = reader.secret("AWS_SESSION_TOKEN");
        let settings = Self {
            token: reader.secret(TOKEN),
            keys: keys.map(|(id, secret)| (id, secret, session)),
            base_url: reader
                .optional(BASE, values::http_url)
                .or(named.and_then(Result::ok)),
            region,
        };
        reader.all_faults(settings.faults());
        settings
    }

    fn faults(&self) -> Vec<String> {
        let base = self.base_url.as_ref();
        base.map_or_else(Vec::new, |base| key::faults(self.key(), BASE, base))
    }

    fn key(&self) -> anyhow::Result<Option<Key>> {
        if self.token.is_some() {
            return Key::bearer(TOKEN, self.token.clone());
        }
        let Some(((id, secret, session), region)) = self.keys.as_ref().zip(self.region.as_ref()) else {
            return Ok(None);
        };
        let credential = AwsCredential {
            key_id: id.expose_secret().to_owned(),
            secret_key: secret.expose_secret().to_owned(),
            token: session.as_ref().map(|token| token.expose_secret().to_owned()),
        };
        Ok(Some(Key::signing(credential, NAME, region)))
    }
}

/// Part of a host's name.
fn region(text: &str) -> Result<String, String> {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match (1..=32).contains(&text.len()) && text.bytes().all(is_fine) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} was found; a region is accepted, such as us-west-2"
        )),
    }
}

fn address(region: &str) -> Result<Url, url::ParseError> {
    Url::parse(&format!("https://bedrock-runtime.{region}.amazonaws.com"))
}

impl ServiceSettings for BedrockSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        let key = self.key()?;
        let missing = match (&self.base_url, &key) {
            (None, _) => Some(REGION),
            (_, None) if self.keys.is_some() => Some(REGION),
            (_, None) => Some(TOKEN),
            _ => None,
        };
        let client = self.base_url.as_ref().map(HttpClient::new).transpose();
        let client = client.context(BASE)?;
        let service = Service::new(NAME, client, downloads.clone(), key, missing)?;
        Ok(direct::make(Bedrock).provider(service))
    }
}

struct Bedrock;

impl Direct for Bedrock {
    const DIALECT: Dialect = Dialect {
        judge,
        refusal,
        usage: |answer| Some(json!({ "seeds": answer.get("seeds")? })),
        ..Dialect::PLAIN
    };
    /// Source: Amazon Bedrock, "Stability AI models", field `seed`.
    const MAX_SEED: i64 = 4_294_967_294;

    fn request(&self, call: &Call<'_>) -> Outgoing {
        let spec = call.spec;
        let body = json!({"prompt": call.prompt.expose(), "output_format": spec.format()});
        let fields = [
            ("aspect_ratio", spec.size.as_deref().map(Value::from)),
            ("seed", spec.seed.map(Value::from)),
            ("negative_prompt", spec.negative().map(Value::from)),
        ];
        Outgoing::post_json(format!("model/{}/invoke", spec.model), &with(body, fields))
    }
}

/// Each picture has a reason why it is not to be used, or null.
fn refusal(answer: &Value) -> Option<NoPicture> {
    let reason = answer.pointer("/finish_reasons/0")?.as_str()?;
    let class = match reason.starts_with("Filter reason") {
        true => ErrorClass::Moderation,
        false => ErrorClass::BadOutput,
    };
    Some(NoPicture::new(class, "the picture was held back", reason))
}

/// Errors are `{"message"}`, with their names in the header `x-amzn-errortype`.
fn judge(signs: &Signs<'_>) -> ErrorClass {
    let class = signs.by_word(|name| {
        Some(match name {
            "ThrottlingException" => ErrorClass::RateLimited,
            "ServiceQuotaExceededException" => ErrorClass::Quota,
            "ModelNotReadyException" | "ServiceUnavailableException" | "InternalServerException" => {
                ErrorClass::Overloaded
            }
            "ModelTimeoutException" => ErrorClass::Ambiguous,
            "ModelErrorException" => ErrorClass::BadOutput,
            "AccessDeniedException" | "UnrecognizedClientException" | "ExpiredTokenException" => {
                ErrorClass::Auth
            }
            "ResourceNotFoundException" => ErrorClass::ModelGone,
            _ => return None,
        })
    });
    match (class, signs.status) {
        (Some(class), _) => class,
        (None, 400) if signs.says(&["content filter", "blocked by", "moderation"]) => ErrorClass::Moderation,
        // A model that has ended is refused so.
        (None, 400) if signs.says(&["model identifier is invalid", "end of its life"]) => {
            ErrorClass::ModelGone
        }
        (None, 424) => ErrorClass::BadOutput,
        (None, _) => judge_by_path(signs),
    }
}
