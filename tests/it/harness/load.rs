//! Replicas at work, and what they say when what they stand on gives way.

use std::time::Duration;

use super::openai::{OpenAi, small_picture};
use super::replica::Replica;
use super::stack::Stack;

pub(crate) const REDIS_GONE: &str = "Redis does not answer";
pub(crate) const REDIS_BACK: &str = "Redis answers again";
pub(crate) const POSTGRES_GONE: &str = "Postgres does not answer";
pub(crate) const POSTGRES_BACK: &str = "Postgres answers again";

/// Two replicas, and an image service that takes its time, so that an outage meets packages in every state.
pub(crate) struct Load {
    pub(crate) openai: OpenAi,
    pub(crate) replicas: [Replica; 2],
}

impl Load {
    pub(crate) async fn start(stack: &Stack, variables: &[(&str, &str)]) -> Self {
        let openai = OpenAi::start(small_picture()).await;
        openai.delay(Duration::from_millis(150));
        let variables = [&[("WORKER_CONCURRENCY", "3")], variables].concat();
        let replicas = [
            stack.replica_of(&openai, &variables).await,
            stack.replica_of(&openai, &variables).await,
        ];
        Self { openai, replicas }
    }

    pub(crate) async fn all_say(&self, text: &str) {
        for replica in &self.replicas {
            replica.said(text).await;
        }
    }

    pub(crate) fn each_said_once(&self, texts: &[&str]) {
        for replica in &self.replicas {
            for text in texts {
                assert_eq!(replica.times_said(text), 1, "{text}\n{}", replica.log());
            }
        }
    }

    pub(crate) fn each_said_at_most_once(&self, texts: &[&str]) {
        for replica in &self.replicas {
            for text in texts {
                assert!(replica.times_said(text) <= 1, "{text}\n{}", replica.log());
            }
        }
    }

    /// No job was taken away from a replica that lives.
    pub(crate) async fn counted_nothing(&self, stack: &Stack, jobs: usize) {
        let sums = "SELECT sum(attempts + crashes) FROM generative_ai.jobs";
        assert_eq!(stack.count(sums).await, 0);
        assert_eq!(self.openai.calls().len(), jobs, "every job was drawn once");
    }
}
