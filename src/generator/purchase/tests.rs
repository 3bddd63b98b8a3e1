use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::generator::testing::work;
use crate::generator::{Gate, Intent, Ledger};
use crate::provider::{ImageSpec, Unsupported};

/// Fails every call for one reason, and counts them.
struct Failing {
    class: ErrorClass,
    calls: AtomicUsize,
}

impl Failing {
    fn new(class: ErrorClass) -> Arc<Self> {
        let calls = AtomicUsize::new(0);
        Arc::new(Self { class, calls })
    }

    fn error(&self) -> ProviderError {
        ProviderError {
            provider: "failing",
            class: self.class,
            details: "no".into(),
            request_id: None,
            retry_after: None,
        }
    }
}

#[async_trait]
impl ImageProvider for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn check(&self, _: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        unreachable!("the order is there already")
    }

    async fn draw(&self, _: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Err(self.error().into())
    }
}

/// A ledger and a gate that let everything happen and note it.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Ledger for Notes {
    async fn intend(&self, _: Intent<'_>) -> Result<i32, Unfinished> {
        self.note("intend");
        Ok(1)
    }

    async fn accepted(&self, _: i32, handle: &str) {
        self.note(format!("accepted {handle}"));
    }

    async fn failed(&self, _: i32, error: &ProviderError) {
        self.note(format!("failed {}", error.class));
    }

    async fn outcome_unknown(&self, _: i32, error: &ProviderError) -> Result<(), Unfinished> {
        self.note(format!("unknown {}", error.class));
        Ok(())
    }
}

#[async_trait]
impl Gate for Notes {
    async fn enter(&self, provider: &str) -> Result<(), Duration> {
        self.note(format!("enter {provider}"));
        Ok(())
    }

    async fn only_waits(&self) {
        self.note("only waits");
    }
}

struct NoProgress;

impl Progress for NoProgress {
    fn reached(&self, _: u8) {}
}

/// Has `provider` asked for a picture by one attempt.
async fn attempt(provider: Arc<Failing>, traffic: &Traffic, notes: &Notes) -> Unfinished {
    let work = work();
    let request = ImageRequest {
        job_id: 1,
        work: &work,
        may_be_stored: false,
        open_call: None,
        ledger: notes,
        gate: notes,
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let buyer = Buyer {
        request: &request,
        traffic,
        namespace: Uuid::nil(),
        progress: &NoProgress,
    };
    let spec = CheckedSpec {
        model: "m".into(),
        size: None,
        quality: None,
        seed: None,
        ..CheckedSpec::default()
    };
    let orders = [Order {
        provider: provider.clone(),
        spec,
    }];
    let providers = Providers::new(vec![provider], "failing", Vec::new());
    match buyer.purchase(&orders, &providers).await {
        Ok(_) => panic!("there is no picture"),
        Err(unfinished) => unfinished,
    }
}

#[track_caller]
fn is_failed(unfinished: Unfinished, class: ErrorClass) {
    match unfinished {
        Unfinished::Failed(failure) => assert_eq!(failure.class, class),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_looks_dead_is_called_once_by_an_attempt() {
    let (traffic, _news) = Traffic::new();
    for (attempts, calls) in [(1, 2), (2, 3), (3, 4), (4, 5)] {
        let failing = Failing::new(ErrorClass::Overloaded);
        let begun = Instant::now();
        is_failed(
            attempt(failing.clone(), &traffic, &Notes::default()).await,
            ErrorClass::Overloaded,
        );
        assert_eq!(traffic.faults("failing"), calls, "after attempt {attempts}");
        let of_this = failing.calls.load(Ordering::Relaxed);
        assert_eq!(of_this, if attempts == 1 { 2 } else { 1 });
        assert!(attempts == 1 || begun.elapsed().is_zero(), "no slot sleeps");
    }
    let out_of_reach = attempt(Failing::new(ErrorClass::Overloaded), &traffic, &Notes::default()).await;
    assert!(
        matches!(out_of_reach, Unfinished::OutOfReach(_)),
        "{out_of_reach:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_has_called_counts_though_others_gave_the_service_up_meanwhile() {
    let (traffic, _news) = Traffic::new();
    let failing = Failing::new(ErrorClass::Network);
    let notes = Notes::default();
    let others = async {
        while traffic.wait_for("failing").is_zero() {
            traffic.admit("failing").ok().unwrap().failed(&failing.error());
        }
    };
    let (unfinished, ()) = tokio::join!(attempt(failing.clone(), &traffic, &notes), others);
    is_failed(unfinished, ErrorClass::Network);
    assert_eq!(failing.calls.load(Ordering::Relaxed), 1);
    assert_eq!(notes.all(), ["enter failing", "intend", "failed network"]);
}
