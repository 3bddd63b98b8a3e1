//! `blank`: always the same transparent pixel, for load tests of everything but the drawing.

use crate::http_client::Downloads;
use crate::provider::wire::account::ServiceSettings;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

use crate::provider::catalog::{Choices, check_options};
use crate::provider::{
    Call, CheckedSpec, DigitalSource, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported,
};
use crate::work_package::{Background, Moderation, OutputFormat, Prompt};

pub(in crate::provider) const NAME: &str = "blank";

/// A PNG of 1 × 1 pixel, transparent.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\
    \0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\x0bIDATx\xdac\x60\0\x02\0\0\x05\0\x01\xe9\xfa\xdc\xd8\
    \0\0\0\0IEND\xae\x42\x60\x82";

/// Answers at once with one transparent pixel, whatever size and quality are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blank;

impl ServiceSettings for Blank {
    fn build(&self, _: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl ImageProvider for Blank {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_free(&self) -> bool {
        true
    }

    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let ImageSpec {
            model,
            size,
            quality,
            seed,
            ..
        } = spec.clone();
        let choices = Choices {
            backgrounds: &[Background::Transparent],
            moderations: &[Moderation::Low],
            formats: &[OutputFormat::Png],
            ..Choices::default()
        };
        Ok(CheckedSpec {
            model: model.unwrap_or_else(|| NAME.to_owned()),
            size,
            quality,
            seed,
            ..check_options(choices, NAME, NAME, spec)?
        })
    }

    async fn draw(&self, _: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        Ok(DrawnImage {
            bytes: Bytes::from_static(PIXEL),
            source: DigitalSource::Algorithm,
            request_id: None,
            usage: None,
            cost: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::inspect;

    #[tokio::test]
    async fn whatever_is_asked_for_is_one_transparent_pixel() {
        let word = |word: &str| Some(word.to_owned());
        let asked = ImageSpec {
            model: word("any"),
            size: word("9x9"),
            quality: word("low"),
            ..ImageSpec::default()
        };
        let checked = Blank.check(&asked).unwrap();
        let prompt = Prompt::new(String::new());
        let call = Call::unwatched(&prompt, &checked, tokio::time::Instant::now());
        let drawn = Blank.draw(&call).await.unwrap();
        assert!(inspect(&drawn.bytes).is_ok());
        let pixels = image::load_from_memory(&drawn.bytes).unwrap().into_rgba8();
        assert_eq!(
            (pixels.dimensions(), pixels.get_pixel(0, 0).0),
            ((1, 1), [0, 0, 0, 0])
        );
    }

    #[test]
    fn what_the_pixel_is_not_is_refused() {
        let mut asked = ImageSpec::default();
        asked.options.background = Some(Background::Opaque);
        assert!(
            Blank
                .check(&asked)
                .unwrap_err()
                .message
                .contains("use transparent")
        );
        asked.options = crate::work_package::ImageOptions {
            background: Some(Background::Transparent),
            moderation: Some(Moderation::Low),
            complexity: None,
            output_format: Some(OutputFormat::Png),
        };
        assert_eq!(Blank.check(&asked).unwrap().options, asked.options);
    }
}
