//! Which model draws for which name, and where it is.

use super::*;
use crate::provider::suite::{asking, nowhere};

fn check(model: &str, size: &str, quality: &str) -> Result<CheckedSpec, Unsupported> {
    provider(&nowhere()).check(&asking(model, size, quality))
}

#[test]
fn a_name_that_has_ended_means_its_successor() {
    for (asked, drawn) in [
        ("", GEMINI),
        (GEMINI, GEMINI),
        ("imagen-4.0-generate-001", GEMINI),
        ("imagen-4.0-generate-preview-06-06", GEMINI),
        ("imagen-4.0-fast-generate-001", GEMINI),
        ("imagen-4.0-ultra-generate-001", GEMINI),
        ("imagen-3.0-generate-002", GEMINI),
        ("imagen-3.0-generate-001", GEMINI),
        ("imagen-3.0-fast-generate-001", GEMINI),
        (PRIVATE, PRIVATE),
    ] {
        let checked = check(asked, "", "").unwrap();
        assert_eq!(
            (&*checked.model, checked.size.as_deref()),
            (drawn, Some("16:9")),
            "{asked}"
        );
    }
}

#[test]
fn until_its_end_a_name_means_itself() {
    let provider = provider(&nowhere());
    let spec = ImageSpec {
        model: Some("imagen-4.0-generate-001".into()),
        ..ImageSpec::default()
    };
    let on = |day: &str| provider.replaced(&spec, day.parse().unwrap()).model.unwrap();
    assert_eq!(on("2026-08-16"), "imagen-4.0-generate-001");
    assert_eq!(on("2026-08-17"), GEMINI);
}

#[test]
fn each_replaced_name_is_told_once() {
    let provider = provider(&nowhere());
    let today = "2026-11-22".parse().unwrap();
    for model in [
        "imagen-4.0-generate-001",
        "imagen-4.0-generate-001",
        "imagen-3.0-generate-001",
    ] {
        let spec = ImageSpec {
            model: Some(model.into()),
            ..ImageSpec::default()
        };
        provider.replaced(&spec, today);
    }
    assert_eq!(provider.told.lock().unwrap().len(), 2);
}

#[test]
fn sizes_of_old_configurations_are_still_taken() {
    for (size, wire) in [
        ("1024x1024", "1:1@1K"),
        ("2048x2048", "1:1@2K"),
        ("896x1280", "2:3@1K"),
        ("1408x768", "16:9@1K"),
        ("2816x1536", "16:9@2K"),
        ("800x600", "4:3@1K"),
        ("16:9", "16:9"),
    ] {
        let checked = check("imagen-4.0-generate-001", size, "").unwrap();
        assert_eq!(checked.size.as_deref(), Some(wire), "{size}");
    }
    assert_eq!(
        check(PRIVATE, "1792x1024", "").unwrap().size.as_deref(),
        Some("16:9@2K")
    );
    let icon = ImageSpec {
        image_type: crate::work_package::ImageType::Icon,
        model: Some(PRIVATE.into()),
        ..ImageSpec::default()
    };
    let checked = provider(&nowhere()).check(&icon).unwrap();
    assert_eq!(checked.size.as_deref(), Some("1:1"));
}

#[test]
fn what_the_models_cannot_do_is_refused_with_what_would_be_right() {
    for (model, size, quality, message) in [
        ("", "16:9", "low", "Image quality is not supported for imagen"),
        (
            PRIVATE,
            "16:9",
            "low",
            "Image quality is not supported for imagen",
        ),
        (
            "not-a-model",
            "",
            "",
            "Unsupported image model for imagen: not-a-model; use gemini-nano-banana-2.1, ",
        ),
        (
            "imagen-5/../x",
            "",
            "",
            "Unsupported image model for imagen: imagen-5/../x; use ",
        ),
        (
            "",
            "square",
            "",
            "Unsupported image size for gemini-nano-banana-2.1: square; use auto, ",
        ),
        (
            PRIVATE,
            "21:9",
            "",
            "Unsupported image size for imagen-4.0-generate-001: 21:9; use 1:1, ",
        ),
    ] {
        let refused = check(model, size, quality).unwrap_err();
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
        assert!(refused.message.starts_with(message), "{refused}");
    }
    let seed = ImageSpec {
        seed: Some(1 << 31),
        ..ImageSpec::default()
    };
    assert!(provider(&nowhere()).check(&seed).is_err());
}

#[tokio::test]
async fn without_a_project_every_request_is_refused_and_nothing_is_sent() {
    install_tls();
    let provider = built(ImagenSettings {
        project: None,
        location: None,
        base_url: None,
        auth: auth_settings(None, None),
    });
    let refused = provider.check(&ImageSpec::default()).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Auth);
    assert!(
        refused
            .message
            .starts_with("Imagen image generator is not configured. GOOGLE_CLOUD_PROJECT_ID is not set"),
        "{refused}"
    );
    let error = draw(&provider, &spec(GEMINI, "1:1")).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Auth);
}

#[test]
fn each_location_has_its_address() {
    install_tls();
    for (location, imagen, gemini) in [
        (
            None,
            "https://us-east1-aiplatform.googleapis.com/x",
            "https://aiplatform.googleapis.com/x",
        ),
        (
            Some("europe-west4"),
            "https://europe-west4-aiplatform.googleapis.com/x",
            "https://europe-west4-aiplatform.googleapis.com/x",
        ),
        (
            Some("eu"),
            "https://aiplatform.eu.rep.googleapis.com/x",
            "https://aiplatform.eu.rep.googleapis.com/x",
        ),
    ] {
        let provider = built(ImagenSettings {
            project: Some("p".into()),
            location: location.map(str::to_owned),
            base_url: None,
            auth: auth_settings(None, None),
        });
        assert_eq!(provider.imagen.service.client().url("x").as_str(), imagen);
        assert_eq!(provider.gemini.service.client().url("x").as_str(), gemini);
    }
}

#[test]
fn settings_that_cannot_be_used_are_named_and_only_where_imagen_is_configured() {
    let wrong = |project: Option<&str>| ImagenSettings {
        project: project.map(str::to_owned),
        location: Some("us/../east".into()),
        base_url: Some(Url::parse("https://x.invalid/?key=hunter2").unwrap()),
        auth: GoogleAuthSettings {
            credentials_file: Some("/nonexistent/google.json".into()),
            ..GoogleAuthSettings::default()
        },
    };
    assert!(wrong(None).faults().is_empty());
    let faults = wrong(Some("My Project")).faults();
    assert_eq!(faults.len(), 4, "{faults:?}");
    for (fault, variable) in faults.iter().zip([
        "GOOGLE_CLOUD_PROJECT_ID: \"My Project\" was found; ",
        "GOOGLE_CLOUD_IMAGEN_LOCATION: ",
        "VERTEX_BASE_URL: ",
        "GOOGLE_APPLICATION_CREDENTIALS: the file /nonexistent/google.json cannot be read",
    ]) {
        assert!(fault.starts_with(variable), "{fault}");
    }
    assert!(!faults.concat().contains("hunter2"));
}
