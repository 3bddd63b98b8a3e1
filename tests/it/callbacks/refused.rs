//! URLs that no operator allows are refused before anything is bought.

use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::receiver::{Receiver, SECRET};
use crate::harness::stack::{Stack, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_url_is_not_allowed_is_refused_with_what_to_do() {
    let stack = Stack::start().await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let openai = OpenAi::start(small_picture()).await;
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let replica = stack.replica_for(&receiver, &variables).await;
    let origin = other.url("");
    for (url, said) in [
        (
            other.url("/heron-4471"),
            format!(
                "callbackUrl: a URL of {origin} was found, which CALLBACK_HOSTS does not allow; leave it out, or have the operator add \
                 its host there"
            ),
        ),
        (
            receiver.url("/a").replace("127.0.0.1", "heron-4471:b@127.0.0.1"),
            "callbackUrl: a URL with a user or password in it was found; one without is accepted: the signature says who posts".to_owned(),
        ),
        (
            "heron-4471".to_owned(),
            "callbackUrl: what was found is no http or https URL; one whose host stands in CALLBACK_HOSTS is accepted".to_owned(),
        ),
    ] {
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "callbackUrl", url)).await;
        assert_eq!(stack.ended(job_id).await.error.as_deref(), Some(&*said));
    }
    stack.idle().await;
    assert!(!replica.log().contains("heron-4471"));
    drop(replica);
    let _bare = stack.replica_of(&openai, &[]).await;
    let job_id = stack.job().await;
    stack
        .push(&with(logo(job_id), "callbackUrl", receiver.url("/a")))
        .await;
    let said = "callbackUrl: a URL was found, and this service posts to none yet; leave it out, or have the operator set \
                CALLBACK_HOSTS to its host, such as hooks.example.org";
    assert_eq!(stack.ended(job_id).await.error.as_deref(), Some(said));
    stack.idle().await;
    assert!(openai.calls().is_empty(), "nothing was bought");
    assert_eq!(
        stack.count("SELECT count(*) FROM generative_ai.callbacks").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_secret_or_with_a_private_host_does_not_start() {
    let stack = Stack::start().await;
    let hosts = ("CALLBACK_HOSTS", "hooks.example.org");
    let said = command_on(&stack, &["run"], &[hosts]).await;
    let missing = "generative-ai-worker: CALLBACK_SECRET: is not set; write for example whsec_<base64 of 32 random bytes>\n";
    said.is(78, "", missing);
    let variables = [("CALLBACK_HOSTS", "127.0.0.1:3000"), ("CALLBACK_SECRET", SECRET)];
    let said = command_on(&stack, &["check-config", "--offline"], &variables).await;
    assert_eq!(said.status, Some(78));
    assert!(
        said.err.contains(
            "CALLBACK_HOSTS: \"127.0.0.1:3000\" was found, a loopback address; write its origin out in full"
        ),
        "{}",
        said.err
    );
}
