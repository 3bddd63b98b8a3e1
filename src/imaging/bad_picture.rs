//! Why bytes are not used as a picture, in words for the person who waits.

use super::{Format, MAX_DECODED_BYTES, MAX_PICTURE_BYTES, MAX_PIXELS, MAX_SIDE_PX};
use crate::failure::{ErrorClass, Failure};

/// Why bytes cannot be used as a picture. Every variant is retried: another answer may be better.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPicture {
    /// Something that was never meant to be a picture.
    #[error(
        "The image provider delivered {found} instead of a picture. Start the job again in some minutes."
    )]
    NotAPicture {
        /// With its article: "an HTML page".
        found: &'static str,
    },
    /// A picture, or unknown bytes, in none of the accepted formats.
    #[error(
        "The image provider delivered {found}; only PNG, JPEG and WebP pictures can be used. \
         Choose another model or provider and start the job again."
    )]
    UnsupportedFormat {
        /// With its article: "a GIF picture".
        found: &'static str,
    },
    /// A file above [`MAX_PICTURE_BYTES`].
    #[error(
        "The picture is {} large and at most {} can be used. Ask for a smaller size and start the job again.",
        mebibytes(*found as u64), mebibytes(MAX_PICTURE_BYTES as u64)
    )]
    TooManyBytes {
        /// Size of the file in bytes.
        found: usize,
    },
    /// A header that promises more than [`MAX_SIDE_PX`] or [`MAX_PIXELS`].
    #[error(
        "The picture is {width_px} × {height_px} pixels large; at most {MAX_SIDE_PX} on each side and {} megapixels \
         in all can be used. Ask for a smaller size and start the job again.",
        MAX_PIXELS / 1_000_000
    )]
    TooManyPixels {
        /// Width according to the header.
        width_px: u32,
        /// Height according to the header.
        height_px: u32,
    },
    /// A file of more pieces than any picture needs, each of which costs time and memory.
    #[error(
        "The {} picture from the image provider has more than {most} {what} and is not used. \
         Choose another model or provider and start the job again.",
        format.name()
    )]
    TooMany {
        /// The format that the bytes begin like.
        format: Format,
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A picture within [`MAX_PIXELS`] whose kind of pixels takes too much memory to decode.
    #[error(
        "The picture takes {} of memory to decode and at most {} can be used. \
         Ask for a smaller size and start the job again.",
        mebibytes(*needed), mebibytes(MAX_DECODED_BYTES)
    )]
    TooMuchMemory {
        /// Estimated from the header, in bytes.
        needed: u64,
    },
    /// The file ends before the picture does.
    #[error(
        "The {} picture from the image provider is cut off: {details}. Start the job again in some minutes.",
        format.name()
    )]
    CutOff {
        /// The format that the bytes begin like.
        format: Format,
        /// What was being read, and where.
        details: String,
    },
    /// The file is whole but contradicts itself or its checksums.
    #[error(
        "The {} picture from the image provider is damaged: {details}. Start the job again in some minutes.",
        format.name()
    )]
    Corrupt {
        /// The format that the bytes begin like.
        format: Format,
        /// What does not fit.
        details: String,
    },
    /// A picture at which the code that reads it has panicked.
    #[error(
        "This service failed at reading the picture from the image provider. \
         Start the job again, with another prompt or model if it happens again."
    )]
    Unreadable,
}

impl BadPicture {
    /// [`ErrorClass::BadOutput`] for what is no picture at all, [`ErrorClass::BadImage`] for the rest.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotAPicture { .. } => ErrorClass::BadOutput,
            _ => ErrorClass::BadImage,
        }
    }
}

impl From<BadPicture> for Failure {
    fn from(bad: BadPicture) -> Self {
        Failure::new(bad.class(), bad.to_string())
    }
}

fn mebibytes(bytes: u64) -> String {
    // Rounded up, so that one byte too many does not read as exactly the limit.
    let tenths = (bytes * 10).div_ceil(1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_say_what_was_found_and_what_to_do() {
        let page = BadPicture::NotAPicture {
            found: "an HTML page",
        };
        assert_eq!(
            Failure::from(page),
            Failure::new(
                ErrorClass::BadOutput,
                "The image provider delivered an HTML page instead of a picture. Start the job again in some minutes."
            )
        );
        let bomb = BadPicture::TooManyPixels {
            width_px: 30_000,
            height_px: 20_000,
        };
        assert_eq!(
            Failure::from(bomb),
            Failure::new(
                ErrorClass::BadImage,
                "The picture is 30000 × 20000 pixels large; at most 8192 on each side and 40 megapixels in all can be \
                 used. Ask for a smaller size and start the job again."
            )
        );
        assert!(
            BadPicture::TooManyBytes {
                found: MAX_PICTURE_BYTES + 1
            }
            .to_string()
            .starts_with("The picture is 32.1 MiB large and at most 32.0 MiB can be used.")
        );
    }
}
