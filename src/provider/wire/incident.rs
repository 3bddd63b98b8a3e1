//! Telling what went wrong with a call: for the operator, in one line, without its prompt and its secrets.

use reqwest::StatusCode;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, BodyEnd, HttpFault, mask, quote};
use crate::provider::ProviderError;

/// Longest code, name or id that is repeated.
const WORD_CHARS: usize = 64;

/// One call, for when it fails.
pub(in crate::provider) struct Incident<'a> {
    /// As packages write it.
    pub(in crate::provider) provider: &'static str,
    /// Method and path, without query.
    pub(in crate::provider) request: String,
    /// To be removed from whatever is repeated.
    pub(in crate::provider) prompt: &'a str,
    /// To be removed too.
    pub(in crate::provider) secrets: Vec<&'a str>,
}

impl Incident<'_> {
    /// An error without an answer.
    pub(in crate::provider) fn error(&self, class: ErrorClass, why: &str) -> ProviderError {
        ProviderError {
            provider: self.provider,
            class,
            details: format!("{}: {why}", self.request),
            request_id: None,
            retry_after: None,
        }
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
        Some(self.unusable(answer.status, class, &why))
    }

    /// What `read` finds in a whole and successful answer.
    pub(in crate::provider) async fn read<T: Send + 'static>(
        &self,
        answer: &Answer,
        read: fn(&[u8]) -> T,
    ) -> Result<T, ProviderError> {
        if let Some(error) = self.broken(answer) {
            return Err(error);
        }
        let body = answer.body.clone();
        // Tens of megabytes at worst: too long for a thread that other jobs share.
        tokio::task::spawn_blocking(move || read(&body))
            .await
            .map_err(|_| self.unusable(answer.status, ErrorClass::BadOutput, "reading the answer failed"))
    }

    /// A successful answer without a usable picture. `why` holds nothing of the answer that was not masked.
    pub(in crate::provider) fn unusable(
        &self,
        status: StatusCode,
        class: ErrorClass,
        why: &str,
    ) -> ProviderError {
        self.error(class, &format!("{}: {why}", status.as_u16()))
    }

    /// What an error answer says: its status, its codes under their names, its message.
    pub(in crate::provider) fn said(
        &self,
        status: StatusCode,
        words: &[(&str, Option<&str>)],
        message: &str,
    ) -> String {
        let mut line = match status.canonical_reason() {
            Some(reason) => format!("{} {reason}", status.as_u16()),
            None => status.as_u16().to_string(),
        };
        for (name, word) in words {
            if let Some(word) = word {
                line.push_str(&format!(", {name} {}", self.word(word)));
            }
        }
        match self.quoted(message) {
            empty if empty.is_empty() => line + ": without an explanation",
            said => format!("{line}: {said:?}"),
        }
    }

    /// One line of somebody else's text, cut, without prompt and secrets.
    pub(in crate::provider) fn quoted(&self, text: &str) -> String {
        quote(&self.masked(text))
    }

    /// As [`Incident::quoted`], but uncut: for looking into it.
    pub(in crate::provider) fn masked(&self, text: &str) -> String {
        mask(text, &self.secrets, self.prompt)
    }

    fn word(&self, word: &str) -> String {
        self.masked(word).chars().take(WORD_CHARS).collect()
    }

    /// An id that the service gave, where it is one.
    pub(in crate::provider) fn id(&self, id: &str) -> Option<String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let is_id = !id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain);
        (is_id && self.masked(id) == id).then(|| id.to_owned())
    }
}
