//! What another provider is asked for when the one that was meant cannot draw.

use crate::provider::{CheckedSpec, ImageProvider, ImageSpec};

/// The same picture, as `provider` can be asked for it: its own default model, and the size that has the shape
/// which was asked for. Background, moderation and format stay as they are: a picture on white, in another format or
/// refused by a stricter service is not what was asked for. `None` where it has no such shape or option, or is not
/// configured.
#[must_use]
pub fn translate(provider: &dyn ImageProvider, spec: &ImageSpec) -> Option<CheckedSpec> {
    let sizes = match spec.size.as_deref().filter(|size| !size.is_empty()) {
        None => vec![None],
        Some(size) => candidates(size).into_iter().map(Some).collect(),
    };
    // A quality is a word of one provider's own, and no reason to go without a picture.
    for quality in [spec.quality.clone(), None] {
        for size in &sizes {
            let asked = ImageSpec {
                model: None,
                size: size.clone(),
                quality: quality.clone(),
                ..spec.clone()
            };
            if let Ok(checked) = provider.check(&asked) {
                return Some(checked);
            }
        }
    }
    None
}

/// Shapes that providers have names or sizes for: width and height, and sizes in pixels, the most usual first.
const SHAPES: [(u32, u32, &[&str]); 7] = [
    (1, 1, &["1024x1024"]),
    (16, 9, &["2048x1152", "1792x1024", "1344x768"]),
    (9, 16, &["1152x2048", "1024x1792", "768x1344"]),
    (3, 2, &["1536x1024"]),
    (2, 3, &["1024x1536"]),
    (4, 3, &["1280x960", "1536x1024"]),
    (3, 4, &["960x1280", "1024x1536"]),
];

/// The size as it is, then other ways of asking for the nearest shape.
fn candidates(size: &str) -> Vec<String> {
    let mut all = vec![size.to_owned()];
    let edges = size.split_once(['x', ':']).and_then(|(width, height)| {
        let edges: (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
        (edges.0 > 0.0 && edges.1 > 0.0).then_some(edges)
    });
    let Some((width, height)) = edges else {
        return all;
    };
    let distance = |shape: &(u32, u32, &[&str])| {
        (f64::from(shape.0) / f64::from(shape.1) / (width / height))
            .ln()
            .abs()
    };
    let nearest = SHAPES
        .iter()
        .min_by(|one, other| distance(one).total_cmp(&distance(other)));
    if let Some((width, height, pixels)) = nearest {
        all.push(format!("{width}:{height}"));
        all.extend(pixels.iter().map(|size| (*size).to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work_package::{Background, OutputFormat};

    #[test]
    fn a_size_is_asked_for_in_every_way_that_has_its_shape() {
        assert_eq!(candidates("1024x1024"), ["1024x1024", "1:1", "1024x1024"]);
        assert_eq!(
            candidates("16:9"),
            ["16:9", "16:9", "2048x1152", "1792x1024", "1344x768"]
        );
        assert_eq!(candidates("1792x1024")[1], "16:9");
        assert_eq!(candidates("auto"), ["auto"]);
        assert_eq!(candidates("0x0"), ["0x0"]);
    }

    #[test]
    fn an_option_that_another_provider_does_not_have_leaves_it_out() {
        use crate::provider::services::builtin::Builtin;
        let mut spec = ImageSpec {
            model: Some("gpt-image-2.5-flare".into()),
            size: Some("1024x1024".into()),
            quality: Some("high".into()),
            ..ImageSpec::default()
        };
        spec.options.background = Some(Background::Transparent);
        let badge = translate(&Builtin, &spec).unwrap();
        assert_eq!((badge.quality, badge.options), (None, spec.options));
        spec.options.output_format = Some(OutputFormat::Webp);
        assert_eq!(translate(&Builtin, &spec), None);
    }
}
