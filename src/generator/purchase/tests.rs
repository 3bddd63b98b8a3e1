use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::generator::testing::{pipeline_of, work};
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

/// A ledger and a gate that let everything happen and note it, until `closes_after` calls have entered.
struct Notes {
    all: Mutex<Vec<String>>,
    entered: AtomicUsize,
    closes_after: usize,
    faults: u32,
    /// For how long the provider is shut when an end is reported.
    shut: Option<Duration>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            entered: AtomicUsize::new(0),
            closes_after: usize::MAX,
            faults: 0,
            shut: None,
        }
    }
}

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.all.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.all.lock().unwrap().clone()
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

    async fn is_known(&self, _: &str, _: &str) -> Result<bool, Unfinished> {
        Ok(false)
    }

    async fn failed(&self, _: i32, error: &ProviderError) {
        self.note(format!("failed {}", error.class));
    }

    async fn outcome_unknown(&self, _: i32, error: &ProviderError) -> Result<(), Unfinished> {
        self.note(format!("unknown {}", error.class));
        Ok(())
    }

    async fn unanswered(&self, _: i32, error: &ProviderError) {
        self.note(format!("unanswered {}", error.class));
    }

    fn followed_too_long(&self, failure: Failure) -> Unfinished {
        Unfinished::Failed(failure)
    }
}

#[async_trait]
impl Gate for Notes {
    async fn enter(&self, provider: &str) -> Result<(), Duration> {
        if self.entered.fetch_add(1, Ordering::Relaxed) >= self.closes_after {
            return Err(Duration::from_secs(30));
        }
        self.note(format!("enter {provider}"));
        Ok(())
    }

    fn not_made(&self, provider: &str) {
        self.note(format!("not made {provider}"));
    }

    async fn only_waits(&self) {
        self.note("only waits");
    }

    async fn report(&self, _: &str, verdict: Verdict, _: &str, _: Duration) -> Option<Duration> {
        self.note(format!("{verdict:?}"));
        self.shut
    }

    fn faults(&self, _: &str) -> u32 {
        self.faults
    }
}

struct NoProgress;

impl Progress for NoProgress {
    fn reached(&self, _: u8) {}
}

/// Has `provider` asked for a picture by one attempt.
async fn attempt(provider: Arc<Failing>, notes: &Notes) -> Unfinished {
    let work = work();
    let request = ImageRequest {
        job_id: 1,
        reuses: 0,
        work: &work,
        may_be_stored: false,
        open_call: None,
        billed_before: 0,
        ledger: notes,
        gate: notes,
        patience: Duration::from_secs(60),
        buy_until: None,
    };
    let pipeline = pipeline_of(Vec::new(), "nobody", &[]).await;
    let buyer = Buyer {
        request: &request,
        namespace: Uuid::nil(),
        pipeline: &pipeline,
        progress: &NoProgress,
        deadline: Instant::now() + Duration::from_secs(60),
        is_brief: false,
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
    match buyer.purchase(&orders).await {
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
    for (faults, calls) in [(1, 3), (2, 1)] {
        let failing = Failing::new(ErrorClass::Overloaded);
        let notes = Notes {
            faults,
            ..Notes::default()
        };
        let begun = Instant::now();
        is_failed(attempt(failing.clone(), &notes).await, ErrorClass::Overloaded);
        assert_eq!(failing.calls.load(Ordering::Relaxed), calls);
        assert!(calls > 1 || begun.elapsed().is_zero(), "no slot sleeps");
    }
}

#[tokio::test]
async fn an_attempt_that_may_not_call_is_out_of_reach() {
    let notes = Notes {
        closes_after: 0,
        ..Notes::default()
    };
    let unfinished = attempt(Failing::new(ErrorClass::Overloaded), &notes).await;
    assert_eq!(unfinished, Unfinished::OutOfReach(Duration::from_secs(30)));
    assert!(notes.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_has_called_counts_though_others_gave_the_service_up_meanwhile() {
    let failing = Failing::new(ErrorClass::Network);
    let notes = Notes {
        closes_after: 1,
        ..Notes::default()
    };
    is_failed(attempt(failing.clone(), &notes).await, ErrorClass::Network);
    assert_eq!(failing.calls.load(Ordering::Relaxed), 1);
    assert_eq!(
        notes.all(),
        ["enter failing", "intend", "failed network", "Failing"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_account_fails_the_job_only_while_its_provider_was_not_shut_for_that() {
    for class in [ErrorClass::Auth, ErrorClass::Quota] {
        is_failed(attempt(Failing::new(class), &Notes::default()).await, class);
        let shut = Notes {
            shut: Some(Duration::from_secs(10)),
            ..Notes::default()
        };
        let unfinished = attempt(Failing::new(class), &shut).await;
        assert_eq!(unfinished, Unfinished::OutOfReach(Duration::from_secs(10)));
        assert_eq!(shut.all()[2], format!("failed {class}"), "the ledger has it");
    }
}
