//! The steps that all generators share: order, draw, shrink, mark, store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::purchase::{Buyer, Purchase};
use super::{ImageRequest, Progress, StoredImage, Unfinished};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::imaging::{self, BadPicture, Format, Inspected, Mark, Provenance};
use crate::measure::{self, Stage};
use crate::provider::models::{self, Model};
use crate::provider::{DrawnImage, ImageSpec, Providers};
use crate::storage::{ObjectKey, Role, Storage, StorageError};
use crate::work_package::OutputFormat;

mod cancel;
mod orders;

pub(super) use orders::Order;

/// How long a picture that has been paid for is kept in memory while the store is away.
const STORE_PATIENCE: Duration = Duration::from_secs(10 * 60);
const STORE_PAUSE: Duration = Duration::from_millis(500);
const STORE_PAUSE_MAX: Duration = Duration::from_secs(15);

/// To look at so many bytes, or to mark them, takes less than handing them to another thread and back.
const SMALL_BYTES: usize = 64 * 1024;

/// What a studio works with.
pub struct StudioSettings {
    /// Who can draw.
    pub providers: Providers,
    /// Where the pictures go.
    pub storage: Storage,
    /// Object keys derive from it and the job.
    pub key_namespace: Uuid,
    /// `KEEP_ORIGINALS`.
    pub keeps_originals: bool,
}

/// Where pictures are made. One for all jobs of a replica.
pub struct Studio {
    settings: StudioSettings,
    /// Pixel work at once: as much as there are cores, since more would only cost memory.
    pixel_slots: Semaphore,
}

/// A picture as the provider sent it, found to be one.
pub(super) struct Drawing {
    pub(super) bytes: Bytes,
    pub(super) inspected: Inspected,
    pub(super) order: Order,
    drawn: DrawnImage,
    call_no: Option<i32>,
}

/// One object to be stored.
pub(super) struct Piece {
    role: Role,
    bytes: Bytes,
    inspected: Inspected,
}

impl Piece {
    pub(super) fn new(role: Role, bytes: Bytes, inspected: Inspected) -> Self {
        Self {
            role,
            bytes,
            inspected,
        }
    }
}

/// The format of a file that was asked for in this word.
fn written(word: OutputFormat) -> Format {
    match word {
        OutputFormat::Png => Format::Png,
        OutputFormat::Jpeg => Format::Jpeg,
        OutputFormat::Webp => Format::WebP,
    }
}

impl Studio {
    /// A studio with as many pixel slots as there are cores.
    #[must_use]
    pub fn new(settings: StudioSettings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            settings,
            pixel_slots: Semaphore::new(cores),
        }
    }

    pub(super) fn keeps_originals(&self) -> bool {
        self.settings.keeps_originals
    }

    pub(crate) fn provider_names(&self) -> impl Iterator<Item = &'static str> {
        self.settings.providers.iter().map(|provider| provider.name())
    }

    /// Models of the providers that are configured.
    pub(crate) fn models(&self) -> impl Iterator<Item = &'static Model> {
        let configured = self
            .settings
            .providers
            .iter()
            .filter(|provider| provider.check(&ImageSpec::default()).is_ok());
        configured.flat_map(|provider| models::all(provider.name()))
    }

    /// What an earlier attempt has stored and not recorded: finishing with it costs nothing.
    pub(super) async fn find_stored(
        &self,
        request: &ImageRequest<'_>,
        orders: &[Order],
        role: Role,
    ) -> Result<Option<StoredImage>, Failure> {
        if !request.may_be_stored {
            return Ok(None);
        }
        let asked = request
            .open_call
            .as_ref()
            .map(|call| (call.provider.clone(), call.model.clone()));
        let meant = &orders[0];
        let (provider, model) =
            asked.unwrap_or_else(|| (meant.provider.name().to_owned(), meant.spec.model.clone()));
        for format in [Format::Png, Format::Jpeg, Format::WebP] {
            let key = self.key(request, role, format)?;
            if let Some(found) = self.settings.storage.find(&key).await? {
                tracing::info!(object.key = %key, "an earlier attempt has stored this picture; it is used");
                return Ok(Some(StoredImage {
                    urls: vec![found.stored.url],
                    object_keys: vec![key.to_string()],
                    bucket: self.settings.storage.bucket_name().map(str::to_owned),
                    mark: None,
                    provider,
                    model,
                    request_id: None,
                    usage: None,
                    cost: None,
                    call_no: request.open_call.as_ref().map(|call| call.call_no),
                }));
            }
        }
        Ok(None)
    }

    /// Has the provider draw, and makes sure that what came is a picture.
    pub(super) async fn draw(
        &self,
        request: &ImageRequest<'_>,
        orders: &[Order],
        progress: &dyn Progress,
    ) -> Result<Drawing, Unfinished> {
        progress.reached(20);
        let buyer = Buyer {
            request,
            namespace: self.settings.key_namespace,
            progress,
        };
        let Purchase {
            image: drawn,
            call_no,
            order,
        } = measure::stage(Stage::Draw, buyer.purchase(orders, &self.settings.providers)).await?;
        progress.reached(70);
        let bytes = drawn.bytes.clone();
        let inspected = self
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

    pub(super) async fn shrink(
        &self,
        request: &ImageRequest<'_>,
        drawing: &Drawing,
    ) -> Result<Piece, Failure> {
        let (bytes, inspected) = (drawing.bytes.clone(), drawing.inspected);
        let format = request.work.options.output_format.map_or(Format::Png, written);
        let (icon, inspected) = self
            .on_pixels(move || {
                let icon = imaging::icon(&bytes, &inspected, format)?;
                let inspected = imaging::inspect(&icon)?;
                Ok((Bytes::from(icon), inspected))
            })
            .await?;
        Ok(Piece::new(Role::Icon, icon, inspected))
    }

    pub(super) async fn mark(
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
        Ok((
            Piece {
                role,
                bytes,
                inspected,
            },
            mark,
        ))
    }

    /// Stores the pieces in their order; the last one is shown.
    pub(super) async fn store(
        &self,
        request: &ImageRequest<'_>,
        drawing: &Drawing,
        pieces: Vec<Piece>,
        mark: Mark,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Failure> {
        let order = &drawing.order;
        let mut object_keys = Vec::with_capacity(pieces.len());
        let mut shown = String::new();
        for piece in pieces {
            let key = self.key(request, piece.role, piece.inspected.format)?;
            shown = self.put(&key, &piece, order).await?;
            object_keys.push(key.to_string());
        }
        fault::point("stored");
        progress.reached(90);
        // The object that is shown comes first in every list.
        object_keys.reverse();
        Ok(StoredImage {
            urls: vec![shown],
            object_keys,
            bucket: self.settings.storage.bucket_name().map(str::to_owned),
            mark: Some(mark),
            provider: order.provider.name().to_owned(),
            model: order.spec.model.clone(),
            request_id: drawing.drawn.request_id.clone(),
            usage: drawing.drawn.usage.clone(),
            cost: drawing.drawn.cost,
            call_no: drawing.call_no,
        })
    }

    /// Stores one piece. A picture that was paid for is not given up because the store is away for a while, and
    /// when it has to be, it is not bought again.
    async fn put(&self, key: &ObjectKey, piece: &Piece, order: &Order) -> Result<String, Failure> {
        let give_up_at = Instant::now() + STORE_PATIENCE;
        let mut pause = STORE_PAUSE;
        loop {
            let content_type = piece.inspected.format.content_type();
            let error: StorageError = match self
                .settings
                .storage
                .put(key, piece.bytes.clone(), content_type)
                .await
            {
                Ok(stored) => return Ok(stored.url),
                Err(error) => error,
            };
            if order.provider.is_free() {
                return Err(error.into());
            }
            if Instant::now() + pause > give_up_at {
                return Err(Failure::from(error).finally());
            }
            tracing::warn!(%error, "the picture cannot be stored; it is kept and stored later");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_PAUSE_MAX);
        }
    }

    fn key(&self, request: &ImageRequest<'_>, role: Role, format: Format) -> Result<ObjectKey, Failure> {
        let work = request.work;
        ObjectKey::for_job(
            self.settings.key_namespace,
            request.job_id,
            &work.collection_type,
            &work.collection_id,
            role,
            format.extension(),
        )
        .map_err(|error| Failure::new(ErrorClass::InvalidPackage, error.to_string()))
    }

    /// Runs work that reads so many bytes once and decodes no pixel: here if they are few, else as work on pixels.
    async fn on_bytes<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, BadPicture> + Send + 'static,
    ) -> Result<T, Failure> {
        if bytes > SMALL_BYTES {
            return self.on_pixels(work).await;
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Ok(result?),
            Err(_) => Err(stumbled()),
        }
    }

    /// Runs work on pixels on a thread where it holds up nobody.
    async fn on_pixels<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BadPicture> + Send + 'static,
    ) -> Result<T, Failure> {
        let _slot = self
            .pixel_slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(stumbled()),
        }
    }
}

fn stumbled() -> Failure {
    let message = "The picture made this service stumble. Start the job again, with another prompt if it happens again.";
    Failure::new(ErrorClass::Internal, message)
}
