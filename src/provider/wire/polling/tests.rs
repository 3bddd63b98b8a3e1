//! What the tests of all polled providers share, and the order of things while one is followed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::failure::Failure;
use crate::http_client::{Downloads, HttpClient, install_tls};
use crate::provider::suite::{self, Fake, PROMPT, Reply, nowhere};
use crate::provider::wire::service::Pace;
use crate::provider::{CheckedSpec, ImageProvider, Watch};

/// So that tests take no longer than they must.
pub(in crate::provider) const QUICK: Pace = Pace {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(30),
    lag: Duration::from_millis(200),
};

/// One pixel.
pub(in crate::provider) const PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\x9cc8\x11\xa0\x01\x00\x03$\x01A\x1d\x19\x9f\xc4\x00\x00\x00\x00IEND\xaeB`\x82";

pub(in crate::provider) fn png() -> Reply {
    Reply::of(200, "image/png", PNG)
}

/// Keeps what a call tells whoever watches it.
#[derive(Default)]
pub(in crate::provider) struct Kept {
    pub(in crate::provider) handles: Mutex<Vec<String>>,
    pub(in crate::provider) fractions: Mutex<Vec<f32>>,
}

#[async_trait]
impl Watch for Kept {
    async fn accepted(&self, handle: &str) {
        self.handles.lock().unwrap().push(handle.to_owned());
    }

    fn progress(&self, fraction: f32) {
        self.fractions.lock().unwrap().push(fraction);
    }
}

impl Kept {
    pub(in crate::provider) fn handle(&self) -> String {
        let handles = self.handles.lock().unwrap();
        assert_eq!(handles.len(), 1, "{handles:?}");
        handles[0].clone()
    }
}

/// Has a provider draw, and looks through what it says when it fails.
pub(in crate::provider) async fn draw_by(
    provider: &dyn ImageProvider,
    spec: &CheckedSpec,
    key: &str,
    wait: Duration,
) -> (Result<DrawnImage, NotDrawn>, Kept) {
    let (prompt, watch) = (prompt(), Kept::default());
    let mut call = Call::unwatched(&prompt, spec, after(wait));
    call.watch = &watch;
    let outcome = provider.draw(&call).await;
    if let Err(not_drawn) = &outcome {
        keeps_secrets(not_drawn.error(), key);
    }
    (outcome, watch)
}

pub(in crate::provider) fn prompt() -> Prompt {
    Prompt::new(PROMPT.to_owned())
}

pub(in crate::provider) fn after(wait: Duration) -> Instant {
    Instant::now() + wait
}

/// Fails where a key or the prompt stand in anything that leaves a provider.
#[track_caller]
pub(in crate::provider) fn keeps_secrets(error: &ProviderError, key: &str) {
    let failure = Failure::from(error.clone());
    let texts = format!("{error} {error:?} {failure:?}");
    for secret in [&key[..key.len() / 2], "secret dragon", "harbour"] {
        assert!(!texts.contains(secret), "{texts}");
    }
}

/// The service's verdict.
#[track_caller]
pub(in crate::provider) fn ended(outcome: Result<DrawnImage, NotDrawn>) -> ProviderError {
    suite::ended(outcome.unwrap_err())
}

/// What kept a visit from the service's verdict.
#[track_caller]
pub(in crate::provider) fn goes_on(outcome: Result<DrawnImage, NotDrawn>) -> ProviderError {
    suite::goes_on(outcome.unwrap_err())
}

/// How often a fake was asked with this method for a path that starts so.
pub(in crate::provider) fn times(fake: &Fake, method: &str, start: &str) -> usize {
    let asked = fake.asked();
    let fits = asked
        .iter()
        .filter(|asked| asked.method == method && asked.path.starts_with(start));
    fits.count()
}

type Script = fn(&Incident<'_>) -> Look;

/// A provider whose looks are scripted; the last one is found for ever.
struct Scripted {
    service: Service,
    looks: Mutex<Vec<Script>>,
    looked: AtomicUsize,
}

impl Scripted {
    fn new(looks: Vec<Script>) -> Self {
        install_tls();
        let client = HttpClient::new(&nowhere()).unwrap();
        let downloads = Downloads::new(false).unwrap();
        let mut service = Service::new("scripted", Some(client), downloads, None, None).unwrap();
        service.pace = QUICK;
        Self {
            service,
            looks: Mutex::new(looks),
            looked: AtomicUsize::new(0),
        }
    }

    async fn outcome(&self, deadline: Instant) -> Result<DrawnImage, NotDrawn> {
        let (prompt, watch) = (prompt(), Kept::default());
        let spec = CheckedSpec {
            model: "m".into(),
            size: None,
            quality: None,
            seed: None,
            ..CheckedSpec::default()
        };
        let mut call = Call::unwatched(&prompt, &spec, deadline);
        call.watch = &watch;
        let outcome = self.resume("id-1", &call).await;
        assert!(Instant::now() < deadline + Duration::from_secs(1));
        outcome
    }

    fn looked(&self) -> usize {
        self.looked.load(Ordering::Relaxed)
    }
}

/// A handle that is an id.
struct Known(String);

impl Handle for Known {
    fn id(&self) -> &str {
        &self.0
    }

    fn url(&self, service: &Service) -> Url {
        service.client().url(&self.0)
    }

    fn saved(&self) -> String {
        self.0.clone()
    }
}

#[async_trait]
impl Polled for Scripted {
    type Handle = Known;
    const JUDGE: Judge = super::super::errors::judge_by_status;

    fn service(&self) -> &Service {
        &self.service
    }

    fn order(&self, call: &Call<'_>) -> Result<Order, ProviderError> {
        Ok(Order::of("orders", json!({"prompt": call.prompt.expose()})))
    }

    fn accepted(&self, told: &Value, _: &Call<'_>) -> Option<Known> {
        Some(Known(told.get("id")?.as_str()?.to_owned()))
    }

    fn read(&self, saved: &str) -> Option<Known> {
        Some(Known(saved.to_owned()))
    }

    async fn look(&self, _: &Known, incident: &Incident<'_>, until: Instant) -> Look {
        self.looked.fetch_add(1, Ordering::Relaxed);
        let next = {
            let mut looks = self.looks.lock().unwrap();
            let next = looks[0];
            if looks.len() > 1 {
                looks.remove(0);
            }
            next
        };
        if std::ptr::fn_addr_eq(next, stalled as Script) {
            tokio::time::sleep_until(until).await;
        }
        next(incident)
    }
}

fn ready(_: &Incident<'_>) -> Look {
    Look::Ready(Ready {
        picture: Picture::Bytes(Bytes::from_static(b"hello!")),
        usage: None,
    })
}

fn going(_: &Incident<'_>) -> Look {
    Look::Going(Some(0.5))
}

fn unclear(incident: &Incident<'_>) -> Look {
    Look::Unclear(incident.error(ErrorClass::Network, "no answer"))
}

fn broken(incident: &Incident<'_>) -> Look {
    Look::Unclear(incident.error(ErrorClass::Overloaded, "503"))
}

/// Takes all of the time that a look may take.
fn stalled(incident: &Incident<'_>) -> Look {
    Look::Unclear(incident.error(ErrorClass::Network, "stalled"))
}

fn missing(incident: &Incident<'_>) -> Look {
    Look::Missing(incident.error(ErrorClass::Ambiguous, "404"))
}

#[tokio::test]
async fn faults_between_looks_are_ridden_out() {
    let provider = Scripted::new(vec![
        missing, unclear, going, broken, unclear, going, missing, ready,
    ]);
    let drawn = provider.outcome(after(Duration::from_secs(60))).await.unwrap();
    assert_eq!(&drawn.bytes[..], b"hello!");
    assert_eq!(drawn.request_id.as_deref(), Some("id-1"));
    assert_eq!(provider.looked(), 8);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_visit_and_not_the_call() {
    for (look, class) in [
        (going as Script, ErrorClass::TimedOut),
        (unclear, ErrorClass::Network),
        (broken, ErrorClass::Overloaded),
    ] {
        let provider = Scripted::new(vec![look]);
        let error = goes_on(provider.outcome(after(Duration::from_secs(60))).await);
        assert_eq!(error.class, class, "{error}");
        assert_eq!(error.request_id.as_deref(), Some("id-1"));
    }
    let provider = Scripted::new(vec![ready]);
    let error = goes_on(provider.outcome(Instant::now()).await);
    assert_eq!((error.class, provider.looked()), (ErrorClass::TimedOut, 0));
}

#[tokio::test]
async fn what_the_service_does_not_know_for_a_while_nobody_will_ever_know() {
    let provider = Scripted::new(vec![missing]);
    let error = ended(provider.outcome(after(Duration::from_secs(60))).await);
    assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
    assert!(provider.looked() > 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_does_not_know_yet_is_asked_about_again() {
    let mut provider = Scripted::new(vec![missing]);
    provider.service.pace = Pace::USUAL;
    let error = goes_on(provider.outcome(after(Duration::from_secs(5))).await);
    assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
}

#[tokio::test]
async fn a_verdict_keeps_its_class_and_ends_the_call() {
    let failed: [(Script, ErrorClass); 3] = [
        (
            |incident| Look::Failed(incident.error(ErrorClass::Overloaded, "please retry")),
            ErrorClass::Overloaded,
        ),
        (
            |incident| Look::Failed(incident.error(ErrorClass::Moderation, "no")),
            ErrorClass::Moderation,
        ),
        (
            |incident| Look::Failed(incident.error(ErrorClass::BadOutput, "nothing")),
            ErrorClass::BadOutput,
        ),
    ];
    for (look, class) in failed {
        let provider = Scripted::new(vec![going, look]);
        let error = ended(provider.outcome(after(Duration::from_secs(60))).await);
        assert_eq!((error.class, provider.looked()), (class, 2));
    }
}

#[tokio::test]
async fn a_key_that_is_refused_ends_a_visit_and_not_the_call() {
    let barred: Script = |incident| Look::Barred(incident.error(ErrorClass::Auth, "401"));
    let provider = Scripted::new(vec![going, barred]);
    let error = goes_on(provider.outcome(after(Duration::from_secs(60))).await);
    assert_eq!((error.class, provider.looked()), (ErrorClass::Auth, 2));
}

#[tokio::test(start_paused = true)]
async fn looks_become_rarer_and_the_wait_that_is_asked_for_is_kept() {
    fn limited(incident: &Incident<'_>, seconds: u64) -> Look {
        Look::Unclear(ProviderError {
            retry_after: Some(Duration::from_secs(seconds)),
            ..incident.error(ErrorClass::RateLimited, "429")
        })
    }
    let mut provider = Scripted::new(vec![|incident| limited(incident, 4), ready]);
    provider.service.pace = Pace::USUAL;
    let begun = Instant::now();
    provider.outcome(after(Duration::from_secs(90))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(4));

    // What is longer than a slot is kept for is left to the next visit.
    let mut provider = Scripted::new(vec![|incident| limited(incident, 40), ready]);
    provider.service.pace = Pace::USUAL;
    let error = goes_on(provider.outcome(after(Duration::from_secs(90))).await);
    assert_eq!(error.retry_after, Some(Duration::from_secs(40)));
    assert_eq!(provider.looked(), 1);

    let mut provider = Scripted::new(vec![going]);
    provider.service.pace = Pace::USUAL;
    let minutes = after(Duration::from_secs(300));
    goes_on(provider.outcome(minutes).await);
    let looked = provider.looked();
    assert!((90..=150).contains(&looked), "{looked} looks in five minutes");
}

#[tokio::test]
async fn a_picture_that_cannot_be_fetched_in_time_is_left_to_the_next_visit() {
    let elsewhere: Script = |_| {
        Look::Ready(Ready {
            picture: Picture::Url("https://localhost:9/a.png".into()),
            usage: None,
        })
    };
    let mut provider = Scripted::new(vec![elsewhere]);
    let client = provider.service.client().clone();
    provider.service = Service::new(
        "scripted",
        Some(client),
        Downloads::new(true).unwrap(),
        None,
        None,
    )
    .unwrap();
    provider.service.pace = QUICK;
    let error = goes_on(provider.outcome(after(Duration::from_millis(600))).await);
    assert_eq!(error.class, ErrorClass::TimedOut, "{error}");
    // A name of this machine in the URL of a picture, and nobody has allowed that.
    let provider = Scripted::new(vec![elsewhere]);
    let error = goes_on(provider.outcome(after(Duration::from_secs(60))).await);
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert!(error.details.contains("a name of this machine"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_the_deadline_cuts_short_does_not_hide_what_the_one_before_it_found() {
    for (looks, class) in [
        (vec![going as Script, stalled], ErrorClass::TimedOut),
        (vec![broken, stalled], ErrorClass::Overloaded),
        (vec![stalled], ErrorClass::Network),
    ] {
        let provider = Scripted::new(looks);
        let error = goes_on(provider.outcome(after(Duration::from_secs(20))).await);
        assert_eq!(error.class, class, "{error}");
    }
}
