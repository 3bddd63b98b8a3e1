//! Each option is sent as the service wants it, or refused: never left out in silence.

use tokio::time::Instant;

use super::{Duration, Fake, PROMPT, Run, pictures};
use crate::failure::ErrorClass;
use crate::http_client::quote;
use crate::provider::{Call, CheckedSpec, ImageSpec};
use crate::work_package::{Background, Complexity, ImageOptions, Moderation, OutputFormat, Prompt, Word};

/// Stands in no other text that is sent.
const NEGATIVE: &str = "blurry unicorns";

/// Every option that a package may have, one at a time.
fn all() -> Vec<(String, ImageSpec)> {
    let with = |(name, options): (String, ImageOptions)| {
        let spec = ImageSpec {
            options,
            ..ImageSpec::default()
        };
        (name, spec)
    };
    let negative = ImageSpec {
        negative_prompt: Some(Prompt::new(NEGATIVE.to_owned())),
        ..ImageSpec::default()
    };
    let mut all: Vec<_> = words().into_iter().map(with).collect();
    all.push(("negative prompt".to_owned(), negative));
    let from_another = ImageSpec {
        reference_count: 1,
        ..ImageSpec::default()
    };
    all.push(("reference".to_owned(), from_another));
    all
}

/// Those of a few words each.
fn words() -> Vec<(String, ImageOptions)> {
    let none = ImageOptions::default();
    let backgrounds = Background::ALL.iter().map(|word| {
        let background = Some(*word);
        (word.as_str(), ImageOptions { background, ..none })
    });
    let moderations = Moderation::ALL.iter().map(|word| {
        let moderation = Some(*word);
        (word.as_str(), ImageOptions { moderation, ..none })
    });
    let complexities = Complexity::ALL.iter().map(|word| {
        let complexity = Some(*word);
        // Levels of moderation are the same words.
        let name = format!("complexity {}", word.as_str());
        (name, ImageOptions { complexity, ..none })
    });
    let formats = OutputFormat::ALL.iter().map(|word| {
        let output_format = Some(*word);
        (
            word.as_str(),
            ImageOptions {
                output_format,
                ..none
            },
        )
    });
    let all = backgrounds.chain(moderations).chain(formats);
    let all = all.map(|(word, options)| (word.to_owned(), options));
    all.chain(complexities).collect()
}

impl Run<'_> {
    pub(super) async fn options(&mut self) {
        for (word, asked) in all() {
            self.case = format!("option {word}");
            let fake = Fake::start(self.subject.good).await;
            let provider = (self.subject.provider)(&fake.url);
            let asked = ImageSpec {
                model: Some(self.subject.spec.model.clone()),
                ..asked
            };
            let sent = self.subject.options.iter().find(|(known, _)| *known == word);
            match (provider.check(&asked), sent) {
                (Ok(checked), Some((_, sent))) => {
                    let accepted = (checked.options, &checked.negative_prompt, checked.reference_count);
                    if accepted != (asked.options, &asked.negative_prompt, asked.reference_count) {
                        self.fault(format!("it was accepted as {checked:?}"));
                    }
                    let spec = CheckedSpec {
                        options: checked.options,
                        negative_prompt: checked.negative_prompt,
                        references: checked.references,
                        ..self.subject.spec.clone()
                    };
                    let prompt = Prompt::new(PROMPT.to_owned());
                    let deadline = Instant::now() + Duration::from_secs(300);
                    let call = Call {
                        references: &pictures(asked.reference_count),
                        ..Call::unwatched(&prompt, &spec, deadline)
                    };
                    if let Err(error) = provider.draw(&call).await {
                        self.fault(format!("no picture: {error}"));
                    }
                    let bought = fake.asked().into_iter().find(|asked| (self.subject.buys)(asked));
                    let body = bought.map(|asked| asked.text()).unwrap_or_default();
                    if !body.contains(sent) {
                        self.fault(format!("{sent} was not sent: {}", quote(&body)));
                    }
                }
                (Err(refused), None) => {
                    let is_explained = ["leave it out", "leave them out"]
                        .iter()
                        .any(|said| refused.message.contains(said));
                    if refused.class != ErrorClass::InvalidRequest || !is_explained {
                        self.fault(format!("{:?}: {refused}", refused.class));
                    }
                }
                (Ok(_), None) => self.fault("it was accepted"),
                (Err(refused), Some(_)) => self.fault(format!("it was refused: {refused}")),
            }
        }
    }
}
