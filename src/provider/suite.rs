//! What every provider behind HTTP has to get right, whatever its service's wire format: the provider under test
//! is run against fakes on loopback that are silent, cut off, flooding, broken, or repeat what they must not.
//!
//! Call [`run`] from a plain `#[tokio::test]` (one thread: some cases pause the clock).

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

use super::{Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError};
use crate::environment::Environment;
use crate::failure::{ErrorClass, Failure};
use crate::http_client::{Downloads, install_tls};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::keyed::{Access, Keyed};
use crate::settings::Reader;
use crate::work_package::Prompt;

pub(crate) mod fake;
mod options;
mod references;
mod rows;
pub(crate) mod shapes;
mod tests;

pub(crate) use fake::{Asked, Fake, Reply};
pub(crate) use references::{bought_from, pictures};
pub(crate) use rows::{answers, bought};

/// Stands in no text that a provider produces about a failure.
pub(crate) const PROMPT: &str = "A secret dragon over the harbour, \"quoted\"\nand on two lines";
/// Runs of the prompt that are looked for.
const PROMPT_RUNS: [&str; 3] = ["secret dragon", "harbour", "two lines"];

/// A provider and what it is tested with.
pub(crate) struct Subject {
    /// A configured provider whose service is at this address: `http://127.0.0.1:<port>/`.
    pub(crate) provider: Box<Factory>,
    /// The secret that [`Subject::provider`] sends; at least 12 characters. Empty where it sends none.
    pub(crate) key: &'static str,
    /// What is asked for.
    pub(crate) spec: CheckedSpec,
    /// What the service answers when all is well, by method and path.
    pub(crate) good: fn(&Asked) -> Reply,
    /// Whether this is the request that buys a picture: the one that is answered badly. All others (tokens,
    /// questions before and after) are answered well.
    pub(crate) buys: fn(&Asked) -> bool,
    /// Whether a call whose answer was lost can be found again by an id that the caller gave, so that a lost
    /// answer may still end in a picture.
    pub(crate) can_find_again: bool,
    /// Words of options that the model takes, and what is sent for each; all others have to be refused.
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// Whether the names of the lists that its pictures stand in are its own, and no gateway's.
    pub(crate) fixed_names: bool,
    /// Statuses that mean something else to this service than to most, when nothing explains them.
    pub(crate) classes: &'static [(u16, ErrorClass)],
}

type Factory = dyn Fn(&Url) -> Arc<dyn ImageProvider>;

/// What an operator has said of a service with these variables, or what is wrong with them.
pub(crate) fn read(access: &'static Access, variables: &[(&str, &str)]) -> Result<Keyed, Vec<String>> {
    install_tls();
    let environment = Environment::from_iter(variables.iter().copied());
    let mut reader = Reader::new(&environment);
    let read = reader.with(access.variables, |reader| Keyed::read(access, reader));
    reader.finish(read).map_err(|faults| faults.0)
}

/// What an operator has said of a service at this address.
pub(crate) fn settings(access: &'static Access, base_url: &Url, key: &str) -> Keyed {
    settings_with(access, base_url, key, &[])
}

/// The same, with these variables besides.
pub(crate) fn settings_with(
    access: &'static Access,
    base_url: &Url,
    key: &str,
    variables: &[(&str, &str)],
) -> Keyed {
    Keyed {
        key: Some(key.into()),
        base_url: Some(base_url.clone()),
        ..read(access, variables).unwrap()
    }
}

/// Its provider, for which pictures may be on loopback.
pub(crate) fn keyed(access: &'static Access, base_url: &Url, key: &str) -> Arc<dyn ImageProvider> {
    let settings = settings(access, base_url, key);
    settings.build(&Downloads::new(true).unwrap()).unwrap()
}

/// Where nobody answers.
pub(crate) fn nowhere() -> Url {
    Url::parse("http://127.0.0.1:9/").unwrap()
}

/// A request with these options; what is empty is left out.
pub(crate) fn asking(model: &str, size: &str, quality: &str) -> ImageSpec {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ImageSpec {
        model: given(model),
        size: given(size),
        quality: given(quality),
        ..ImageSpec::default()
    }
}

/// The error of a call that has ended, as every call does whose service answers with the picture itself.
#[track_caller]
pub(crate) fn ended(not_drawn: NotDrawn) -> ProviderError {
    match not_drawn {
        NotDrawn::Ended(error) => error,
        NotDrawn::GoesOn(error) => panic!("the call goes on: {error}"),
    }
}

/// What kept a visit from the picture of a call that goes on.
#[track_caller]
pub(crate) fn goes_on(not_drawn: NotDrawn) -> ProviderError {
    match not_drawn {
        NotDrawn::GoesOn(error) => error,
        NotDrawn::Ended(error) => panic!("the call has ended: {error}"),
    }
}

/// Whatever is posted buys.
pub(crate) fn any_post(asked: &Asked) -> bool {
    asked.method == "POST"
}

/// Runs all cases and fails with a list of those that went wrong.
pub(crate) async fn run(subject: &Subject) {
    install_tls();
    let mut run = Run {
        subject,
        case: String::new(),
        faults: Vec::new(),
    };
    let bought = run.good().await;
    run.connections().await;
    if let Some(bought) = bought {
        run.bodies(&bought).await;
    }
    run.statuses().await;
    run.redirects().await;
    run.echoes().await;
    run.too_late().await;
    run.options().await;
    run.shapes().await;
    assert!(run.faults.is_empty(), "\n{}", run.faults.join("\n"));
}

struct Run<'a> {
    subject: &'a Subject,
    case: String,
    faults: Vec<String>,
}

type Outcome = Result<DrawnImage, ProviderError>;

/// Every class that a lost answer may have.
const LOST: &[ErrorClass] = &[ErrorClass::Ambiguous, ErrorClass::TimedOut];
/// What an answer is that makes no sense.
const NONSENSE: &[ErrorClass] = &[ErrorClass::BadOutput, ErrorClass::Ambiguous];

impl Run<'_> {
    fn fault(&mut self, fault: impl AsRef<str>) {
        self.faults.push(format!("{}: {}", self.case, fault.as_ref()));
    }

    /// The outcome of a call whose buying request is answered with `reply`, and the fake that was asked.
    async fn draw(&mut self, case: &str, reply: Reply) -> (Outcome, Fake) {
        self.draw_as(case, move |_| reply.clone()).await
    }

    /// The same for a reply that depends on what was asked.
    async fn draw_as(
        &mut self,
        case: &str,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> (Outcome, Fake) {
        self.case = case.to_owned();
        let (good, buys) = (self.subject.good, self.subject.buys);
        let fake = Fake::start(move |asked| if buys(asked) { reply(asked) } else { good(asked) }).await;
        let url = fake.url.clone();
        let outcome = self.draw_at(&url).await;
        if !fake.asked().iter().any(buys) {
            self.fault("the service was not asked for a picture");
        }
        (outcome, fake)
    }

    async fn draw_at(&mut self, url: &Url) -> Outcome {
        let provider = (self.subject.provider)(url);
        let prompt = Prompt::new(PROMPT.to_owned());
        let deadline = Instant::now() + Duration::from_secs(300);
        let call = Call::unwatched(&prompt, &self.subject.spec, deadline);
        let outcome = self.ended(provider.draw(&call).await);
        let late = Instant::now().saturating_duration_since(deadline);
        if late > Duration::from_secs(1) {
            self.fault(format!("ended {late:?} after the deadline"));
        }
        if let Err(error) = &outcome {
            self.keeps_secrets(error);
        }
        outcome
    }

    /// The outcome of a call of which no service has given an id: it has ended, for nothing could be asked about it.
    fn ended(&mut self, outcome: Result<DrawnImage, NotDrawn>) -> Outcome {
        if let Err(NotDrawn::GoesOn(error)) = &outcome {
            self.fault(format!("the call goes on: {error}"));
        }
        outcome.map_err(|not_drawn| not_drawn.error().clone())
    }

    /// Neither the key nor the prompt reach the log, the job row or the dead letter.
    fn keeps_secrets(&mut self, error: &ProviderError) {
        let failure = Failure::from(error.clone());
        let texts = format!("{error} {error:?} {failure} {failure:?}");
        let key = self.subject.key;
        // Half a key is a secret too.
        let runs = [key.get(key.len() / 2..), key.get(..key.len() / 2)];
        for secret in runs.into_iter().flatten().chain(PROMPT_RUNS) {
            if !secret.is_empty() && texts.contains(secret) {
                self.fault(format!("{secret:?} stands in {texts}"));
            }
        }
    }

    fn expect(&mut self, outcome: &Outcome, classes: &[ErrorClass]) {
        match outcome {
            Ok(_) => self.fault(format!("a picture came; {classes:?} was expected")),
            Err(error) if !classes.contains(&error.class) => {
                self.fault(format!("{:?} ({error}); {classes:?} was expected", error.class));
            }
            Err(_) => {}
        }
    }

    /// As [`Run::expect`], but a picture is as well where a call can be found again.
    fn expect_lost(&mut self, outcome: &Outcome, classes: &[ErrorClass]) {
        if outcome.is_err() || !self.subject.can_find_again {
            self.expect(outcome, classes);
        }
    }

    /// The good answer to the buying request.
    async fn good(&mut self) -> Option<Asked> {
        self.case = "a good answer".to_owned();
        let fake = Fake::start(self.subject.good).await;
        let url = fake.url.clone();
        match self.draw_at(&url).await {
            Ok(drawn) if drawn.bytes.is_empty() => self.fault("the picture is empty"),
            Ok(_) => {}
            Err(error) => self.fault(format!("no picture: {error}")),
        }
        let asked = fake.asked();
        let key = self.subject.key;
        if asked
            .iter()
            .any(|asked| !key.is_empty() && asked.path.contains(key))
        {
            self.fault("the key stands in a URL");
        }
        let bought = asked.into_iter().filter(|asked| (self.subject.buys)(asked));
        let bought: Vec<Asked> = bought.collect();
        if bought.len() != 1 {
            self.fault(format!("{} requests buy a picture; 1 was expected", bought.len()));
        }
        bought.into_iter().next()
    }

    async fn connections(&mut self) {
        self.case = "connection refused".to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let outcome = self.draw_at(&url).await;
        self.expect(&outcome, &[ErrorClass::Network]);

        let (outcome, _fake) = self.draw("silence until the deadline", Reply::Silence).await;
        self.expect_lost(&outcome, LOST);
        let (outcome, _fake) = self.draw("hung up after the request", Reply::HangUp).await;
        self.expect_lost(&outcome, LOST);
    }

    async fn bodies(&mut self, bought: &Asked) {
        let Reply::Whole(whole) = (self.subject.good)(bought) else {
            self.fault("the good answer is not whole");
            return;
        };
        let (outcome, _fake) = self.draw("body stalled", Reply::Stalled(whole.clone())).await;
        self.expect_lost(&outcome, LOST);
        for is_declared in [true, false] {
            let case = format!("body cut off, length declared: {is_declared}");
            let (outcome, _fake) = self.draw(&case, Reply::CutOff(whole.clone(), is_declared)).await;
            self.expect_lost(&outcome, LOST);
        }
        let (outcome, fake) = self.draw("body without end", Reply::Flood).await;
        self.expect_lost(&outcome, NONSENSE);
        // What is above the limit fits into the buffers of the two sockets.
        if fake.flooded_mib() > 100 {
            self.fault(format!("{} MiB were taken", fake.flooded_mib()));
        }
        for content_type in ["text/html", "application/octet-stream", "nonsense"] {
            let case = format!("a good answer that says it is {content_type}");
            let good = self.subject.good;
            let reply = move |asked: &Asked| good(asked).with("content-type", content_type);
            let (outcome, _fake) = self.draw_as(&case, reply).await;
            if outcome.is_err() {
                self.expect(&outcome, NONSENSE);
            }
        }
        for (name, content_type, body) in [
            (
                "a page with 200",
                "text/html",
                &b"<html><title>Welcome</title></html>"[..],
            ),
            ("nothing with 200", "application/json", b""),
            (
                "not UTF-8 with 200",
                "application/json",
                b"{\"a\":\"\xff\xfe\x80\"}",
            ),
            ("no object with 200", "application/json", b"[[[3]]]"),
            ("null with 200", "application/json", b"null"),
            ("an empty object with 200", "application/json", b"{}"),
        ] {
            let (outcome, _fake) = self.draw(name, Reply::of(200, content_type, body)).await;
            // Some services say so when they refuse a prompt.
            self.expect_lost(&outcome, &[NONSENSE, &[ErrorClass::Moderation]].concat());
        }
        let error = json!({"error": {"message": "something broke", "code": "broken", "type": "broken"}});
        let (outcome, _fake) = self.draw("an error with 200", Reply::json(200, &error)).await;
        let broken = [ErrorClass::Overloaded, ErrorClass::InvalidRequest];
        self.expect_lost(&outcome, &[NONSENSE, &broken].concat());
    }

    async fn statuses(&mut self) {
        use ErrorClass::{Auth, Overloaded, RateLimited};
        let page = "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>";
        for (status, class) in [
            (401, Auth),
            (403, Auth),
            (429, RateLimited),
            (500, Overloaded),
            (502, Overloaded),
            (503, Overloaded),
        ] {
            let own = self.subject.classes.iter().find(|(known, _)| *known == status);
            let class = own.map_or(class, |(_, class)| *class);
            for (content_type, body) in [
                ("application/json", &b""[..]),
                ("text/html", page.as_bytes()),
                ("text/plain", b"\xff\xfe\x80 is not UTF-8"),
            ] {
                let case = format!("{status} with {} bytes of {content_type}", body.len());
                let (outcome, _fake) = self.draw(&case, Reply::of(status, content_type, body)).await;
                self.expect(&outcome, &[class]);
                if let Err(error) = outcome
                    && !error.details.contains(&status.to_string())
                {
                    self.fault(format!("the status is not told: {error}"));
                }
            }
        }
    }

    async fn redirects(&mut self) {
        let other = Fake::start(self.subject.good).await;
        let target = format!("{}elsewhere", other.url);
        for status in [301, 302, 303, 307, 308] {
            let reply = Reply::of(status, "text/plain", "").with("location", &target);
            let (outcome, _fake) = self.draw(&format!("a redirect by {status}"), reply).await;
            self.expect(&outcome, &[ErrorClass::Network]);
            if !other.asked().is_empty() {
                self.fault("it was followed");
            }
        }
    }

    async fn echoes(&mut self) {
        let key = self.subject.key;
        let echo = format!("Incorrect key {key} for prompt: {PROMPT}");
        let cut = format!("{{\"broken\":{},", Value::from(echo.as_str()));
        let bodies = [
            json!({"error": {"message": echo, "type": echo, "code": echo, "param": echo, "status": echo}})
                .to_string(),
            json!({"error": {"message": "x", "status": "x", "details": [{"@type": echo, "reason": echo}]}})
                .to_string(),
            json!({"error": echo}).to_string(),
            json!({"detail": [{"loc": ["body"], "msg": echo, "type": echo}], "input": echo}).to_string(),
            json!({"detail": echo, "title": echo, "status": 400}).to_string(),
            json!({"id": echo, "name": echo, "errors": [echo]}).to_string(),
            json!({"unknown": {"shape": echo}}).to_string(),
            cut,
            format!("<html><title>{echo}</title></html>"),
            echo,
        ];
        for status in [200, 400, 401, 403, 404, 422, 429, 500] {
            for body in &bodies {
                let case = format!("{status} with key and prompt in {body}");
                let mut reply = Reply::of(status, "application/json", body.clone());
                for name in [
                    "x-request-id",
                    "request-id",
                    "apim-request-id",
                    "x-fal-request-id",
                    "x-goog-request-id",
                ] {
                    reply = reply.with(name, key);
                }
                // Whatever comes out of it has been looked through.
                let (outcome, _fake) = self.draw(&case, reply).await;
                if outcome.is_ok() && !self.subject.can_find_again {
                    self.fault("a picture came");
                }
            }
        }
    }

    async fn too_late(&mut self) {
        self.case = "after the deadline".to_owned();
        let fake = Fake::start(self.subject.good).await;
        let provider = (self.subject.provider)(&fake.url);
        let prompt = Prompt::new(PROMPT.to_owned());
        let call = Call::unwatched(&prompt, &self.subject.spec, Instant::now());
        let outcome = self.ended(provider.draw(&call).await);
        self.expect(&outcome, &[ErrorClass::TimedOut]);
        let mut asked = String::new();
        for request in fake.asked() {
            let _ = write!(asked, " {} {}", request.method, request.path);
        }
        if !asked.is_empty() {
            self.fault(format!("still sent{asked}"));
        }
    }
}
