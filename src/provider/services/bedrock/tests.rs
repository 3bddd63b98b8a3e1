//! The provider against fakes on loopback.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::environment::Environment;
use crate::failure::ErrorClass::{
    Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};
use crate::http_client::install_tls;
use crate::provider::suite::{self, Asked, Fake, Reply, Subject, answers, any_post, bought};
use crate::provider::wire::polling::tests::{PNG, after, prompt};
use crate::provider::{CheckedSpec, CostBasis, ImageSpec};

const KEY: &str = "bedrock-0123456789abcdef";
const CORE: &str = "stability.stable-image-core-v1:1";

fn settings(variables: &[(&str, &str)]) -> Result<BedrockSettings, Vec<String>> {
    install_tls();
    let environment = Environment::from_iter(variables.iter().copied());
    let mut reader = Reader::new(&environment);
    let read = reader.with(VARIABLES, BedrockSettings::read);
    reader.finish(read).map_err(|faults| faults.0)
}

fn provider(variables: &[(&str, &str)]) -> Arc<dyn ImageProvider> {
    let settings = settings(variables).unwrap();
    settings.build(&Downloads::new(true).unwrap()).unwrap()
}

fn good(_: &Asked) -> Reply {
    let picture = BASE64_STANDARD.encode(PNG);
    Reply::json(
        200,
        &json!({"images": [picture], "seeds": [7], "finish_reasons": [null]}),
    )
}

fn subject() -> Subject {
    Subject {
        provider: Box::new(|base_url| provider(&[(TOKEN, KEY), (BASE, base_url.as_str())])),
        key: KEY,
        spec: CheckedSpec {
            model: CORE.into(),
            size: Some("16:9".into()),
            seed: Some(7),
            ..CheckedSpec::default()
        },
        good,
        buys: any_post,
        can_find_again: false,
        options: &[
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
            ("negative prompt", "\"negative_prompt\":\"blurry unicorns\""),
        ],
        fixed_names: true,
        classes: &[],
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject()).await;
}

#[tokio::test]
async fn a_request_goes_to_the_address_of_its_model() {
    let (path, body, drawn) = bought(subject(), CORE, "16:9").await;
    let expected =
        json!({"prompt": suite::PROMPT, "output_format": "png", "aspect_ratio": "16:9", "seed": 7});
    assert_eq!(
        (&*path, body),
        ("/model/stability.stable-image-core-v1:1/invoke", expected)
    );
    let cost = drawn.cost.unwrap();
    assert_eq!((cost.usd, cost.basis), (0.04, CostBasis::Estimated));
}

#[tokio::test]
async fn keys_of_an_account_sign_and_do_not_go_along() {
    let fake = Fake::start(good).await;
    let (id, secret, session) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "session-0123456789");
    let provider = provider(&[
        (REGION, "us-west-2"),
        (BASE, fake.url.as_str()),
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", session),
    ]);
    let (prompt, spec) = (prompt(), subject().spec);
    let call = Call::unwatched(&prompt, &spec, after(std::time::Duration::from_secs(60)));
    assert!(provider.draw(&call).await.is_ok());
    let asked = fake.asked().remove(0);
    let header = |name: &str| asked.header(name).unwrap_or_default().to_owned();
    let authorization = header("authorization");
    let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
    assert!(authorization.starts_with(start), "{authorization}");
    assert!(
        authorization.contains("/us-west-2/bedrock/aws4_request, SignedHeaders="),
        "{authorization}"
    );
    assert!(authorization.contains("host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature="));
    assert_eq!(header("x-amz-security-token"), session);
    let digest = ring::digest::digest(&ring::digest::SHA256, &asked.body);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("x-amz-content-sha256"), hex);
    assert!(!asked.headers.iter().any(|(_, value)| value.contains(secret)));
}

#[test]
fn a_token_or_keys_and_a_region_are_needed() {
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (more, missing) in [
        (&[][..], Some(REGION)),
        (&[(TOKEN, "t")][..], Some(REGION)),
        (&[(REGION, "us-west-2"), (TOKEN, "t")][..], None),
        (&[(REGION, "us-west-2")][..], None),
        (&[(BASE, "http://127.0.0.1:9/")][..], Some(REGION)),
    ] {
        let refused = provider(&[&keys[..], more].concat())
            .check(&ImageSpec::default())
            .err();
        let said = refused.map(|refused| refused.message).unwrap_or_default();
        match missing {
            Some(variable) => assert!(said.contains(&format!("{variable} is not set")), "{said}"),
            None => assert_eq!(said, ""),
        }
    }
    let faults = settings(&[(REGION, "x.evil.example/"), (TOKEN, "t")]).unwrap_err();
    assert_eq!(
        faults,
        ["BEDROCK_REGION: \"x.evil.example/\" was found; a region is accepted, such as us-west-2"]
    );
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it() {
    let held_back = |reason: &str| json!({"images": [""], "seeds": [], "finish_reasons": [reason]});
    let mut rows = vec![
        (Reply::json(200, &held_back("Filter reason: prompt")), Moderation),
        (
            Reply::json(200, &held_back("Filter reason: output image")),
            Moderation,
        ),
        (Reply::json(200, &held_back("Inference error")), BadOutput),
        (
            Reply::json(200, &json!({"images": [], "finish_reasons": []})),
            BadOutput,
        ),
    ];
    for (status, name, message, class) in [
        (
            429,
            "ThrottlingException:http://internal.amazon.com/x/",
            "Too many requests",
            RateLimited,
        ),
        (429, "ModelNotReadyException", "x", Overloaded),
        (400, "ServiceQuotaExceededException", "x", Quota),
        (400, "ValidationException", "seed is too large", InvalidRequest),
        (
            400,
            "ValidationException",
            "blocked by our content filters",
            Moderation,
        ),
        (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            ModelGone,
        ),
        (403, "AccessDeniedException", "x", Auth),
        (404, "ResourceNotFoundException", "x", ModelGone),
        (408, "ModelTimeoutException", "x", Ambiguous),
        (424, "ModelErrorException", "x", BadOutput),
        (500, "InternalServerException", "x", Overloaded),
        (503, "ServiceUnavailableException", "x", Overloaded),
    ] {
        let reply = Reply::json(status, &json!({"message": message})).with("x-amzn-errortype", name);
        rows.push((reply, class));
    }
    answers(&subject(), rows).await;
}
