//! The icon of a collection: what was drawn, made to fit 400 × 400 px from the bytes in hand.

use std::sync::Arc;

use async_trait::async_trait;

use super::studio::Piece;
use super::{ImageGenerator, ImageRequest, Progress, StoredImage, Studio, Unfinished};
use crate::measure::{self, Stage};
use crate::storage::Role;
use crate::work_package::ImageWork;

/// Draws a picture, shrinks it, marks and stores the result; keeps the original where settings say so.
pub struct Icon(pub Arc<Studio>);

#[async_trait]
impl ImageGenerator for Icon {
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
        if let Some(stored) = studio.find_stored(request, &orders, Role::Icon).await? {
            return Ok(stored);
        }
        let drawing = studio.draw(request, &orders, progress).await?;
        let preparing = async {
            let icon = studio.shrink(request, &drawing).await?;
            studio.mark(request, &drawing, icon).await
        };
        let (icon, mark) = measure::stage(Stage::Prepare, preparing).await?;
        progress.reached(80);
        let mut pieces = Vec::with_capacity(2);
        if studio.keeps_originals() {
            pieces.push(Piece::new(
                Role::Original,
                drawing.bytes.clone(),
                drawing.inspected,
            ));
        }
        // Last, so that a stored icon means that all is stored.
        pieces.push(icon);
        let stored = studio.store(request, &drawing, pieces, mark, progress);
        Ok(measure::stage(Stage::Store, stored).await?)
    }
}
