//! The suite itself.

use super::*;
use crate::provider::services::blank::Blank;

#[tokio::test]
#[should_panic(expected = "silence until the deadline: a picture came")]
async fn a_provider_that_never_fails_is_found_out() {
    let spec = CheckedSpec {
        model: "blank".into(),
        size: None,
        quality: None,
        seed: None,
        ..CheckedSpec::default()
    };
    let subject = Subject {
        provider: Box::new(|_| Arc::new(Blank)),
        key: "",
        spec,
        good: |_| Reply::json(200, &json!({})),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[],
        classes: &[],
    };
    run(&subject).await;
}

#[tokio::test]
async fn a_fake_keeps_what_it_is_asked() {
    install_tls();
    let fake = Fake::start(|_| Reply::json(200, &json!({"done": true}))).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = client
        .post(fake.url.join("a/b?c=d").unwrap())
        .json(&json!({"e": 1}));
    assert_eq!(post.send().await.unwrap().status(), 200);
    let asked = fake.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/a/b?c=d"));
    assert_eq!(format!("{}/", asked.origin), fake.url.as_str());
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(
        (asked.json(), asked.text()),
        (json!({"e": 1}), r#"{"e":1}"#.to_owned())
    );
}
