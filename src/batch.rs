//! What comes together goes together: single requests that share one round trip.
//!
//! A batch is whatever has arrived when the previous batch has returned, and whatever comes with it from tasks that are ready.
//! So a lone request waits for nobody, and a hundred at once cost about as much as one.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long requests without a watcher wait for one with a watcher to go with.
const LINGER: Duration = Duration::from_millis(5);

/// Between what wakes a task and what it asks for next are two steps of others at the most, which it wakes in its turn.
const STEPS: usize = 3;

/// Lets the tasks go first that are ready now: whether that has raised a count. Where there are none it costs nothing.
pub async fn grows(count: impl Fn() -> usize) -> bool {
    let before = count();
    for _ in 0..STEPS {
        tokio::task::yield_now().await;
        if count() > before {
            return true;
        }
    }
    false
}

/// A lane that runs the requests of many callers in batches, one batch after the other, in their order.
#[derive(Debug)]
pub struct Batcher<I, O> {
    requests: mpsc::UnboundedSender<Request<I, O>>,
    under_way: TaskTracker,
}

/// A request and whom it is made for.
type Request<I, O> = (I, Caller<O>);

#[derive(Debug)]
struct Caller<O> {
    /// Where an answer is waited for.
    answer: Option<oneshot::Sender<O>>,
    _under_way: TaskTrackerToken,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            under_way: self.under_way.clone(),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the lane. `run` gets 1 to `max` requests and returns one answer for each, in their order.
    ///
    /// The queue in front of it is unbounded, since its callers are bounded: each is a package in the worker's hand.
    /// The lane ends when the last clone of the batcher is gone.
    pub fn spawn<F, Fut>(max: usize, mut run: F) -> Self
    where
        F: FnMut(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<O>> + Send,
    {
        let (requests, mut queue) = mpsc::unbounded_channel::<Request<I, O>>();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while queue.recv_many(&mut waiting, max).await > 0 {
                if waiting.iter().all(|(_, caller)| caller.answer.is_none()) {
                    let company = wait_for_company(&mut queue, &mut waiting, max);
                    let _ = tokio::time::timeout(LINGER, company).await;
                }
                while waiting.len() < max && grows(|| queue.len()).await {
                    let room = max - waiting.len();
                    queue.recv_many(&mut waiting, room).await;
                }
                let (inputs, callers): (Vec<I>, Vec<_>) = waiting.drain(..).unzip();
                for (caller, output) in callers.into_iter().zip(run(inputs).await) {
                    // A caller that has gone away (its job was stopped) needs no answer.
                    let _ = caller.answer.map(|answer| answer.send(output));
                }
            }
        });
        Self {
            requests,
            under_way: TaskTracker::new(),
        }
    }

    fn send(&self, input: I, answer: Option<oneshot::Sender<O>>) {
        let caller = Caller {
            answer,
            _under_way: self.under_way.token(),
        };
        // Where there is no lane any more, the caller's end is dropped here, which the other end hears.
        let _ = self.requests.send((input, caller));
    }

    /// Waits until nothing is under way, also of what nobody waits for any more.
    pub async fn idle(&self) {
        // It takes requests all the same.
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// Runs one request with the next batch. It has its place in the order from this call on, whether or not the result is
    /// polled. `None` when the lane has broken (its task panicked).
    pub fn submit(&self, input: I) -> impl Future<Output = Option<O>> + Send + use<I, O> {
        let (caller, answer) = oneshot::channel();
        self.send(input, Some(caller));
        async { answer.await.ok() }
    }

    /// Hands a request over without waiting for its answer; it keeps its place in the order. By itself it begins no batch
    /// for 5 ms, as one that is watched mostly follows.
    pub fn submit_unwatched(&self, input: I) {
        self.send(input, None);
    }
}

/// Gathers requests until one of them is watched.
async fn wait_for_company<I, O>(
    queue: &mut mpsc::UnboundedReceiver<Request<I, O>>,
    waiting: &mut Vec<Request<I, O>>,
    max: usize,
) {
    while waiting.len() < max
        && let Some(request) = queue.recv().await
    {
        let is_watched = request.1.answer.is_some();
        waiting.push(request);
        if is_watched {
            return;
        }
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

    #[tokio::test(start_paused = true)]
    async fn what_nobody_watches_goes_with_what_follows_or_alone_after_a_moment() {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let lane = {
            let batches = batches.clone();
            Batcher::spawn(10, move |inputs: Vec<u32>| {
                batches.lock().unwrap().push(inputs.clone());
                async { inputs }
            })
        };
        lane.submit_unwatched(1);
        tokio::time::sleep(LINGER / 2).await;
        lane.submit_unwatched(2);
        assert_eq!(lane.submit(3).await, Some(3));
        lane.submit_unwatched(4);
        tokio::time::sleep(LINGER * 2).await;
        assert_eq!(*batches.lock().unwrap(), [vec![1, 2, 3], vec![4]]);
    }

    #[tokio::test]
    async fn a_request_has_its_place_before_its_answer_is_asked_for() {
        let lane = Batcher::spawn(10, |inputs: Vec<u32>| {
            let first = inputs[0];
            async move { inputs.into_iter().map(|input| (first, input)).collect() }
        });
        let early = lane.submit(1);
        assert_eq!(lane.submit(2).await, Some((1, 2)));
        assert_eq!(early.await, Some((1, 1)));
    }

    #[tokio::test]
    async fn a_lane_is_idle_when_what_nobody_waits_for_has_run_too() {
        let gate = Arc::new(Semaphore::new(0));
        let lane = {
            let gate = gate.clone();
            Batcher::spawn(10, move |inputs: Vec<u32>| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    inputs
                }
            })
        };
        lane.idle().await;
        drop(lane.submit(1));
        let mut idle = std::pin::pin!(lane.idle());
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut idle).is_pending());
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        idle.await;
        gate.add_permits(1);
        assert_eq!(lane.submit(2).await, Some(2));
    }

    #[tokio::test]
    async fn a_broken_lane_answers_nobody_instead_of_hanging() {
        let lane: Batcher<u32, u32> = Batcher::spawn(10, |_| async { panic!("planted") });
        assert_eq!(lane.submit(1).await, None);
        assert_eq!(lane.submit(2).await, None);
        lane.idle().await;
    }
}
