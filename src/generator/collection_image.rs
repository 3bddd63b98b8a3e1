//! The picture of a collection: delivered as it was drawn.

use std::sync::Arc;

use async_trait::async_trait;

use super::studio::Piece;
use super::{ImageGenerator, ImageRequest, Progress, StoredImage, Studio, Unfinished};
use crate::storage::Role;

/// Draws, marks and stores one picture.
pub struct CollectionImage(pub Arc<Studio>);

#[async_trait]
impl ImageGenerator for CollectionImage {
    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished> {
        let studio = &self.0;
        let order = studio.order(request)?;
        if let Some(stored) = studio.find_stored(request, &order, Role::Picture).await? {
            return Ok(stored);
        }
        let drawing = studio.draw(request, &order, progress).await?;
        let picture = Piece::new(Role::Picture, drawing.bytes.clone(), drawing.inspected);
        let (picture, mark) = studio.mark(request, &order, &drawing, picture).await?;
        progress.reached(80);
        let stored = studio.store(request, &order, &drawing, vec![picture], mark, progress);
        Ok(stored.await?)
    }
}
