//! A number in a path, such as that of a job. What is none is no address; the library would repeat what was asked for, and its own words.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

/// The number that a path ends with, or has in its middle.
pub(super) struct Number(pub(super) i32);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let number = path.ok().and_then(|Path(text)| text.parse().ok());
        number
            .map(Self)
            .ok_or((StatusCode::NOT_FOUND, "There is nothing at this address.\n"))
    }
}
