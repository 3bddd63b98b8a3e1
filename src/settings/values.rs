//! What values mean that more than one module reads. Each error says what was found and what is accepted.

use url::Url;

pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" was found; true and false are accepted")),
    }
}

pub(crate) fn http_url(text: &str) -> Result<Url, String> {
    let accepted = "an http or https URL is accepted, such as https://example.org/v1";
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => Err(format!(
            "a URL with a user or password in it was found; {accepted}"
        )),
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(format!("\"{text}\" was found; {accepted}")),
    }
}
