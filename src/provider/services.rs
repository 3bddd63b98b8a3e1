//! One file or folder for each provider, and all that is known of it.

pub mod automatic1111;
pub mod azure_foundry;
pub mod azure_openai;
pub mod bedrock;
pub mod bfl;
pub mod blank;
pub mod builtin;
pub mod comfyui;
pub mod fal;
pub mod gemini;
pub mod imagen;
pub mod openai;
pub mod openai_compatible;
pub mod openrouter;
pub mod qwen;
pub mod replicate;
pub mod seedream;
pub mod stability;
pub mod xai;
