//! Telling what went wrong with a call: for the operator, in one line, without its prompt and its secrets.

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, HttpFault, mask, quote};
use crate::provider::{NotDrawn, ProviderError};

/// Longest code, name or field that is repeated.
const WORD_CHARS: usize = 64;
/// Headers that carry the id of a call.
///
/// Source: OpenAI API reference, "Debugging requests"; Azure API Management; fal documentation, "Queue API"; AWS.
const ID_HEADERS: [&str; 4] = [
    "x-request-id",
    "apim-request-id",
    "x-fal-request-id",
    "x-amzn-requestid",
];

/// One call, for when it fails.
#[derive(Clone, Debug)]
pub(in crate::provider) struct Incident<'a> {
    /// As packages write it.
    pub(in crate::provider) provider: &'static str,
    /// Method and path, without query.
    pub(in crate::provider) request: String,
    /// What a person wrote: to be removed from whatever is repeated.
    prompts: Vec<&'a str>,
    /// To be removed too.
    pub(in crate::provider) secrets: Vec<&'a str>,
    /// The service's own id of the call, once it is known.
    pub(in crate::provider) id: Option<String>,
}

impl<'a> Incident<'a> {
    /// A call that sends `prompt`, and no secret so far.
    pub(in crate::provider) fn new(provider: &'static str, request: String, prompt: &'a str) -> Self {
        Self {
            provider,
            request,
            prompts: vec![prompt],
            secrets: Vec::new(),
            id: None,
        }
    }

    /// The same, which sends this text of a person's too.
    pub(in crate::provider) fn hiding(mut self, text: Option<&'a str>) -> Self {
        self.prompts.extend(text);
        self
    }

    /// The same, which sends these secrets.
    pub(in crate::provider) fn with_secrets(self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            secrets: secrets.into_iter().collect(),
            ..self
        }
    }

    /// The same for another request about the same call.
    pub(in crate::provider) fn of(&self, request: String) -> Self {
        Self {
            request,
            ..self.clone()
        }
    }

    /// The same, with the service's own id of the call, where it is fit to be repeated.
    pub(in crate::provider) fn known_as(&self, id: &str) -> Self {
        Self {
            id: self.id_fit(id),
            ..self.clone()
        }
    }

    /// An error without an answer.
    pub(in crate::provider) fn error(&self, class: ErrorClass, why: &str) -> ProviderError {
        let about = self.id.as_ref().map(|id| format!(", request {id}"));
        ProviderError {
            provider: self.provider,
            class,
            details: format!("{}{}: {why}", self.request, about.unwrap_or_default()),
            request_id: self.id.clone(),
            retry_after: None,
        }
    }

    /// Nothing was sent, as an operator has not set `variable`.
    pub(in crate::provider) fn unset(&self, variable: &str) -> ProviderError {
        self.error(ErrorClass::Auth, &format!("not sent: {variable} is not set"))
    }

    /// What an earlier attempt has saved of the call is none of this service's.
    pub(in crate::provider) fn unreadable_handle(&self) -> NotDrawn {
        let why = "the saved handle of the call cannot be read";
        NotDrawn::Ended(self.error(ErrorClass::Ambiguous, why))
    }

    /// There is no status to look at.
    pub(in crate::provider) fn fault(&self, fault: &HttpFault) -> ProviderError {
        self.error(fault.class(), &fault.to_string())
    }

    /// What is wrong with the end of a successful answer, if anything.
    pub(in crate::provider) fn broken(&self, answer: &Answer) -> Option<ProviderError> {
        let (class, why) = match &answer.end {
            BodyEnd::Whole => return None,
            BodyEnd::Cut(why) => (ErrorClass::Ambiguous, format!("the answer broke off: {why}")),
            BodyEnd::TooLarge(bytes) => (
                ErrorClass::BadOutput,
                format!("the answer has more than {bytes} bytes and was not read to its end"),
            ),
        };
        Some(self.unusable(answer, class, &why))
    }

    /// A successful answer without a usable picture. `why` holds nothing of the answer that was not masked.
    pub(in crate::provider) fn unusable(
        &self,
        answer: &Answer,
        class: ErrorClass,
        why: &str,
    ) -> ProviderError {
        let id = self.id.clone().or_else(|| self.id_in(answer));
        let about = id.as_ref().filter(|_| self.id.is_none());
        let about = about.map(|id| format!(", request {id}")).unwrap_or_default();
        let error = self.error(class, &format!("{}{about}: {why}", answer.status.as_u16()));
        ProviderError {
            request_id: id,
            ..error
        }
    }

    /// One line of somebody else's text, cut, without prompt and secrets, in quotes.
    pub(in crate::provider) fn said(&self, text: &str) -> String {
        match self.quoted(text) {
            empty if empty.is_empty() => "without an explanation".to_owned(),
            said => format!("{said:?}"),
        }
    }

    /// One line of somebody else's text, cut, without prompt and secrets.
    pub(in crate::provider) fn quoted(&self, text: &str) -> String {
        quote(&self.masked(text))
    }

    /// `text` without prompt and secrets: for looking into it.
    pub(in crate::provider) fn masked(&self, text: &str) -> String {
        mask(text, &self.secrets, &self.prompts)
    }

    /// The beginning of a code or name.
    pub(in crate::provider) fn word(&self, word: &str) -> String {
        self.masked(word).chars().take(WORD_CHARS).collect()
    }

    /// The id under which the service's support finds the call, where the answer names one.
    pub(in crate::provider) fn id_in(&self, answer: &Answer) -> Option<String> {
        ID_HEADERS
            .iter()
            .find_map(|name| self.id_fit(answer.headers.get(*name)?.to_str().ok()?))
    }

    /// An id that the service gave, where it is one.
    pub(in crate::provider) fn id_fit(&self, id: &str) -> Option<String> {
        (is_plain_id(id) && self.masked(id) == id).then(|| id.to_owned())
    }
}

/// Whether an id is no more than an id: it goes into paths, logs and rows.
pub(in crate::provider) fn is_plain_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain) && !id.starts_with('.')
}
