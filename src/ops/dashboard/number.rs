//! A number in a path, such as that of a job. What is none is no address: the library would repeat what was asked for, and its own words.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::{Site, Visitor, layout};

/// The number that a path ends with, or has in its middle.
pub(super) struct Number(pub(super) i32);

impl FromRequestParts<Arc<Site>> for Number {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Response> {
        let path = Path::<String>::from_request_parts(parts, site).await;
        if let Some(number) = path.ok().and_then(|Path(text)| text.parse().ok()) {
            return Ok(Self(number));
        }
        let why = "There is nothing at this address: a number from 1 to 2147483647 stands in it.";
        Err(match parts.extensions.get::<Visitor>() {
            Some(visitor) => layout::not_found(site, visitor, why).await,
            None => StatusCode::NOT_FOUND.into_response(),
        })
    }
}
