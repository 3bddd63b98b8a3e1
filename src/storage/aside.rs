//! Requests whose first step keeps a core busy.

use futures_util::FutureExt;

/// Does the first step of a request on a thread where it holds up nobody, and the rest here. The client of S3 hashes all bytes in it, for
/// the signature: half a millisecond for a megabyte, in which the thread that all jobs share could do a dozen steps of others.
pub(super) async fn begun_aside<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> T {
    let mut request = Box::pin(request);
    let begun = tokio::task::spawn_blocking(move || {
        let done = request.as_mut().now_or_never();
        (request, done)
    });
    match begun.await {
        Ok((_, Some(done))) => done,
        Ok((request, None)) => request.await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn the_first_step_runs_elsewhere_and_the_rest_here() {
        let here = thread::current().id();
        let request = async move {
            assert_ne!(thread::current().id(), here);
            tokio::task::yield_now().await;
            assert_eq!(thread::current().id(), here);
            7
        };
        assert_eq!(begun_aside(request).await, 7);
        assert_eq!(begun_aside(async { 8 }).await, 8);
    }
}
