//! Named choices of provider, model, size and quality that a producer makes for its users.

use super::ImageWork;

#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    provider: &'static str,
    model: &'static str,
    size: &'static str,
    quality: &'static str,
    image_type: &'static str,
    contexts: &'static [&'static str],
}

const PROFILES: [Profile; 2] = [
    Profile {
        name: "aoiIcon",
        provider: "openai",
        model: "gpt-image-2",
        size: "1024x1024",
        quality: "low",
        image_type: "icon",
        contexts: &["aoiIconPublic", "aoiIconAdmin"],
    },
    Profile {
        name: "regularAiImage",
        provider: "openai",
        model: "gpt-image-2",
        size: "2048x1152",
        quality: "medium",
        image_type: "logo",
        contexts: &["regularAiImage"],
    },
];

pub(super) fn names() -> [&'static str; PROFILES.len()] {
    PROFILES.map(|profile| profile.name)
}

/// Lets a profile decide provider, model, size and quality, whatever the package says of them.
///
/// # Errors
/// A sentence when the profile is unknown, or not meant for this context or image type.
pub(super) fn apply(
    name: &str,
    context: Option<&str>,
    image_type: Option<&str>,
    work: &mut ImageWork,
) -> Result<(), String> {
    let profile = PROFILES
        .iter()
        .find(|profile| profile.name == name)
        .ok_or_else(|| format!("Unsupported image generation profile: {name}"))?;
    if let Some(context) = context
        && !profile.contexts.contains(&context)
    {
        return Err(format!(
            "Image generation profile {name} is not allowed for {context}"
        ));
    }
    if image_type.is_some_and(|image_type| image_type != profile.image_type) {
        return Err(format!(
            "Image generation profile {name} only supports {} images",
            profile.image_type
        ));
    }
    work.provider = Some(profile.provider.to_owned());
    work.model = Some(profile.model.to_owned());
    work.size = Some(profile.size.to_owned());
    work.quality = Some(profile.quality.to_owned());
    Ok(())
}
