//! What services share: how they are asked, and what their answers mean whoever they are.

pub mod account;
pub mod error_body;
pub(in crate::provider) mod google;
pub(in crate::provider) mod header;
pub(in crate::provider) mod incident;
pub(in crate::provider) mod key;
pub mod openai_images;
pub(in crate::provider) mod picture_text;
pub(in crate::provider) mod polling;
pub(in crate::provider) mod prompt;
pub(in crate::provider) mod self_hosted;
pub mod waits;
