//! From an answer to its picture: the one way for every service that answers with the picture itself.

use bytes::Bytes;
use serde_json::Value;

use super::error_body::ErrorBody;
use super::errors::{Judge, judge_by_status};
use super::incident::Incident;
use super::json::{self, NotJson};
use super::picture::{self, Looked, Picture};
use crate::failure::ErrorClass;
use crate::http_client::Answer;
use crate::imaging;
use crate::memory;
use crate::provider::ProviderError;

/// What one service means by its answers, beyond what all mean by them.
#[derive(Clone, Copy)]
pub(in crate::provider) struct Dialect {
    /// What an error is.
    pub(in crate::provider) judge: Judge,
    /// Why the picture is not to be used that a successful answer may hold.
    pub(in crate::provider) refusal: fn(&Value) -> Option<NoPicture>,
    /// Where the picture is.
    pub(in crate::provider) find: fn(&Value) -> Option<Looked>,
    /// Why there is none, where none was found.
    pub(in crate::provider) nothing: fn(&Value) -> Option<NoPicture>,
    /// Token counts and the like.
    pub(in crate::provider) usage: fn(&Value) -> Option<Value>,
}

impl Dialect {
    /// A service that says nothing in a way of its own.
    pub(in crate::provider) const PLAIN: Self = Self {
        judge: judge_by_status,
        refusal: |_| None,
        find: picture::find,
        nothing: |_| None,
        usage: |answer| answer.get("usage").cloned(),
    };
}

/// Why an answer with a successful status holds no picture.
#[derive(Debug, PartialEq)]
pub(in crate::provider) struct NoPicture {
    class: ErrorClass,
    /// In this program's words.
    why: String,
    /// What the service says about it, to be masked.
    said: String,
}

impl NoPicture {
    pub(in crate::provider) fn new(
        class: ErrorClass,
        why: impl Into<String>,
        said: impl Into<String>,
    ) -> Self {
        Self {
            class,
            why: why.into(),
            said: said.into(),
        }
    }
}

/// What an answer has brought.
#[derive(Debug)]
pub(in crate::provider) struct Reading {
    /// It, or where it is.
    pub(in crate::provider) picture: Picture,
    /// What the service counted.
    pub(in crate::provider) usage: Option<Value>,
    /// The service's own id of the call.
    pub(in crate::provider) id: Option<String>,
}

enum Found {
    Picture(Picture, Option<Value>, Option<String>),
    /// The body explains an error in spite of its status.
    Error(ErrorBody),
    Nothing(NoPicture),
}

impl Incident<'_> {
    /// Finds the picture in an answer of any status.
    ///
    /// # Errors
    /// With the class that decides about another call: `Ambiguous` where the answer broke off, and what `dialect` says.
    pub(in crate::provider) async fn picture(
        &self,
        mut answer: Answer,
        dialect: Dialect,
    ) -> Result<Reading, ProviderError> {
        // Does nothing where the caller's span has no such field.
        tracing::Span::current().record("http.response.status_code", answer.status.as_u16());
        if !answer.status.is_success() {
            return Err(self.answer(&answer, dialect.judge));
        }
        if let Some(error) = self.broken(&answer) {
            return Err(error);
        }
        let (body, hold) = (std::mem::take(&mut answer.body), std::mem::take(&mut answer.hold));
        let turn = memory::work(body.len() as u64).await;
        // Tens of megabytes at worst: too long for a thread that other jobs share.
        let found = tokio::task::spawn_blocking(move || read(body, dialect))
            .await
            .map_err(|_| self.unusable(&answer, ErrorClass::BadImage, "reading the answer failed"))?;
        drop(turn);
        match found {
            Found::Picture(picture, usage, id) => Ok(Reading {
                picture: match picture {
                    Picture::Bytes(bytes) => Picture::Bytes(hold.around(bytes)),
                    elsewhere => elsewhere,
                },
                usage,
                id: self.id_in(&answer).or_else(|| id.and_then(|id| self.id_fit(&id))),
            }),
            Found::Error(body) => Err(self.explained(&answer, &body, dialect.judge)),
            Found::Nothing(NoPicture { class, why, said }) if said.is_empty() => {
                Err(self.unusable(&answer, class, &why))
            }
            Found::Nothing(NoPicture { class, why, said }) => {
                let why = format!("{why}: {}", self.said(&said));
                Err(self.unusable(&answer, class, &why))
            }
        }
    }
}

fn read(body: Bytes, dialect: Dialect) -> Found {
    let nothing = |class, why: String| Found::Nothing(NoPicture::new(class, why, ""));
    let answer = match json::parse(&body) {
        Ok(answer) => answer,
        Err(NotJson::Cut) => return nothing(ErrorClass::Ambiguous, NotJson::Cut.to_string()),
        // The picture itself, as some gateways send it.
        Err(_) if imaging::inspect(&body).is_ok() => return Found::Picture(Picture::Bytes(body), None, None),
        Err(fault) => return nothing(ErrorClass::BadOutput, fault.to_string()),
    };
    // The picture stands in both.
    drop(body);
    let explanation = || ErrorBody::from_json(without_pictures(&answer));
    if ErrorBody::error_in(&answer).is_some() {
        return Found::Error(explanation());
    }
    if let Some(refusal) = (dialect.refusal)(&answer) {
        return Found::Nothing(refusal);
    }
    match (dialect.find)(&answer) {
        Some(Ok(picture)) => {
            let usage = (dialect.usage)(&answer).filter(|usage| !usage.is_null());
            let id = ["responseId", "request_id"]
                .iter()
                .find_map(|name| answer.get(*name)?.as_str());
            Found::Picture(picture, usage, id.map(str::to_owned))
        }
        Some(Err(fault)) => nothing(
            ErrorClass::BadOutput,
            format!("the picture in the answer {fault}"),
        ),
        None => match (dialect.nothing)(&answer) {
            Some(why) => Found::Nothing(why),
            None if explanation().is_error => Found::Error(explanation()),
            None => nothing(ErrorClass::BadOutput, "the answer holds no picture".to_owned()),
        },
    }
}

/// What an answer with the status 200 is read as.
#[cfg(test)]
pub(in crate::provider) fn outcome(body: &str, dialect: Dialect) -> Result<Picture, ErrorClass> {
    outcome_of(body.as_bytes(), dialect)
}

/// The same for any bytes.
#[cfg(test)]
pub(super) fn outcome_of(body: &[u8], dialect: Dialect) -> Result<Picture, ErrorClass> {
    match read(Bytes::copy_from_slice(body), dialect) {
        Found::Picture(picture, ..) => Ok(picture),
        Found::Nothing(nothing) => Err(nothing.class),
        Found::Error(body) => Err((dialect.judge)(&super::errors::Signs {
            status: 200,
            body: &body,
            is_repeatable: None,
            message: &body.message.to_lowercase(),
        })),
    }
}

/// Texts of the length of a picture explain nothing.
fn without_pictures(answer: &Value) -> Value {
    match answer {
        Value::String(text) if text.len() > json::MAX_TEXT_BYTES => Value::Null,
        Value::Array(items) => items.iter().map(without_pictures).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.clone(), without_pictures(field)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}
