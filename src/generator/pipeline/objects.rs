//! The objects of a job in the store: found where an earlier attempt has left them, or put there.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::{Drawing, Piece, Pipeline};
use crate::failure::{ErrorClass, Failure};
use crate::fault;
use crate::generator::follow::namespace;
use crate::generator::order::Order;
use crate::generator::{ImageRequest, Progress, StoredImage};
use crate::imaging::{Format, Mark};
use crate::storage::{ObjectKey, PutPayload, Role, StorageError};
use crate::work_package::ImageWork;

/// How long a picture that has been paid for is kept in memory while the store is away.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The keys of all objects that a job can have, whichever of them it has.
#[must_use]
pub fn all_keys(installation: Uuid, reuses: i32, job_id: i32, work: &ImageWork) -> Vec<ObjectKey> {
    let namespace = namespace(installation, reuses);
    let roles = [Role::Picture, Role::Icon, Role::Original];
    let formats = [Format::Png, Format::Jpeg, Format::WebP];
    let all = roles
        .into_iter()
        .flat_map(|role| formats.map(|format| (role, format.extension())));
    all.filter_map(|(role, extension)| {
        ObjectKey::for_job(
            namespace,
            job_id,
            &work.collection_type,
            &work.collection_id,
            role,
            extension,
        )
        .ok()
    })
    .collect()
}

impl Pipeline {
    /// What an earlier attempt has stored and not recorded: finishing with it costs nothing.
    pub(super) async fn find_stored(
        &self,
        request: &ImageRequest<'_>,
        role: Role,
    ) -> Result<Option<StoredImage>, Failure> {
        if !request.may_be_stored {
            return Ok(None);
        }
        for format in [Format::Png, Format::Jpeg, Format::WebP] {
            let key = self.key(request, role, format)?;
            if let Some(found) = self.settings.storage.find(&key).await? {
                tracing::info!(object.key = %key, "an earlier attempt has stored this picture; it is used");
                let (provider, model) = self.who_drew(request);
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

    /// Provider and model of a picture that was found: those of its call, or else those that the package means.
    fn who_drew(&self, request: &ImageRequest<'_>) -> (String, String) {
        if let Some(call) = &request.open_call {
            return (call.provider.clone(), call.model.clone());
        }
        let work = request.work;
        match self.orders(work).unwrap_or_default().first() {
            Some(meant) => (meant.provider.name().to_owned(), meant.spec.model.clone()),
            None => {
                let provider = self.settings.providers.name_of(work.provider.as_deref());
                (provider.to_owned(), work.model.clone().unwrap_or_default())
            }
        }
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
        let give_up_at = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let content_type = piece.inspected.format.content_type();
            let bytes: PutPayload = piece.parts.iter().cloned().collect();
            let error: StorageError = match self.settings.storage.put(key, bytes, content_type).await {
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
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn key(&self, request: &ImageRequest<'_>, role: Role, format: Format) -> Result<ObjectKey, Failure> {
        let work = request.work;
        ObjectKey::for_job(
            self.namespace(request.reuses),
            request.job_id,
            &work.collection_type,
            &work.collection_id,
            role,
            format.extension(),
        )
        .map_err(|error| Failure::new(ErrorClass::InvalidPackage, error.to_string()))
    }
}
