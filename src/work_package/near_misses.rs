//! Fields of a package that nobody reads, and that look like ones that are.

use serde_json::{Map, Value};

use super::FIELDS;

/// A field that is probably meant to be another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// As the package writes it.
    pub found: String,
    /// As it would be read.
    pub meant: &'static str,
}

/// All of a package. What belongs to somebody else is left alone: names that look like nothing here, and names beside the field that they
/// look like.
pub(super) fn in_package(object: &Map<String, Value>) -> Vec<NearMiss> {
    let unknown = object.keys().filter(|name| !FIELDS.contains(&name.as_str()));
    unknown
        .filter_map(|name| {
            let meant = meant(name)?;
            let found = name.clone();
            object
                .get(meant)
                .is_none_or(Value::is_null)
                .then_some(NearMiss { found, meant })
        })
        .collect()
}

/// The field that a name is probably meant to be.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace(['_', '-', ' '], "").to_ascii_lowercase();
    let found = plain(name);
    // A short name looks like too many others.
    let slips = match found.chars().count() {
        0..=3 => 0,
        4..=6 => 1,
        _ => 2,
    };
    FIELDS
        .into_iter()
        .map(|field| (strsim::osa_distance(&found, &plain(field)), field))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, field)| field)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_nearly_a_field_is_told_with_the_one_that_was_meant() {
        for (name, expected) in [
            ("imageprovider", Some("imageProvider")),
            ("image_provider", Some("imageProvider")),
            ("imageProvder", Some("imageProvider")),
            ("imageModell", Some("imageModel")),
            ("promt", Some("prompt")),
            ("JobID", Some("jobId")),
            ("userid", Some("userId")),
            ("reply-to", Some("replyTo")),
            ("dead_line", Some("deadline")),
            ("url", None),
            ("user", None),
            ("tenant", None),
            ("pushedAt", None),
            ("createdAt", None),
            ("name", None),
            ("size", None),
        ] {
            let package = json!({ name: 1 });
            let found = in_package(package.as_object().unwrap());
            let meant = found.first().map(|near| near.meant);
            assert_eq!(
                (meant, found.len()),
                (expected, usize::from(expected.is_some())),
                "{name}"
            );
        }
        let both = json!({"imageprovider": "x", "imageProvider": "y", "prompt": "z"});
        assert_eq!(in_package(both.as_object().unwrap()), []);
    }
}
