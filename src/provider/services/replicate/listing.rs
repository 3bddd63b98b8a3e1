//! Looks for an order whose id was lost, among those that the account has made of late.
//!
//! The service takes no id of ours, so that an order is known by its input alone. Whatever leaves a doubt is
//! [`Found::Unknown`]: a wrong [`Found::NeverTaken`] would buy a second picture.
//!
//! Source: Replicate, "HTTP API", predictions.list: the most recent first, 100 on a page, from API and website alike.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::{NAME, Replicate, input, prediction};
use crate::failure::ErrorClass;

use crate::provider::wire::errors::judge_by_path;
use crate::provider::wire::service::NotTold;
use crate::provider::{Call, Found, ProviderError};

/// The service's clock and ours may differ by this much.
const EARLIER: TimeDelta = TimeDelta::seconds(60);
/// An order may have been sent this much later than it was written down.
const LATER: TimeDelta = TimeDelta::minutes(10);
/// An order that is not listed after this much was not taken.
const LISTED_AFTER: TimeDelta = TimeDelta::seconds(30);
/// Inputs are removed after an hour, and nothing can be compared without them.
const KEPT: TimeDelta = TimeDelta::minutes(55);
const PAGES: usize = 2;

/// What one listed prediction is to the order that is looked for.
enum Likeness {
    Other,
    Same,
    /// Its input is gone, or it has the same prompt and differs in what the service may have written in its own way.
    Doubtful,
}

impl Replicate {
    /// As [`crate::provider::ImageProvider::find`].
    pub(super) async fn find_listed(
        &self,
        call: &Call<'_>,
        sent_at: DateTime<Utc>,
    ) -> Result<Found, ProviderError> {
        let now = Utc::now();
        if now > sent_at + KEPT {
            return Ok(Found::Unknown);
        }
        let (from, to) = (sent_at - EARLIER, sent_at + LATER);
        let incident = self.service.posting("predictions", call);
        let client = self.service.client();
        let mut url = client.url("predictions");
        url.query_pairs_mut()
            .append_pair("created_after", &written(from))
            .append_pair("created_before", &written(to));
        let sent = input(call);
        let mut same = None;
        for _ in 0..PAGES {
            let asked = self
                .service
                .ask(client, url.clone(), &incident, judge_by_path, call.deadline)
                .await;
            let page = match asked {
                Ok((_, page)) => page,
                Err(NotTold::Unclear(error)) => return Err(error),
                Err(NotTold::Barred(error)) if error.class == ErrorClass::Auth => return Err(error),
                // There is no such listing.
                Err(_) => return Ok(Found::Unknown),
            };
            let Some(listed) = page.get("results").and_then(Value::as_array) else {
                return Ok(Found::Unknown);
            };
            let mut is_last = page.get("next").is_none_or(Value::is_null);
            for listed in listed {
                match created_at(listed) {
                    None => return Ok(Found::Unknown),
                    Some(created) if created > to => continue,
                    Some(created) if created < from => {
                        is_last = true;
                        break;
                    }
                    Some(_) => {}
                }
                match (
                    self.likeness(listed, &sent, call.spec.reference_count > 0),
                    &same,
                    prediction::id(listed),
                ) {
                    (Likeness::Other, ..) => {}
                    (Likeness::Same, None, Some(id)) => same = Some(id),
                    // Two jobs may have the same prompt: which of two such orders is this one's, nobody knows.
                    _ => return Ok(Found::Unknown),
                }
            }
            if is_last {
                return Ok(match same {
                    Some(id) => Found::Handle(id),
                    None if now >= sent_at + LISTED_AFTER => Found::NeverTaken,
                    None => Found::Unknown,
                });
            }
            let next = page.get("next").and_then(Value::as_str);
            match next.and_then(|next| url.join(next).ok()) {
                // Nobody but the service itself gets the token.
                Some(next) if next.origin() == url.origin() => url = next,
                _ => return Ok(Found::Unknown),
            }
        }
        tracing::debug!(
            provider = NAME,
            "too many predictions to look for one whose id was lost"
        );
        Ok(Found::Unknown)
    }

    fn likeness(&self, listed: &Value, sent: &Value, has_references: bool) -> Likeness {
        let is_removed = listed.get("data_removed") == Some(&Value::Bool(true));
        let known = match listed.get("input").and_then(Value::as_object) {
            Some(known) if !known.is_empty() && !is_removed => known,
            _ => return Likeness::Doubtful,
        };
        if known.get("prompt") != sent.get("prompt") {
            return Likeness::Other;
        }
        // More may be listed than was sent: the model's own defaults.
        let mut sent = sent.as_object().into_iter().flatten();
        let has_all = sent.all(|(name, value)| known.get(name) == Some(value));
        // What it was made from is not at hand, and is listed in the service's own way.
        match has_all && !has_references && self.may_be_of_model(listed) {
            true => Likeness::Same,
            false => Likeness::Doubtful,
        }
    }

    /// Whether nothing speaks against it that a prediction is of the configured model. That of a deployment, or of a
    /// version alone, goes by a name that is not known here.
    fn may_be_of_model(&self, listed: &Value) -> bool {
        let configured = self
            .model
            .as_ref()
            .map(|(model, _)| model.as_str())
            .unwrap_or_default();
        let name = configured.split(':').next().unwrap_or_default();
        match listed.get("model").and_then(Value::as_str) {
            Some(listed) if name.split('/').count() == 2 => listed == name,
            _ => true,
        }
    }
}

fn created_at(listed: &Value) -> Option<DateTime<Utc>> {
    let text = listed.get("created_at")?.as_str()?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
