//! One picture, from the request to what is stored: follow up what was ordered before, or order it; look at the
//! bytes, shape, mark, store.

use bytes::Bytes;
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::follow::{namespace, namespace_of, order_of};
use super::order::Order;
use super::pixel_work::PixelWork;
use super::purchase::{Buyer, Purchase};
use super::suffixes::PromptSuffixes;
use super::{ImageRequest, Progress, StoredImage, Unfinished};
use crate::failure::Failure;
use crate::http_client::Downloads;
use crate::imaging::{self, BadPicture, Format, Inspected, Mark, Provenance};
use crate::measure::{self, Stage};
use crate::memory::Hold;
use crate::provider::list::Providers;
use crate::provider::{DrawnImage, ProviderError};
use crate::storage::{Role, Storage};
use crate::work_package::OutputFormat;

mod cancel;
mod objects;
mod orders;
mod references;

pub use objects::all_keys;

/// What a pipeline works with.
pub struct PipelineSettings {
    /// Who can draw.
    pub providers: Providers,
    /// Where the pictures go.
    pub storage: Storage,
    /// Fetches what pictures are to be made from.
    pub downloads: Downloads,
    /// Object keys derive from it and the job.
    pub key_namespace: Uuid,
    /// `KEEP_ORIGINALS`.
    pub keeps_originals: bool,
    /// What follows every prompt.
    pub suffixes: PromptSuffixes,
}

/// Where pictures are made. One for all jobs of a replica.
pub struct Pipeline {
    settings: PipelineSettings,
    pixels: PixelWork,
}

/// What becomes of a picture that has been drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is delivered as it was drawn.
    AsDrawn,
    /// It is made to fit the square of an icon; the original is kept where settings say so.
    Icon,
}

impl Shape {
    /// Part of the key of the object that is shown.
    fn role(self) -> Role {
        match self {
            Self::AsDrawn => Role::Picture,
            Self::Icon => Role::Icon,
        }
    }
}

/// What a provider has drawn, found to be a picture.
struct Drawing {
    inspected: Inspected,
    order: Order,
    /// Its bytes go their own way, so that they are in memory no longer than they are needed.
    drawn: DrawnImage,
    call_no: Option<i32>,
}

/// One object to be stored.
struct Piece {
    role: Role,
    /// One after the other, they are the object.
    parts: Vec<Bytes>,
    inspected: Inspected,
}

/// The format of a file that was asked for in this word.
fn written(word: OutputFormat) -> Format {
    match word {
        OutputFormat::Png => Format::Png,
        OutputFormat::Jpeg => Format::Jpeg,
        OutputFormat::Webp => Format::WebP,
    }
}

impl Pipeline {
    /// A pipeline that works on as many pictures at once as there are cores.
    #[must_use]
    pub fn new(settings: PipelineSettings) -> Self {
        Self {
            settings,
            pixels: PixelWork::new(),
        }
    }

    /// Who can draw.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.settings.providers
    }

    /// Makes the image of a request. What is there already is used first: a stored picture, then a call that has not
    /// ended. Only where there is neither, a picture is bought.
    pub(super) async fn generate(
        &self,
        shape: Shape,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished> {
        if let Some(stored) = self.find_stored(request, shape.role()).await? {
            return Ok(stored);
        }
        progress.reached(20);
        let purchase = measure::stage(Stage::Draw, self.obtain(request, progress)).await?;
        progress.reached(70);
        // The same order is asked for its picture again: what came may have been damaged on its way.
        let call_no = purchase.call_no.filter(|_| !purchase.has_handle);
        let provider = purchase.order.provider.name();
        let request_id = purchase.image.request_id.clone();
        let (drawing, pieces, mark) = match self.prepare(shape, request, purchase).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                if let Some(call_no) = call_no {
                    let error = unusable(provider, request_id, &failure);
                    request.ledger.failed(call_no, &error).await;
                }
                return Err(failure.into());
            }
        };
        progress.reached(80);
        let storing = self.store(request, &drawing, pieces, mark, progress);
        Ok(measure::stage(Stage::Store, storing).await?)
    }

    /// The picture of a call that has not ended, or of one that is made now.
    async fn obtain(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Purchase, Unfinished> {
        let buyer = || Buyer {
            request,
            namespace: namespace_of(self.settings.key_namespace, request),
            pipeline: self,
            progress,
            deadline: Instant::now() + request.patience,
            is_brief: false,
        };
        if let Some(open) = &request.open_call {
            let order = order_of(open, &orders::spec(request.work), &self.settings.providers)?;
            if let Some(purchase) = buyer().following(open).follow(open, &order).await? {
                return Ok(purchase);
            }
        }
        let orders = self.orders(request.work)?;
        buyer().purchase(&orders).await
    }

    /// Makes sure that what came is a picture.
    async fn check(&self, purchase: Purchase) -> Result<(Drawing, Bytes), Failure> {
        let Purchase {
            image: mut drawn,
            call_no,
            order,
            ..
        } = purchase;
        let bytes = std::mem::take(&mut drawn.bytes);
        let inspected = self.inspect(&bytes).await?;
        let asked = order.spec.options.output_format.map(written);
        if asked.is_some_and(|asked| asked != inspected.format) {
            tracing::warn!(
                provider = order.provider.name(),
                "{} sent {} in place of the format that was asked for; it is delivered so",
                order.provider.name(),
                inspected.format.name()
            );
        }
        let drawing = Drawing {
            inspected,
            order,
            drawn,
            call_no,
        };
        Ok((drawing, bytes))
    }

    async fn inspect(&self, bytes: &Bytes) -> Result<Inspected, Failure> {
        let (looked_at, again) = (bytes.clone(), bytes.clone());
        let look = move || match imaging::inspect(&looked_at) {
            Err(BadPicture::CutOff {
                format: Format::Jpeg, ..
            }) => Ok(None),
            inspected => inspected.map(Some),
        };
        match self.pixels.on_bytes(bytes.len(), look).await? {
            Some(inspected) => Ok(inspected),
            None => {
                let look = move || imaging::inspect_without_end(&again);
                self.pixels.run(imaging::MAX_DECODED_BYTES, look).await
            }
        }
    }

    /// Checks what came and makes of it the objects to be stored, the one that is shown last: once it is there, all
    /// are.
    async fn prepare(
        &self,
        shape: Shape,
        request: &ImageRequest<'_>,
        purchase: Purchase,
    ) -> Result<(Drawing, Vec<Piece>, Mark), Failure> {
        let (drawing, bytes) = self.check(purchase).await?;
        let is_kept = shape == Shape::Icon && self.settings.keeps_originals;
        let original = is_kept.then(|| Piece {
            role: Role::Original,
            parts: vec![bytes.clone()],
            inspected: drawing.inspected,
        });
        let preparing = async {
            let (bytes, inspected) = match shape {
                Shape::AsDrawn => (bytes, drawing.inspected),
                Shape::Icon => self.shrink(request, bytes, drawing.inspected).await?,
            };
            let (parts, mark) = self.mark(request, &drawing, bytes, inspected).await?;
            let role = shape.role();
            let shown = Piece {
                role,
                parts,
                inspected,
            };
            Ok::<_, Failure>((shown, mark))
        };
        let (shown, mark) = measure::stage(Stage::Prepare, preparing).await?;
        let pieces = original.into_iter().chain([shown]).collect();
        Ok((drawing, pieces, mark))
    }

    async fn shrink(
        &self,
        request: &ImageRequest<'_>,
        bytes: Bytes,
        inspected: Inspected,
    ) -> Result<(Bytes, Inspected), Failure> {
        let format = request.work.options.output_format.map_or(Format::Png, written);
        let memory_bytes = inspected.decoded_bytes + bytes.len() as u64;
        let hold = Hold::to_make(imaging::MOST_ICON_BYTES).await;
        self.pixels
            .run(memory_bytes, move || {
                let icon = imaging::icon(&bytes, &inspected, format)?;
                let inspected = imaging::inspect(&icon)?;
                Ok((hold.around(icon.into()), inspected))
            })
            .await
    }

    async fn mark(
        &self,
        request: &ImageRequest<'_>,
        drawing: &Drawing,
        bytes: Bytes,
        inspected: Inspected,
    ) -> Result<(Vec<Bytes>, Mark), Failure> {
        let source = drawing.drawn.source;
        let order = &drawing.order;
        let (provider, model, job_id) = (order.provider.name(), order.spec.model.clone(), request.job_id);
        self.pixels
            .on_bytes(bytes.len(), move || {
                let provenance = Provenance {
                    source,
                    provider,
                    model: &model,
                    created_at: Utc::now(),
                    job_id,
                };
                imaging::mark(&bytes, &inspected, &provenance)
            })
            .await
    }

    /// What follows every prompt.
    pub(super) fn suffixes(&self) -> &PromptSuffixes {
        &self.settings.suffixes
    }

    fn namespace(&self, reuses: i32) -> Uuid {
        namespace(self.settings.key_namespace, reuses)
    }
}

/// What the ledger says of a call whose picture cannot be used.
fn unusable(provider: &'static str, request_id: Option<String>, failure: &Failure) -> ProviderError {
    ProviderError {
        provider,
        class: failure.class,
        details: failure.details.clone().unwrap_or_else(|| failure.message.clone()),
        request_id,
        retry_after: None,
    }
}
