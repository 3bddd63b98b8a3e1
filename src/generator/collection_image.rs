//! The picture of a collection: delivered as it was drawn.

use std::sync::Arc;

use async_trait::async_trait;

use super::studio::Piece;
use super::{ImageGenerator, ImageRequest, Progress, StoredImage, Studio, Unfinished};
use crate::measure::{self, Stage};
use crate::storage::Role;
use crate::work_package::ImageWork;

/// Draws, marks and stores one picture.
pub struct CollectionImage(pub Arc<Studio>);

#[async_trait]
impl ImageGenerator for CollectionImage {
    fn providers_of(&self, work: &ImageWork) -> Vec<&'static str> {
        self.0.providers_of(work)
    }

    async fn generate(
        &self,
        request: &ImageRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<StoredImage, Unfinished> {
        let studio = &self.0;
        let orders = studio.orders(request.work)?;
        if let Some(stored) = studio.find_stored(request, &orders, Role::Picture).await? {
            return Ok(stored);
        }
        let drawing = studio.draw(request, &orders, progress).await?;
        let picture = Piece::new(Role::Picture, drawing.bytes.clone(), drawing.inspected);
        let marking = studio.mark(request, &drawing, picture);
        let (picture, mark) = measure::stage(Stage::Prepare, marking).await?;
        progress.reached(80);
        let stored = studio.store(request, &drawing, vec![picture], mark, progress);
        Ok(measure::stage(Stage::Store, stored).await?)
    }
}
