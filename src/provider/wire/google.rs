//! What Google's image services have in common: `generateContent`, and the errors of all its APIs.
//!
//! The Gemini API and Vertex AI take the same request and give the same answer; address and credentials differ
//! and are their providers' business.

mod errors;
mod generate;

pub(in crate::provider) use errors::class_of;
pub(in crate::provider) use generate::{DIALECT, cost, request};

/// Seeds are 32 bits wide. Source: Gemini API reference, "GenerationConfig", field `seed`.
pub(in crate::provider) const MAX_SEED: i64 = i32::MAX as i64;

#[cfg(test)]
pub(in crate::provider) mod tests;
