//! Options of a package reach the provider and the picture that is delivered, or are refused before anything is spent.

use generative_ai_worker::imaging::{self, Format};
use image::{GenericImageView, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::harness::files_below;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::picture::webp;
use crate::harness::stack::{Stack, icon, logo};

fn asking(mut package: Value, options: &Value) -> Value {
    for (name, value) in options.as_object().unwrap() {
        package[name] = value.clone();
    }
    package
}

#[tokio::test(flavor = "multi_thread")]
async fn a_see_through_icon_stays_see_through_in_the_format_that_is_asked_for() {
    let stack = Stack::start().await;
    let half = RgbaImage::from_fn(640, 640, |x, _| Rgba([0, 0, 200, if x < 320 { 0 } else { 255 }]));
    let openai = OpenAi::start(Reply::Picture(webp(&half.into()).into())).await;
    let _replica = stack
        .replica_of(&openai, &[("ALLOW_LOW_MODERATION", "true")])
        .await;
    let job_id = stack.job().await;
    let options = json!({"imageModel": "gpt-image-2.5-flare", "background": "transparent", "outputFormat": "webp",
        "moderation": "low"});
    stack.push(&asking(icon(job_id), &options)).await;
    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
    let asked = openai.calls().remove(0).body;
    assert_eq!(
        (
            &asked["background"],
            &asked["output_format"],
            &asked["moderation"]
        ),
        (&json!("transparent"), &json!("png"), &json!("low")),
        "the icon is made from what loses nothing"
    );
    let (name, bytes) = files_below(stack.pictures.path()).into_iter().next().unwrap();
    assert!(name.ends_with("-icon.webp"), "{name}");
    assert_eq!(imaging::inspect(&bytes).unwrap().format, Format::WebP);
    let made = image::load_from_memory(&bytes).unwrap();
    assert_eq!((made.get_pixel(9, 9).0[3], made.get_pixel(390, 9).0[3]), (0, 255));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_amount_of_thought_that_is_asked_for_is_asked_of_the_service() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let job_id = stack.job().await;
    let options = json!({"imageModel": "gpt-image-2.6-flare", "complexity": "high"});
    stack.push(&asking(logo(job_id), &options)).await;
    assert_eq!(stack.ended(job_id).await.error, None);
    assert_eq!(openai.calls().remove(0).body["complexity"], "high");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_provider_can_do_is_refused_before_anything_is_spent() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let fallback = ("IMAGE_PROVIDER_FALLBACKS", "builtin");
    let _replica = stack.replica_of(&openai, &[fallback]).await;
    for (options, said) in [
        (
            json!({"background": "transparent"}),
            "Unsupported image background for gpt-image-2: transparent; use opaque, or leave it out",
        ),
        (
            json!({"complexity": "high"}),
            "Image complexity is not supported for openai; leave it out",
        ),
        (
            json!({"negativePrompt": "people"}),
            "A negative prompt is not supported for openai's gpt-image-2; leave it out",
        ),
        (
            json!({"imageProvider": "builtin", "outputFormat": "webp"}),
            "Unsupported image output format for builtin: webp; use png, or leave it out",
        ),
        (
            json!({"outputFormat": "gif"}),
            "outputFormat: \"gif\" was found; png, jpeg or webp is accepted",
        ),
    ] {
        let job_id = stack.job().await;
        stack.push(&asking(logo(job_id), &options)).await;
        assert_eq!(stack.ended(job_id).await.error.unwrap(), said);
    }
    assert_eq!(openai.calls().len(), 0);
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_cannot_do_what_is_asked_is_left_out() {
    let stack = Stack::start().await;
    let error = json!({"message": "no access", "type": "invalid_request_error", "code": "invalid_api_key"});
    let openai = OpenAi::start(Reply::Error(401, error, vec![])).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_FALLBACKS", "builtin")])
        .await;
    let (drawn, refused) = (stack.job().await, stack.job().await);
    stack
        .push(&asking(logo(drawn), &json!({"outputFormat": "png"})))
        .await;
    assert_eq!(stack.ended(drawn).await.progress, Some(100));
    stack
        .push(&asking(logo(refused), &json!({"outputFormat": "jpeg"})))
        .await;
    let error = stack.ended(refused).await.error.unwrap();
    assert!(
        error.contains("openai did not accept this service's credentials"),
        "{error}"
    );
    assert_eq!(openai.calls().len(), 2);
    assert_eq!(openai.calls()[1].body["output_format"], "jpeg");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_not_allow_is_refused_before_anything_is_spent() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let allowed = (
        "ALLOWED_MODELS",
        "openai:gpt-image-2.5-flare:low|medium, openai:gpt-image-2",
    );
    let fallback = ("IMAGE_PROVIDER_FALLBACKS", "builtin");
    let _replica = stack.replica_of(&openai, &[allowed, fallback]).await;
    for (options, said) in [
        (
            json!({"imageProvider": "builtin"}),
            "is not allowed on this service, which draws with openai:gpt-image-2.5-flare, openai:gpt-image-2",
        ),
        (
            json!({"imageModel": "gpt-image-2.5-flare", "imageQuality": "high"}),
            "gpt-image-2.5-flare is not allowed on this service with imageQuality high; set imageQuality to low or medium",
        ),
        (
            json!({"moderation": "low"}),
            "moderation low is not allowed on this service; leave moderation out",
        ),
    ] {
        let job_id = stack.job().await;
        stack.push(&asking(logo(job_id), &options)).await;
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(error.ends_with(said), "{error}");
    }
    assert_eq!(openai.calls().len(), 0);
    let job_id = stack.job().await;
    let options = json!({"imageModel": "gpt-image-2.5-flare", "imageQuality": "low"});
    stack.push(&asking(logo(job_id), &options)).await;
    assert_eq!(stack.ended(job_id).await.error, None);
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_every_prompt_is_the_operators_to_say() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let by_default = "\n\nInstruction: Create a high quality image for the user's project";
    for (suffix, expected) in [
        (None, by_default),
        (Some("In blue."), "\n\nIn blue."),
        (Some(""), ""),
    ] {
        let variables = suffix.map(|suffix| ("PROMPT_SUFFIX_IMAGE", suffix));
        let mut replica = stack.replica_of(&openai, variables.as_slice()).await;
        let job_id = stack.job().await;
        let package = logo(job_id);
        stack.push(&package).await;
        assert_eq!(stack.ended(job_id).await.progress, Some(100));
        let asked = openai.calls().pop().unwrap().body;
        let prompt = asked["prompt"].as_str().unwrap();
        let added = prompt.strip_prefix(package["prompt"].as_str().unwrap()).unwrap();
        assert!(added.starts_with(expected), "{prompt}");
        assert_eq!(added.is_empty(), expected.is_empty(), "{prompt}");
        replica.terminate();
        replica.exit().await;
    }
}
