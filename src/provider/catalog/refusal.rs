//! Sentences for what is not done, and how much of a package they repeat.

use crate::failure::ErrorClass;
use crate::http_client::mask;
use crate::provider::Unsupported;

/// What a person wrote is repeated up to this length.
const REPEATED_CHARS: usize = 80;

/// What a service does not do.
pub(in crate::provider) fn refused(message: String) -> Unsupported {
    Unsupported {
        class: ErrorClass::InvalidRequest,
        message,
    }
}

/// The sentence of a provider whose `variable` is not set.
pub(in crate::provider) fn not_configured(provider: &str, variable: &str) -> Unsupported {
    Unsupported {
        class: ErrorClass::Auth,
        message: format!(
            "{provider} is not configured on this service: {variable} is not set. Choose another image provider, or \
             have an operator set it."
        ),
    }
}

/// A field of the package is somebody else's text too: one line of it is repeated, and no more.
pub(in crate::provider) fn repeated(text: &str) -> String {
    let line = mask(text, &[], &[]);
    match line.char_indices().nth(REPEATED_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
