//! What browsers send: the query of an address and the fields of a form. Bounded, and never taken for more than text.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A form of this page holds a token, a path or a reason at the most.
const MOST_BYTES: usize = 16 * 1024;

/// As a value of a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Fields by name; of several with one name the last.
pub(super) type Fields = HashMap<String, String>;

/// The fields of a query.
pub(super) fn query(query: Option<&str>) -> Fields {
    parse(query.unwrap_or_default().as_bytes())
}

/// The fields of a form. One that is too long has none.
pub(super) struct Form(pub(super) Fields);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let bytes = to_bytes(request.into_body(), MOST_BYTES).await;
        Ok(Self(parse(&bytes.unwrap_or_default())))
    }
}

fn parse(bytes: &[u8]) -> Fields {
    url::form_urlencoded::parse(bytes)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// A value that was filled in.
pub(super) fn filled<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields
        .get(name)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}

/// As a value of a query.
pub(super) fn encoded(value: &str) -> String {
    utf8_percent_encode(value, VALUE).to_string()
}
