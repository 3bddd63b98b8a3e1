//! Values from the configuration that go into HTTP headers.

use anyhow::anyhow;
use reqwest::header::HeaderValue;

/// `value` as a header that no log shows.
///
/// # Errors
/// Names `variable` and repeats nothing of the value.
pub(in crate::provider) fn header_value(variable: &str, value: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        anyhow!("{variable}: the value has characters that no HTTP header can carry; write it on one line, in plain ASCII")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
