//! Telling a provider that nobody wants a picture any more.

use std::time::Duration;

use super::Pipeline;
use crate::generator::purchase::call_id;
use crate::provider::Unsupported;

/// Nobody waits for the picture, so this is all that telling may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Tells a provider, by its name, that nobody wants the picture of the call that it knows as `handle`. Best
    /// effort, and within 5 s; `false` when it has not confirmed that by then.
    ///
    /// # Errors
    /// [`Unsupported`] for a provider that this version does not know.
    pub async fn cancel_call(&self, provider: &str, handle: &str) -> Result<bool, Unsupported> {
        let provider = self.settings.providers.select(Some(provider))?;
        let told = tokio::time::timeout(PATIENCE, provider.cancel(handle)).await;
        if told.is_err() {
            let name = provider.name();
            tracing::warn!(
                provider = name,
                "{name} was not told in time that nobody waits for a picture any more"
            );
        }
        Ok(told.unwrap_or(false))
    }

    /// What a provider knows a call by whose handle is in no ledger, where it takes ids from its caller. The calls of
    /// a job are counted from 1; those that cost nothing are all 0. `reuses`: how many other jobs have had its number before.
    #[must_use]
    pub fn handle_of(&self, provider: &str, job_id: i32, reuses: i32, call_no: i32) -> Option<String> {
        let provider = self.settings.providers.select(Some(provider)).ok()?;
        provider.handle_of(call_id(self.namespace(reuses), job_id, call_no))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::generator::testing::pipeline_of;
    use crate::provider::{Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn};

    /// Keeps what it is told, and never answers where the handle says so.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl ImageProvider for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        fn check(&self, _: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
            Ok(CheckedSpec::default())
        }

        async fn draw(&self, _: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
            unreachable!("nobody draws")
        }

        fn handle_of(&self, call_id: Uuid) -> Option<String> {
            Some(call_id.to_string())
        }

        async fn cancel(&self, handle: &str) -> bool {
            self.0.lock().unwrap().push(handle.to_owned());
            if handle == "silent" {
                std::future::pending::<()>().await;
            }
            handle != "refused"
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_is_told_by_its_name_and_waited_for_no_longer_than_a_moment() {
        let told = Told::default();
        let pipeline = pipeline_of(vec![Arc::new(told.clone())], "told", &[]).await;
        let begun = Instant::now();
        assert_eq!(pipeline.cancel_call("told", "h-1").await, Ok(true));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(pipeline.cancel_call("told", "refused").await, Ok(false));
        assert_eq!(pipeline.cancel_call("told", "silent").await, Ok(false));
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(*told.0.lock().unwrap(), ["h-1", "refused", "silent"]);
        let refused = pipeline.cancel_call("nobody", "h-1").await.unwrap_err();
        assert_eq!(
            refused.message,
            "Unsupported image provider: nobody; this version has told"
        );
    }

    #[tokio::test]
    async fn a_call_without_a_saved_handle_has_the_one_that_it_was_made_with() {
        let pipeline = pipeline_of(vec![Arc::new(Told::default())], "told", &[]).await;
        let handle = pipeline.handle_of("told", 7, 0, 0).unwrap();
        assert_eq!(handle, call_id(Uuid::nil(), 7, 0).to_string());
        assert_ne!(pipeline.handle_of("told", 7, 0, 1).unwrap(), handle);
        assert_ne!(
            pipeline.handle_of("told", 7, 1, 0).unwrap(),
            handle,
            "another job under that number"
        );
        assert_eq!(pipeline.handle_of("nobody", 7, 0, 0), None);
    }
}
