//! What is asked of one provider.

use std::sync::Arc;

use crate::provider::{CheckedSpec, ImageProvider};

/// Who is to draw, and what exactly.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) provider: Arc<dyn ImageProvider>,
    pub(super) spec: CheckedSpec,
}
