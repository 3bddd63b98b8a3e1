//! What comes together goes together: single requests that share one round trip.
//!
//! A batch is whatever has arrived when the previous batch has returned. So a lone request waits for
//! nobody, and a hundred at once cost about as much as one.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// A lane that runs the requests of many callers in batches, one batch after the other, in their order.
#[derive(Debug)]
pub struct Batcher<I, O> {
    requests: mpsc::UnboundedSender<(I, oneshot::Sender<O>)>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the lane. `run` gets 1 to `max` requests and returns one answer for each, in their order.
    ///
    /// The queue in front of it is unbounded, since its callers are bounded: each holds a slot of the worker.
    /// The lane ends when the last clone of the batcher is gone.
    pub fn spawn<F, Fut>(max: usize, mut run: F) -> Self
    where
        F: FnMut(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<O>> + Send,
    {
        let (requests, mut queue) = mpsc::unbounded_channel::<(I, oneshot::Sender<O>)>();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while queue.recv_many(&mut waiting, max).await > 0 {
                if waiting.len() < max {
                    // Lets the tasks that are ready now add theirs, which costs a lone request nothing.
                    tokio::task::yield_now().await;
                    while waiting.len() < max
                        && let Ok(request) = queue.try_recv()
                    {
                        waiting.push(request);
                    }
                }
                let (inputs, callers): (Vec<I>, Vec<_>) = waiting.drain(..).unzip();
                for (caller, output) in callers.into_iter().zip(run(inputs).await) {
                    // A caller that has gone away (its job was stopped) needs no answer.
                    let _ = caller.send(output);
                }
            }
        });
        Self { requests }
    }

    /// Runs one request with the next batch. `None` when the lane has broken (its task panicked).
    pub async fn submit(&self, input: I) -> Option<O> {
        let (caller, answer) = oneshot::channel();
        self.requests.send((input, caller)).ok()?;
        answer.await.ok()
    }

    /// Hands a request over without waiting for its answer; it keeps its place in the order.
    pub fn submit_unwatched(&self, input: I) {
        let (caller, _) = oneshot::channel();
        let _ = self.requests.send((input, caller));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_arrives_while_a_batch_runs_forms_the_next_one() {
        let gate = Arc::new(Semaphore::new(0));
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let lane = {
            let (gate, sizes) = (gate.clone(), sizes.clone());
            Batcher::spawn(10, move |inputs: Vec<u32>| {
                sizes.lock().unwrap().push(inputs.len());
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    inputs.into_iter().map(|n| n * 2).collect()
                }
            })
        };
        let first = tokio::spawn({
            let lane = lane.clone();
            async move { lane.submit(1).await }
        });
        while sizes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = (2..=13)
            .map(|n| {
                let lane = lane.clone();
                tokio::spawn(async move { (n, lane.submit(n).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.add_permits(3);
        assert_eq!(first.await.unwrap(), Some(2));
        for answer in rest {
            let (n, doubled) = answer.await.unwrap();
            assert_eq!(doubled, Some(n * 2));
        }
        assert_eq!(*sizes.lock().unwrap(), [1, 10, 2]);
    }

    #[tokio::test]
    async fn a_broken_lane_answers_nobody_instead_of_hanging() {
        let lane: Batcher<u32, u32> = Batcher::spawn(10, |_| async { panic!("planted") });
        assert_eq!(lane.submit(1).await, None);
        assert_eq!(lane.submit(2).await, None);
    }
}
