use super::theme::{Motif, Theme};
use super::*;
use crate::imaging::inspect;

fn spec(image_type: ImageType, size: Option<&str>) -> ImageSpec {
    ImageSpec {
        image_type,
        size: size.map(str::to_owned),
        ..ImageSpec::default()
    }
}

async fn drawn(prompt: &str, spec: &ImageSpec) -> DrawnImage {
    let checked = Builtin.check(spec).unwrap();
    let prompt = Prompt::new(prompt.to_owned());
    let call = Call::unwatched(&prompt, &checked, tokio::time::Instant::now());
    Builtin.draw(&call).await.unwrap()
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_and_a_seed_gives_others() {
    let plain = spec(ImageType::Collection, Some("300x200"));
    let first = drawn("A quiet harbour", &plain).await;
    assert_eq!(first.source, DigitalSource::Algorithm);
    assert_eq!(drawn("A quiet harbour", &plain).await.bytes, first.bytes);
    let seeded = ImageSpec {
        seed: Some(7),
        ..plain.clone()
    };
    assert_ne!(drawn("A quiet harbour", &seeded).await.bytes, first.bytes);
    assert_ne!(drawn("A loud harbour", &plain).await.bytes, first.bytes);
}

#[tokio::test]
async fn an_icon_is_a_badge_on_transparent_ground_and_a_collection_image_fills_its_frame() {
    let icon = drawn("Better parks", &spec(ImageType::Icon, None)).await;
    let inspected = inspect(&icon.bytes).unwrap();
    assert_eq!((inspected.width_px, inspected.height_px), (1024, 1024));
    let pixels = image::load_from_memory(&icon.bytes).unwrap().into_rgba8();
    assert_eq!(
        (pixels.get_pixel(0, 0).0[3], pixels.get_pixel(512, 512).0[3]),
        (0, 255)
    );

    let wide = drawn("Better parks", &spec(ImageType::Collection, Some("auto"))).await;
    let inspected = inspect(&wide.bytes).unwrap();
    assert_eq!((inspected.width_px, inspected.height_px), (1536, 1024));
    assert_eq!(
        image::load_from_memory(&wide.bytes).unwrap().color(),
        image::ColorType::Rgb8
    );
}

#[test]
fn every_motif_fills_every_shape_of_frame() {
    for motif in Motif::ALL {
        for (width, height) in [(64, 65), (700, 64), (64, 700), (301, 200)] {
            for palette in [palette::PALETTES[0], palette::PALETTES[9]] {
                let theme = Theme {
                    motif,
                    palette,
                    initials: "ÞÐ".to_owned(),
                };
                let mut canvas = Canvas::new(width, height);
                scene::paint(&mut canvas, &theme, &mut Random::from_parts(&[b"frame"]));
                let holes = canvas
                    .pixmap
                    .pixels()
                    .iter()
                    .filter(|pixel| !pixel.is_opaque())
                    .count();
                assert_eq!(holes, 0, "{motif:?} {width}x{height}");
            }
        }
        for seed in 0..8_u8 {
            let theme = Theme {
                motif,
                palette: palette::PALETTES[3],
                initials: "W".to_owned(),
            };
            let mut canvas = Canvas::new(96, 96);
            badge::paint(&mut canvas, &theme, &mut Random::from_parts(&[&[seed]]));
            let filled = canvas
                .pixmap
                .pixels()
                .iter()
                .filter(|pixel| pixel.is_opaque())
                .count();
            assert!(
                filled > 96 * 96 / 2,
                "{motif:?}: the badge covers {filled} pixels"
            );
            let edge = |x: usize, y: usize| canvas.pixmap.pixels()[y * 96 + x].alpha();
            assert!((0..96).all(|at| edge(at, 0) < 128
                && edge(0, at) < 128
                && edge(at, 95) < 128
                && edge(95, at) < 128));
        }
    }
}

#[test]
fn a_prompt_in_an_unknown_script_is_drawn_without_initials() {
    for prompt in ["未来の都市", "", "🎉"] {
        let png = picture(prompt, None, 200, 100, false).unwrap();
        assert!(inspect(&png).is_ok(), "{prompt}");
    }
}

#[test]
fn what_is_not_offered_is_refused_before_drawing() {
    for size in ["64x64", "2048x2048", "64x2048", "auto"] {
        assert!(
            Builtin.check(&spec(ImageType::Icon, Some(size))).is_ok(),
            "{size}"
        );
    }
    for size in [
        "63x64",
        "2049x64",
        "16:9",
        "x",
        "64x",
        "+64x64",
        "99999999999x64",
        "64X64",
        "64x64x64",
        "",
    ] {
        let refused = Builtin.check(&spec(ImageType::Icon, Some(size))).unwrap_err();
        let expected = format!(
            "Unsupported image size for builtin: {size}; use auto or WIDTHxHEIGHT with both edges from 64 to 2048"
        );
        assert_eq!(
            (refused.class, refused.message),
            (ErrorClass::InvalidRequest, expected)
        );
    }
    let with_quality = ImageSpec {
        quality: Some("low".to_owned()),
        ..ImageSpec::default()
    };
    let refused = Builtin.check(&with_quality).unwrap_err();
    assert_eq!(refused.message, "Image quality is not supported for builtin");
    let with_model = ImageSpec {
        model: Some("gpt-image-2".to_owned()),
        ..ImageSpec::default()
    };
    let refused = Builtin.check(&with_model).unwrap_err();
    assert_eq!(
        refused.message,
        "Unsupported image model for builtin: gpt-image-2; use builtin-1"
    );
}

#[tokio::test]
async fn a_badge_stands_on_what_is_asked_for() {
    for (background, is_see_through) in [
        (None, true),
        (Some(Background::Transparent), true),
        (Some(Background::Opaque), false),
    ] {
        let mut asked = spec(ImageType::Icon, Some("64x64"));
        asked.options.background = background;
        let checked = Builtin.check(&asked).unwrap();
        let prompt = Prompt::new("a paper boat".into());
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        let drawn = Builtin.draw(&Call::unwatched(&prompt, &checked, deadline)).await;
        let picture = image::load_from_memory(&drawn.unwrap().bytes).unwrap();
        assert_eq!(picture.color().has_alpha(), is_see_through, "{background:?}");
    }
}

#[test]
fn what_it_cannot_draw_is_refused() {
    let mut scene = spec(ImageType::Collection, None);
    scene.options.background = Some(Background::Transparent);
    assert_eq!(
        Builtin.check(&scene).unwrap_err().message,
        "Unsupported image background for builtin: transparent; use opaque, or leave it out"
    );
    let mut jpeg = spec(ImageType::Icon, None);
    jpeg.options.output_format = Some(OutputFormat::Jpeg);
    assert_eq!(
        Builtin.check(&jpeg).unwrap_err().message,
        "Unsupported image output format for builtin: jpeg; use png, or leave it out"
    );
}
