//! Object keys: where the pictures of a job lie within the store. No I/O.

use std::fmt;

use uuid::Uuid;

use crate::failure::{ErrorClass, Failure};

pub(super) use crate::work_package::OBJECT_ROOT as ROOT;

/// What an object is to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The picture itself, as drawn.
    Picture,
    /// The small picture made from it.
    Icon,
    /// The picture that an icon was made from, bytes untouched.
    Original,
}

impl Role {
    fn suffix(self) -> &'static str {
        match self {
            Self::Picture => "",
            Self::Icon => "-icon",
            Self::Original => "-original",
        }
    }
}

/// `ypGenAi/<collection type>/<collection id>/<uuid>[-icon|-original].<extension>`.
///
/// Made of ASCII letters, digits, `_`, `-` and `.` alone, so it reads the same in a URL, a path and a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The one key that this job's picture in this role ever has: a repeated upload overwrites itself, and
    /// whoever takes the job over can look whether the picture is there.
    ///
    /// `namespace` is drawn once per database, so that two installations that share a bucket and count their
    /// jobs alike do not overwrite each other. `format_extension` comes without a dot, in lower case.
    ///
    /// # Errors
    /// [`InvalidKeyPart`] (never retried) when a part could leave its folder or make another key than meant.
    pub fn for_job(
        namespace: Uuid,
        job_id: i32,
        collection_type: &str,
        collection_id: &str,
        role: Role,
        format_extension: &str,
    ) -> Result<Self, InvalidKeyPart> {
        check("collectionType", collection_type, 64, |c| {
            c.is_ascii_alphanumeric() || c == '_' || c == '-'
        })?;
        check("collectionId", collection_id, 64, |c| {
            c.is_ascii_alphanumeric() || c == '_' || c == '-'
        })?;
        check("format extension", format_extension, 8, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit()
        })?;
        let uuid = Uuid::new_v5(&namespace, job_id.to_string().as_bytes());
        let suffix = role.suffix();
        Ok(Self(format!(
            "{ROOT}/{collection_type}/{collection_id}/{uuid}{suffix}.{format_extension}"
        )))
    }

    /// A key as it was written down; `None` where it is none of this service's.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let is_ours =
            text.starts_with(&format!("{ROOT}/")) && !text.contains("..") && text.chars().all(is_safe);
        is_ours.then(|| Self(text.to_owned()))
    }

    /// One as it usually is, and the longest that a package can ask for: to see whether others have room for them.
    pub(super) fn examples() -> [Self; 2] {
        let long = "x".repeat(64);
        [("community", "1234567"), (&long, &long)].map(|(collection_type, collection_id)| {
            let key = Self::for_job(Uuid::nil(), 0, collection_type, collection_id, Role::Icon, "jpeg");
            key.expect("its parts are such as may stand in one")
        })
    }

    /// A key that somebody else has written; `None` where it is none that [`ObjectKey::for_job`] can make.
    #[must_use]
    pub fn read_strictly(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |part: &&str| !part.is_empty() && !part.starts_with('.');
        (parts.len() == 4 && parts.iter().all(is_name)).then(|| Self::read(text))?
    }

    /// This key and all others that objects of the same picture can have, in these formats.
    pub fn of_same_picture<'a>(&'a self, extensions: &'a [&str]) -> impl Iterator<Item = Self> + 'a {
        let name = self.0.rsplit_once('.').map_or(&*self.0, |(name, _)| name);
        let roles = [Role::Picture, Role::Icon, Role::Original];
        let suffixed = roles.into_iter().filter(|role| *role != Role::Picture);
        let uuid = suffixed
            .filter_map(|role| name.strip_suffix(role.suffix()))
            .next()
            .unwrap_or(name);
        let others = roles.into_iter().flat_map(move |role| {
            let suffix = role.suffix();
            extensions
                .iter()
                .map(move |extension| Self(format!("{uuid}{suffix}.{extension}")))
        });
        std::iter::once(self.clone()).chain(others.filter(move |other| other != self))
    }

    /// A key for a moment, to see whether the store takes objects.
    pub(super) fn probe() -> Self {
        Self(format!("{ROOT}/.probe-{}", Uuid::new_v4()))
    }

    /// The one probe that stays where objects cannot be removed: it overwrites itself.
    pub(super) fn standing_probe() -> Self {
        Self(format!("{ROOT}/.probe"))
    }

    /// As it is written, without a slash in front.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part that may not stand in an object key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part} {found:?} cannot be part of an object's name; it takes 1 to {max_length} letters, digits, _ or -"
)]
pub struct InvalidKeyPart {
    part: &'static str,
    /// Cut to a length that fits a log line.
    found: String,
    max_length: usize,
}

impl From<InvalidKeyPart> for Failure {
    fn from(invalid: InvalidKeyPart) -> Self {
        Failure::new(ErrorClass::InvalidPackage, invalid.to_string())
    }
}

fn check(
    part: &'static str,
    found: &str,
    max_length: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<(), InvalidKeyPart> {
    if (1..=max_length).contains(&found.len()) && found.chars().all(allowed) {
        return Ok(());
    }
    Err(InvalidKeyPart {
        part,
        found: found.chars().take(80).collect(),
        max_length,
    })
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;

    const NAMESPACE: Uuid = Uuid::from_u128(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);

    fn key(
        collection_type: &str,
        collection_id: &str,
        role: Role,
        extension: &str,
    ) -> Result<ObjectKey, InvalidKeyPart> {
        ObjectKey::for_job(NAMESPACE, 42, collection_type, collection_id, role, extension)
    }

    #[test]
    fn keys_have_the_form_that_clients_know() {
        // python3 -c 'import uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, "42"))'
        let uuid = "7c411b5e-9d3f-50b5-9c28-62096e41c4ed";
        for (role, extension, expected) in [
            (Role::Picture, "png", format!("ypGenAi/domain/1/{uuid}.png")),
            (Role::Icon, "webp", format!("ypGenAi/domain/1/{uuid}-icon.webp")),
            (
                Role::Original,
                "jpg",
                format!("ypGenAi/domain/1/{uuid}-original.jpg"),
            ),
        ] {
            assert_eq!(key("domain", "1", role, extension).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn of_a_picture_all_keys_are_known_from_one() {
        let root = "ypGenAi/domain/1/7c41";
        for one in ["", "-icon", "-original"] {
            let key = ObjectKey::read(&format!("{root}{one}.jpg")).unwrap();
            let mut all: Vec<String> = key
                .of_same_picture(&["png", "jpg"])
                .map(|key| key.to_string())
                .collect();
            assert_eq!(all[0], key.as_str());
            all.sort();
            let expected = [
                "-icon.jpg",
                "-icon.png",
                "-original.jpg",
                "-original.png",
                ".jpg",
                ".png",
            ];
            assert_eq!(all, expected.map(|rest| format!("{root}{rest}")));
        }
    }

    #[test]
    fn of_keys_that_others_have_written_only_those_are_read_that_a_job_can_have() {
        assert!(ObjectKey::read_strictly("ypGenAi/domain/1/7c41-icon.png").is_some());
        for text in [
            "",
            "ypGenAi",
            "ypGenAi/.probe",
            "ypGenAi/domain/1",
            "ypGenAi/domain/1/",
            "ypGenAi/domain//a.png",
            "ypGenAi/domain/./a.png",
            "ypGenAi/domain/../a.png",
            "ypGenAi/domain/1/.a.png",
            "ypGenAi/domain/1/2/a.png",
            "ypGenAi/domain/1/a.png?x=1",
            "ypGenAi/domain/1/a%2e.png",
            "ypGenAi/domain/1/a\0.png",
            "/ypGenAi/domain/1/a.png",
            "uploads/domain/1/a.png",
        ] {
            assert_eq!(ObjectKey::read_strictly(text), None, "{text}");
        }
    }

    #[test]
    fn a_job_has_another_key_in_another_database_and_another_job_has_another_key() {
        let of = |namespace, job_id| {
            ObjectKey::for_job(namespace, job_id, "group", "7", Role::Picture, "png").unwrap()
        };
        let other = Uuid::from_u128(1);
        assert_eq!(of(NAMESPACE, 1), of(NAMESPACE, 1));
        assert_ne!(of(NAMESPACE, 1), of(other, 1));
        assert_ne!(of(NAMESPACE, 1), of(NAMESPACE, 2));
    }

    #[test]
    fn parts_that_could_leave_their_folder_are_refused() {
        let long = "a".repeat(65);
        for hostile in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            "../../etc",
            "a\\b",
            "%2e%2e",
            "a b",
            "a\0b",
            "a\nb",
            "ä",
            "a.b",
            &long,
        ] {
            let refused = key(hostile, "1", Role::Picture, "png").unwrap_err();
            assert!(refused.to_string().starts_with("collectionType"), "{refused}");
            let refused = key("group", hostile, Role::Picture, "png").unwrap_err();
            assert!(refused.to_string().starts_with("collectionId"), "{refused}");
            let refused = key("group", "1", Role::Picture, hostile).unwrap_err();
            assert!(refused.to_string().starts_with("format extension"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_one_file_three_folders_deep(
            collection_type in ".{0,70}", collection_id in ".{0,70}", extension in ".{0,10}", job_id: i32,
        ) {
            let made = ObjectKey::for_job(NAMESPACE, job_id, &collection_type, &collection_id, Role::Icon, &extension);
            if let Ok(key) = made {
                let path = Path::parse(key.as_str()).unwrap();
                prop_assert_eq!(path.as_ref(), key.as_str());
                prop_assert_eq!(path.parts().count(), 4);
            }
        }

        #[test]
        fn every_name_that_packages_may_carry_is_accepted(
            collection_type in "[A-Za-z0-9_-]{1,64}", collection_id in "[A-Za-z0-9_-]{1,64}",
        ) {
            prop_assert!(key(&collection_type, &collection_id, Role::Picture, "png").is_ok());
        }
    }
}
