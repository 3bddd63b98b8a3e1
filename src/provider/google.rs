//! What Google's image services have in common: `generateContent`, and the errors of all its APIs.
//!
//! The Gemini API and Vertex AI take the same request and give the same answer; address and credentials differ
//! and are their providers' business.

mod errors;
mod generate;

pub(super) use errors::explain;
pub(super) use generate::{picture_of, request};

#[cfg(test)]
pub(super) mod tests;
