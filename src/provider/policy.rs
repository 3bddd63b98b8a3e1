//! Providers that wrap providers: sending the same call again within one attempt.
//!
//! Only where nothing can have been bought, and only for moments: a wait of more than 3 seconds is
//! left to the queue, which does not hold a slot meanwhile.

use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{CheckedSpec, DrawnImage, ImageProvider, ImageSpec, ProviderError, Unsupported};
use crate::failure::ErrorClass;
use crate::work_package::{ImageType, Prompt};

/// After the first call there are at most this many more.
const MAX_RESENDS: u32 = 2;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// The longest wait asked for by a provider that is spent within the attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A provider whose calls are sent again when they failed for a moment and for free.
pub struct Resending<P> {
    inner: P,
}

impl<P: ImageProvider> Resending<P> {
    /// Wraps `inner`.
    pub fn new(inner: P) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl<P: ImageProvider> ImageProvider for Resending<P> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        self.inner.check(spec)
    }

    fn is_free(&self) -> bool {
        self.inner.is_free()
    }

    fn prompt_for(&self, prompt: &Prompt, image_type: ImageType) -> Prompt {
        self.inner.prompt_for(prompt, image_type)
    }

    /// As the wrapped provider's, with at most 2 resends. The last error is returned, with their number.
    async fn draw(
        &self,
        prompt: &Prompt,
        spec: &CheckedSpec,
        deadline: Instant,
    ) -> Result<DrawnImage, ProviderError> {
        let mut resends = 0;
        loop {
            let mut error = match self.inner.draw(prompt, spec, deadline).await {
                Ok(image) => return Ok(image),
                Err(error) => error,
            };
            let pause = (resends < MAX_RESENDS)
                .then(|| pause_before_resend(&error, resends))
                .flatten()
                .filter(|pause| Instant::now() + *pause < deadline);
            let Some(pause) = pause else {
                if resends > 0 {
                    error.details.push_str(&format!(" (after {resends} resends)"));
                }
                return Err(error);
            };
            resends += 1;
            tracing::warn!(
                provider = error.provider,
                error.class = %error.class,
                pause_ms = pause.as_millis() as u64,
                "{error}; sending it again in {} ms, {resends} of {MAX_RESENDS} resends",
                pause.as_millis()
            );
            tokio::time::sleep(pause).await;
        }
    }
}

/// How long to pause before the same call is sent again, or `None` where it must not be.
///
/// `Overloaded` is a definite answer that no picture was made; gateways' timeouts are `Ambiguous`.
fn pause_before_resend(error: &ProviderError, resends: u32) -> Option<Duration> {
    let asked = match (error.class, error.retry_after) {
        (ErrorClass::RateLimited, None) => return None,
        (ErrorClass::RateLimited | ErrorClass::Overloaded | ErrorClass::Network, asked) => {
            asked.unwrap_or_default()
        }
        _ => return None,
    };
    if asked > LONGEST_WAIT {
        return None;
    }
    // Full jitter: replicas that failed together do not come back together.
    let limit = (FIRST_BACKOFF * 2_u32.pow(resends)).min(MAX_BACKOFF);
    Some(asked + rand::rng().random_range(Duration::ZERO..=limit))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Fails with the given errors, then draws; remembers when it was called.
    struct Scripted {
        errors: Mutex<Vec<ProviderError>>,
        calls: Mutex<Vec<Instant>>,
    }

    #[async_trait]
    impl ImageProvider for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
            Ok(CheckedSpec {
                model: spec.model.clone().unwrap_or_default(),
                size: None,
                quality: None,
                seed: None,
            })
        }

        async fn draw(&self, _: &Prompt, _: &CheckedSpec, _: Instant) -> Result<DrawnImage, ProviderError> {
            self.calls.lock().unwrap().push(Instant::now());
            let mut errors = self.errors.lock().unwrap();
            if !errors.is_empty() {
                return Err(errors.remove(0));
            }
            Ok(DrawnImage {
                bytes: "picture".into(),
                source: crate::provider::DigitalSource::Algorithm,
                request_id: None,
                usage: None,
                cost_usd: None,
            })
        }
    }

    fn error(class: ErrorClass, wait_ms: Option<u64>) -> ProviderError {
        ProviderError {
            provider: "scripted",
            class,
            details: "no".into(),
            request_id: None,
            retry_after: wait_ms.map(Duration::from_millis),
        }
    }

    /// The outcome, and after which times each call was made.
    async fn draw(
        errors: Vec<ProviderError>,
        deadline: Duration,
    ) -> (Result<DrawnImage, ProviderError>, Vec<Duration>) {
        let provider = Resending::new(Scripted {
            errors: errors.into(),
            calls: Mutex::default(),
        });
        let begun = Instant::now();
        let spec = provider.check(&ImageSpec::default()).unwrap();
        let outcome = provider
            .draw(&Prompt::new("x".into()), &spec, begun + deadline)
            .await;
        let calls = provider.inner.calls.lock().unwrap();
        (outcome, calls.iter().map(|call| *call - begun).collect())
    }

    const LONG: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_a_moment_is_sent_again_within_bounds() {
        for class in [ErrorClass::Network, ErrorClass::Overloaded] {
            let (outcome, calls) = draw(vec![error(class, None), error(class, None)], LONG).await;
            assert_eq!(&outcome.unwrap().bytes[..], b"picture");
            assert_eq!(calls.len(), 3);
            // The clock of tokio's timers has steps of a millisecond.
            assert!(calls[1] <= Duration::from_millis(251), "{calls:?}");
            assert!(calls[2] - calls[1] <= Duration::from_millis(501), "{calls:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_failure_is_returned_with_the_number_of_resends() {
        let errors = vec![error(ErrorClass::Overloaded, None); 3];
        let (outcome, calls) = draw(errors, LONG).await;
        assert_eq!(outcome.unwrap_err().details, "no (after 2 resends)");
        assert_eq!(calls.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_that_was_asked_for_is_honoured() {
        let (outcome, calls) = draw(vec![error(ErrorClass::RateLimited, Some(3000))], LONG).await;
        outcome.unwrap();
        assert!(calls[1] >= Duration::from_secs(3), "{calls:?}");
        assert!(calls[1] <= Duration::from_millis(3251), "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_wait_is_left_to_the_queue() {
        for error in [
            error(ErrorClass::RateLimited, Some(3001)),
            error(ErrorClass::RateLimited, None),
            error(ErrorClass::Overloaded, Some(3001)),
        ] {
            let (outcome, calls) = draw(vec![error.clone()], LONG).await;
            assert_eq!(outcome.unwrap_err(), error);
            assert_eq!(calls, [Duration::ZERO]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_bought_or_is_refused_for_good_is_not_sent_again() {
        for class in ErrorClass::ALL {
            let resent = matches!(class, ErrorClass::Network | ErrorClass::Overloaded);
            let (outcome, calls) = draw(vec![error(class, None)], LONG).await;
            assert_eq!(outcome.is_ok(), resent, "{class}");
            assert_eq!(calls.len(), if resent { 2 } else { 1 }, "{class}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_again_at_or_after_the_deadline() {
        let wait = Duration::from_millis(2000);
        let (outcome, calls) = draw(vec![error(ErrorClass::Overloaded, Some(2000))], wait).await;
        assert_eq!(outcome.unwrap_err().class, ErrorClass::Overloaded);
        assert_eq!(calls.len(), 1);
    }
}
