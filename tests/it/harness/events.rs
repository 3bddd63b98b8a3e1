//! The event channel, as a subscriber sees it.

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use serde_json::Value;

use super::stack::{PATIENCE, Stack};

/// A subscription that begins when it is made.
pub(crate) struct Events {
    messages: PubSubStream,
    _open: PubSubSink,
}

impl Events {
    pub(crate) async fn of(stack: &Stack) -> Self {
        let client = redis::Client::open(stack.redis.url()).unwrap();
        let (mut sink, messages) = client.get_async_pubsub().await.unwrap().split();
        sink.subscribe("{generative-ai}:events").await.unwrap();
        Self {
            messages,
            _open: sink,
        }
    }

    /// Waits for the next event, whatever it says.
    pub(crate) async fn any(&mut self) -> Value {
        let message = tokio::time::timeout(PATIENCE, self.messages.next()).await;
        let message = message.expect("an event comes").expect("the subscription holds");
        serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap()
    }

    /// Waits for the next event with this status and passes over all others.
    pub(crate) async fn next(&mut self, status: &str) -> Value {
        let waiting = async {
            loop {
                let message = self.messages.next().await.expect("the subscription holds");
                let event: Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
                if event["status"] == status {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for an event \"{status}\""))
    }
}
