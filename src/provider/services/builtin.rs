//! `builtin`: draws a picture from the prompt with plain code. No key, no network, no cost.
//!
//! For the first try of the service, for demonstrations and for tests. The words of the prompt choose what is
//! drawn and in which colours; the rest follows from a hash, so that the same request always gives the same
//! bytes. Below: from words to a theme, and from a theme to a scene or a badge.

mod badge;
mod canvas;
mod lettering;
mod palette;
mod random;
mod scene;
mod theme;

use crate::http_client::Downloads;
use crate::provider::wire::account::ServiceSettings;
use async_trait::async_trait;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageResult};
use std::sync::Arc;

use self::canvas::Canvas;
use self::random::Random;
use crate::failure::ErrorClass;
use crate::memory::{self, Hold};
use crate::provider::catalog::pixels;
use crate::provider::catalog::{Choices, check_options, refused, repeated};
use crate::provider::{
    Call, CheckedSpec, DigitalSource, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError,
    Unsupported,
};
use crate::work_package::{Background, ImageType, Moderation, OutputFormat, Prompt};

pub(in crate::provider) const NAME: &str = "builtin";
const MODEL: &str = "builtin-1";
const ICON_SIZE: &str = "1024x1024";
const WIDE_SIZE: &str = "1536x1024";
const SMALLEST_SIDE_PX: u32 = 64;
const LARGEST_SIDE_PX: u32 = 2048;

/// Draws a picture from the prompt: a badge where it is to be square, as icons are, and a full scene otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

impl ServiceSettings for Builtin {
    fn build(&self, _: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl ImageProvider for Builtin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_free(&self) -> bool {
        true
    }

    /// The prompt alone: instructions meant for a model would turn into initials.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        if let Some(model) = spec.model.as_deref().filter(|model| *model != MODEL) {
            return Err(refused(format!(
                "Unsupported image model for {NAME}: {}; use {MODEL}",
                repeated(model)
            )));
        }
        if spec.quality.is_some() {
            return Err(refused(format!("Image quality is not supported for {NAME}")));
        }
        let size = match spec.size.as_deref() {
            None | Some("auto") => match spec.image_type {
                ImageType::Icon => ICON_SIZE,
                ImageType::Collection => WIDE_SIZE,
            },
            Some(size) => {
                sides(size).ok_or_else(|| {
                    refused(format!(
                        "Unsupported image size for {NAME}: {}; use auto or WIDTHxHEIGHT with both edges from \
                         {SMALLEST_SIDE_PX} to {LARGEST_SIDE_PX}",
                        repeated(size)
                    ))
                })?;
                size
            }
        };
        // A scene has a sky. Nothing is ever refused for what the prompt says.
        let is_badge = sides(size).is_some_and(|(width, height)| width == height);
        let choices = Choices {
            backgrounds: match is_badge {
                true => &[Background::Transparent, Background::Opaque],
                false => &[Background::Opaque],
            },
            moderations: &[Moderation::Low],
            formats: &[OutputFormat::Png],
            ..Choices::default()
        };
        Ok(CheckedSpec {
            model: MODEL.to_owned(),
            size: Some(size.to_owned()),
            quality: None,
            seed: spec.seed,
            ..check_options(choices, NAME, NAME, spec)?
        })
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let (width, height) = call
            .spec
            .size
            .as_deref()
            .and_then(sides)
            .ok_or_else(|| broken("the size has not been checked".to_owned()))?;
        let (prompt, seed) = (call.prompt.clone(), call.spec.seed);
        let is_opaque = call.spec.options.background == Some(Background::Opaque);
        // As a file it seldom has more bytes than pixels, and while it is drawn two copies of its pixels.
        let pixels = u64::from(width) * u64::from(height);
        let hold = Hold::of(pixels as usize).await;
        let turn = memory::work(pixels * 8).await;
        let drawn =
            tokio::task::spawn_blocking(move || picture(prompt.expose(), seed, width, height, is_opaque))
                .await;
        drop(turn);
        let png = drawn
            .map_err(|_| broken("drawing stopped with a panic".to_owned()))?
            .map_err(|error| broken(format!("the picture could not be encoded: {error}")))?;
        Ok(DrawnImage {
            bytes: hold.around(png.into()),
            source: DigitalSource::Algorithm,
            request_id: None,
            usage: None,
            cost: None,
        })
    }
}

/// A PNG, drawn and encoded on the thread that calls.
fn picture(
    prompt: &str,
    seed: Option<i64>,
    width: u32,
    height: u32,
    is_opaque: bool,
) -> ImageResult<Vec<u8>> {
    let seed = seed.map(i64::to_be_bytes);
    let seed = seed.as_ref().map_or(&[][..], |seed| seed.as_slice());
    let mut random = Random::from_parts(&[prompt.as_bytes(), seed]);
    let theme = theme::read(prompt, &mut random);
    let mut canvas = Canvas::new(width, height);
    if width == height {
        badge::paint(&mut canvas, &theme, &mut random);
    } else {
        scene::paint(&mut canvas, &theme, &mut random);
    }
    if is_opaque {
        canvas.put_on_white();
    }
    encode(&canvas)
}

/// With an alpha channel only where something is transparent.
fn encode(canvas: &Canvas) -> ImageResult<Vec<u8>> {
    let pixels = canvas.pixmap.pixels();
    let opaque = pixels.iter().all(|pixel| pixel.is_opaque());
    let mut raw = Vec::with_capacity(pixels.len() * if opaque { 3 } else { 4 });
    for pixel in pixels {
        let plain = pixel.demultiply();
        raw.extend_from_slice(&[plain.red(), plain.green(), plain.blue()]);
        if !opaque {
            raw.push(plain.alpha());
        }
    }
    let color = if opaque {
        ExtendedColorType::Rgb8
    } else {
        ExtendedColorType::Rgba8
    };
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive).write_image(
        &raw,
        canvas.pixmap.width(),
        canvas.pixmap.height(),
        color,
    )?;
    Ok(png)
}

/// Reads `WIDTHxHEIGHT`; `None` where it is written differently or out of bounds.
fn sides(size: &str) -> Option<(u32, u32)> {
    let bounds = SMALLEST_SIDE_PX..=LARGEST_SIDE_PX;
    pixels::sides(size).filter(|(width, height)| bounds.contains(width) && bounds.contains(height))
}

fn broken(details: String) -> ProviderError {
    ProviderError {
        provider: NAME,
        class: ErrorClass::Internal,
        details,
        request_id: None,
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
