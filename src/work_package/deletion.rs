//! What a package says that asks for a picture to be deleted.

use super::fields::Fields;

/// Longest address, in characters.
pub(super) const MAX_URL_CHARS: usize = 2_048;

/// Which picture is to be deleted. At least one of both is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionWork {
    /// Row of `images`.
    pub image_id: Option<i32>,
    /// Its address, as the row of its job has it.
    pub image_url: Option<String>,
}

impl DeletionWork {
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Self {
        let work = Self {
            image_id: fields.note(|fields| fields.row_id("imageId")),
            image_url: fields.note(|fields| fields.image_url("imageUrl")),
        };
        fields.note(|fields| fields.one_of("imageId", "imageUrl"));
        work
    }
}
