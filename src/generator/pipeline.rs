//! One picture, from the request to what is stored: follow up what was ordered before, or order it; look at the bytes, shape,
//! mark, store.

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
use crate::imaging::{self, Format, Inspected, Mark, Provenance};
use crate::measure::{self, Stage};
use crate::provider::list::Providers;
use crate::provider::{DrawnImage, ProviderError};
use crate::storage::{Role, Storage};
use crate::work_package::OutputFormat;

mod cancel;
mod objects;
mod orders;

pub use objects::all_keys;

/// What a pipeline works with.
pub struct PipelineSettings {
    /// Who can draw.
    pub providers: Providers,
    /// Where the pictures go.
    pub storage: Storage,
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

/// A picture as the provider sent it, found to be one.
struct Drawing {
    bytes: Bytes,
    inspected: Inspected,
    order: Order,
    drawn: DrawnImage,
    call_no: Option<i32>,
}

/// One object to be stored.
struct Piece {
    role: Role,
    bytes: Bytes,
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

    /// Makes the image of a request. What is there already is used first: a stored picture, then a call that has not ended.
    /// Only where there is neither, a picture is bought.
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
        let (drawing, pieces, mark) = match self.prepare(shape, request, purchase).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                if let Some(call_no) = call_no {
                    let error = unusable(provider, &failure);
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
            suffixes: &self.settings.suffixes,
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
    async fn check(&self, purchase: Purchase) -> Result<Drawing, Failure> {
        let Purchase {
            image: drawn,
            call_no,
            order,
            ..
        } = purchase;
        let bytes = drawn.bytes.clone();
        let inspected = self
            .pixels
            .on_bytes(bytes.len(), move || imaging::inspect(&bytes))
            .await?;
        let asked = order.spec.options.output_format.map(written);
        if asked.is_some_and(|asked| asked != inspected.format) {
            tracing::warn!(
                provider = order.provider.name(),
                "{} sent {} in place of the format that was asked for; it is delivered so",
                order.provider.name(),
                inspected.format.name()
            );
        }
        Ok(Drawing {
            bytes: drawn.bytes.clone(),
            inspected,
            order,
            drawn,
            call_no,
        })
    }

    /// Checks what came and makes of it the objects to be stored, the one that is shown last: once it is there, all are.
    async fn prepare(
        &self,
        shape: Shape,
        request: &ImageRequest<'_>,
        purchase: Purchase,
    ) -> Result<(Drawing, Vec<Piece>, Mark), Failure> {
        let drawing = self.check(purchase).await?;
        let drawn = |role| Piece {
            role,
            bytes: drawing.bytes.clone(),
            inspected: drawing.inspected,
        };
        let preparing = async {
            let shown = match shape {
                Shape::AsDrawn => drawn(Role::Picture),
                Shape::Icon => self.shrink(request, &drawing).await?,
            };
            self.mark(request, &drawing, shown).await
        };
        let (shown, mark) = measure::stage(Stage::Prepare, preparing).await?;
        let original = (shape == Shape::Icon && self.settings.keeps_originals).then(|| drawn(Role::Original));
        let pieces = original.into_iter().chain([shown]).collect();
        Ok((drawing, pieces, mark))
    }

    async fn shrink(&self, request: &ImageRequest<'_>, drawing: &Drawing) -> Result<Piece, Failure> {
        let (bytes, inspected) = (drawing.bytes.clone(), drawing.inspected);
        let format = request.work.options.output_format.map_or(Format::Png, written);
        let (bytes, inspected) = self
            .pixels
            .run(move || {
                let icon = imaging::icon(&bytes, &inspected, format)?;
                let inspected = imaging::inspect(&icon)?;
                Ok((Bytes::from(icon), inspected))
            })
            .await?;
        let role = Role::Icon;
        Ok(Piece {
            role,
            bytes,
            inspected,
        })
    }

    async fn mark(
        &self,
        request: &ImageRequest<'_>,
        drawing: &Drawing,
        piece: Piece,
    ) -> Result<(Piece, Mark), Failure> {
        let Piece {
            role,
            bytes,
            inspected,
        } = piece;
        let source = drawing.drawn.source;
        let order = &drawing.order;
        let (provider, model, job_id) = (order.provider.name(), order.spec.model.clone(), request.job_id);
        let (bytes, mark) = self
            .pixels
            .on_bytes(bytes.len(), move || {
                let provenance = Provenance {
                    source,
                    provider,
                    model: &model,
                    created_at: Utc::now(),
                    job_id,
                };
                imaging::mark(bytes, &inspected, &provenance)
            })
            .await?;
        let marked = Piece {
            role,
            bytes,
            inspected,
        };
        Ok((marked, mark))
    }

    fn namespace(&self, reuses: i32) -> Uuid {
        namespace(self.settings.key_namespace, reuses)
    }
}

/// What the ledger says of a call whose picture cannot be used.
fn unusable(provider: &'static str, failure: &Failure) -> ProviderError {
    ProviderError {
        provider,
        class: failure.class,
        details: failure.details.clone().unwrap_or_else(|| failure.message.clone()),
        request_id: None,
        retry_after: None,
    }
}
