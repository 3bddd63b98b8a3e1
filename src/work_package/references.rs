//! Pictures that a picture is to be made from: where they are, and how that is written.

use std::fmt;

use serde_json::Value;
use url::Url;

/// So many a package may name. Models take as many, or fewer.
pub const MAX_REFERENCE_IMAGES: usize = 16;
/// Folder of everything that this service stores.
pub const OBJECT_ROOT: &str = "ypGenAi";
/// Longest address or key, in bytes. Signed addresses are long.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// Where a picture is that another is to be made from.
#[derive(Clone, PartialEq, Eq)]
pub enum ReferenceImage {
    /// An address, which may be signed: no more than its host is ever repeated.
    Url(Url),
    /// The key of an object that this service has stored.
    Object(String),
}

impl ReferenceImage {
    /// Reads one; `None` where it is neither an address nor a key.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = value.as_str().filter(|text| text.len() <= MAX_BYTES)?;
        if is_object_key(text) {
            return Some(Self::Object(text.to_owned()));
        }
        // What `Url` takes out or mends would not be what the package says.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let names_host = !rest.starts_with(['/', '\\', '?', '#']);
        let url = Url::parse(text).ok().filter(|_| is_plain && names_host)?;
        let is_open = url.username().is_empty() && url.password().is_none();
        (is_open && url.has_host()).then_some(Self::Url(url))
    }
}

impl fmt::Display for ReferenceImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.host_str().unwrap_or_default()),
            Self::Object(key) => f.write_str(key),
        }
    }
}

impl fmt::Debug for ReferenceImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReferenceImage({self})")
    }
}

/// Whether this can be the key of an object of this service: nothing in it leaves its folder, and no part begins with a dot.
fn is_object_key(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let inside = text
        .strip_prefix(OBJECT_ROOT)
        .and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|inside| inside.split('/').all(is_part) && !inside.contains(".."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_or_a_key_is_read_and_nothing_else() {
        for (text, shown) in [
            ("https://cdn.example.org/a.png?sig=hunter2", "cdn.example.org"),
            ("http://127.0.0.1:9/a.png", "127.0.0.1"),
            ("ypGenAi/group/7/0a1b-icon.png", "ypGenAi/group/7/0a1b-icon.png"),
        ] {
            let read = ReferenceImage::read(&json!(text)).unwrap();
            assert_eq!(
                (read.to_string(), format!("{read:?}")),
                (shown.into(), format!("ReferenceImage({shown})"))
            );
        }
        let long = format!("https://h/{}", "a".repeat(MAX_BYTES));
        for text in [
            "",
            "a.png",
            "ypGenAi",
            "ypGenAi/",
            "ypGenAi//a.png",
            "ypGenAi/../secret.png",
            "ypGenAi/a/../../secret.png",
            "ypGenAi/.probe",
            "ypGenAi/a..png",
            "ypGenAi/a%2e.png",
            "ypGenAi/a\\b.png",
            "/ypGenAi/a.png",
            "other/ypGenAi/a.png",
            "ypGenAiX/a.png",
            "https://",
            "https:///a.png",
            "https://user:hunter2@example.org/a.png",
            "https://exam ple.org/a.png",
            "https:\\\\example.org\\a.png",
            " https://example.org/a.png",
            "ftp://example.org/a.png",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            &long,
        ] {
            assert_eq!(ReferenceImage::read(&json!(text)), None, "{text:.80}");
        }
        for other in [
            json!(1),
            json!(null),
            json!({"url": "https://h/a"}),
            json!(["https://h/a"]),
        ] {
            assert_eq!(ReferenceImage::read(&other), None);
        }
    }
}
