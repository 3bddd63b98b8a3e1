//! What services share: how they are asked, and what their answers mean whoever they are.

pub mod account;
pub(in crate::provider) mod body;
pub(in crate::provider) mod direct;
pub(in crate::provider) mod error_body;
pub(in crate::provider) mod errors;
pub(in crate::provider) mod fetching;
pub(in crate::provider) mod google;
pub(in crate::provider) mod header;
pub(in crate::provider) mod incident;
pub(in crate::provider) mod json;
pub(in crate::provider) mod key;
pub(crate) mod keyed;
#[cfg(test)]
mod mutated;
pub(in crate::provider) mod openai_images;
pub(in crate::provider) mod picture;
pub(in crate::provider) mod polling;
pub(in crate::provider) mod prompt;
pub(in crate::provider) mod reading;
pub(in crate::provider) mod references;
pub(in crate::provider) mod self_hosted;
pub(in crate::provider) mod service;
pub(in crate::provider) mod waits;
