//! Reference images, before anything is bought: fetched or read from the store, and looked at. They are in memory until they
//! are sent, and fetched again for the next call.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Pipeline;
use crate::failure::{ErrorClass, Failure};
use crate::http_client::{Attachment, DownloadFault};
use crate::imaging::{self, BadPicture, Format};
use crate::memory::SharedHold;
use crate::provider::catalog::MAX_REFERENCE_BYTES;
use crate::provider::{CheckedSpec, References};
use crate::storage::{Contents, ObjectKey, StorageErrorKind};
use crate::work_package::{ImageWork, ReferenceImage, any_of};

impl Pipeline {
    /// The reference images of a package, for the model that has been chosen.
    ///
    /// # Errors
    /// `InvalidPackage` for one that cannot be used; `Network` or `Storage` where it may be there later.
    pub(in crate::generator) async fn references(
        &self,
        work: &ImageWork,
        spec: &CheckedSpec,
        deadline: Instant,
    ) -> Result<References, Failure> {
        let count = work.references.len();
        let Some(taken) = spec.references.filter(|_| count > 0) else {
            return Ok(References::default());
        };
        let mut hold = SharedHold::of(taken.max_bytes.min(count * MAX_REFERENCE_BYTES));
        let mut left = taken.max_bytes;
        let mut found = Vec::new();
        for (number, reference) in (1..).zip(&work.references) {
            let place = Place {
                which: format!("Reference image {number} ({reference})"),
                model: &spec.model,
            };
            let most = left.min(MAX_REFERENCE_BYTES);
            let bytes = match self.read(reference, most, &mut hold, deadline).await {
                Ok(bytes) => bytes,
                Err(Missing::TooLarge) if most < MAX_REFERENCE_BYTES => {
                    return Err(place.too_many_bytes(taken.max_bytes));
                }
                Err(missing) => return Err(place.missing(missing)),
            };
            left -= bytes.len();
            let looked_at = bytes.clone();
            let look = move || Ok(imaging::inspect(&looked_at));
            let inspected = self.pixels.on_bytes(bytes.len(), look).await;
            let inspected = inspected.map_err(|_| place.bad(&BadPicture::Unreadable))?;
            let format = inspected.map_err(|bad| place.bad(&bad))?.format;
            let formats: Vec<Format> = taken.formats.iter().copied().map(super::written).collect();
            if !formats.contains(&format) {
                return Err(place.is(&format!("a {} picture", format.name()), &formats));
            }
            found.push((bytes, format));
        }
        let (bytes, formats): (Vec<Bytes>, Vec<Format>) = found.into_iter().unzip();
        let files = hold.around(bytes).into_iter().zip(formats);
        let files = files.map(|(bytes, format)| Attachment {
            bytes,
            media_type: format.content_type(),
            extension: format.extension(),
        });
        Ok(References::new(files.collect()))
    }

    async fn read(
        &self,
        reference: &ReferenceImage,
        most: usize,
        hold: &mut SharedHold,
        deadline: Instant,
    ) -> Result<Bytes, Missing> {
        let key = match reference {
            ReferenceImage::Url(url) => {
                let fetched = self
                    .settings
                    .downloads
                    .fetch_file(url, most, hold, deadline)
                    .await;
                return fetched.map_err(|fault| match fault {
                    DownloadFault::TooLarge(_) => Missing::TooLarge,
                    fault => Missing::Unfetched(fault),
                });
            }
            ReferenceImage::Object(key) => ObjectKey::read(key).ok_or(Missing::Absent)?,
        };
        let reading = async {
            hold.take().await;
            self.settings.storage.read(&key, most).await
        };
        match timeout_at(deadline, reading).await {
            Ok(Ok(Contents::Whole(bytes))) => Ok(bytes),
            Ok(Ok(Contents::Absent)) => Err(Missing::Absent),
            Ok(Ok(Contents::TooLarge)) => Err(Missing::TooLarge),
            Ok(Err(error)) => Err(Missing::Unread(error.kind, error.to_string())),
            Err(_) => Err(Missing::Unread(
                StorageErrorKind::Busy,
                "there was no memory for it in time".to_owned(),
            )),
        }
    }
}

/// Why there are no bytes of a reference image.
enum Missing {
    Unfetched(DownloadFault),
    /// The store has no such object.
    Absent,
    TooLarge,
    Unread(StorageErrorKind, String),
}

/// Which reference image a sentence is about, and for which model it was meant.
struct Place<'a> {
    which: String,
    model: &'a str,
}

impl Place<'_> {
    fn refused(&self, what: &str) -> Failure {
        Failure::new(ErrorClass::InvalidPackage, format!("{} {what}", self.which))
    }

    fn missing(&self, missing: Missing) -> Failure {
        let which = &self.which;
        match missing {
            Missing::TooLarge => {
                let most = megabytes(MAX_REFERENCE_BYTES);
                self.refused(&format!("has more than {most}; use a smaller one"))
            }
            Missing::Absent => {
                self.refused("is not in the store of this service; use the key of a picture that is")
            }
            Missing::Unfetched(DownloadFault::Refused(why)) => {
                self.refused(&format!("is not fetched: {why}"))
            }
            Missing::Unfetched(DownloadFault::Answered(status)) => self.refused(&format!(
                "is not there: its address answers {status}; use one that everybody can open"
            )),
            Missing::Unfetched(fault @ DownloadFault::OutOfTime(_)) => {
                let message = format!("{which} could not be fetched. Start the job again in some minutes.");
                Failure::new(ErrorClass::Network, message).with_details(fault.to_string())
            }
            Missing::Unfetched(fault) => self.refused("cannot be read").with_details(fault.to_string()),
            Missing::Unread(kind, details) => {
                let todo = match kind {
                    StorageErrorKind::Busy | StorageErrorKind::Unreachable => {
                        "Start the job again in some minutes."
                    }
                    _ => "Tell an operator; the prompt is not the cause.",
                };
                let message = format!("{which} could not be read from the store. {todo}");
                Failure::new(ErrorClass::Storage, message).with_details(details)
            }
        }
    }

    fn too_many_bytes(&self, most: usize) -> Failure {
        let (model, most) = (self.model, megabytes(most));
        let message = format!(
            "The reference images have more than {most} together, which {model} does not take; use smaller ones"
        );
        Failure::new(ErrorClass::InvalidPackage, message)
    }

    fn is(&self, found: &str, formats: &[Format]) -> Failure {
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        self.refused(&format!("is {found}; {} takes {}", self.model, any_of(&names)))
    }

    fn bad(&self, bad: &BadPicture) -> Failure {
        let all = [Format::Png, Format::Jpeg, Format::WebP];
        match bad {
            BadPicture::NotAPicture { found } | BadPicture::UnsupportedFormat { found } => self.is(found, &all),
            BadPicture::TooManyPixels { width_px, height_px } => self.refused(&format!(
                "is {width_px} × {height_px} pixels large; at most {} on each side and {} megapixels in all are taken",
                imaging::MAX_SIDE_PX,
                imaging::MAX_PIXELS / 1_000_000
            )),
            BadPicture::CutOff { details, .. } => self.refused(&format!("is cut off: {details}")),
            BadPicture::Corrupt { details, .. } => self.refused(&format!("is damaged: {details}")),
            _ => self.refused("cannot be used as a picture; save it anew and use that"),
        }
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{} MB", bytes / 1_000_000)
}
