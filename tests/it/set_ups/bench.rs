//! What stands around the commands while a set-up is wrong, and that nothing of it is used or left.

use std::collections::BTreeSet;

use redis::AsyncCommands;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{Command, Made, Variables, Wrong, all_say, postgres};
use crate::harness::command::command_on;
use crate::harness::files_below;
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::picture::any_picture;
use crate::harness::stack::Stack;

/// Servers that are well, a role with the rights of a replica, and a provider whose calls are counted.
pub(super) struct Bench {
    pub(super) stack: Stack,
    openai: OpenAi,
    /// Answers whatever it is asked, as any page does.
    stranger: MockServer,
    /// What leads a replica to all of it.
    pub(super) variables: Vec<(String, String)>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let stack = Stack::start().await;
        let sql = stack.sql_client().await;
        sql.batch_execute(postgres::ROLE).await.unwrap();
        let openai = OpenAi::start(Reply::Picture(any_picture())).await;
        let stranger = MockServer::start().await;
        let page = ResponseTemplate::new(200).set_body_string("welcome");
        Mock::given(any()).respond_with(page).mount(&stranger).await;
        // A machine that is busy is slow, and not wrong.
        let url = format!(
            "postgres://worker:change-me@127.0.0.1:{}/postgres?connect_timeout=60",
            stack.postgres.port()
        );
        let mut variables = openai.variables().to_vec();
        variables.push(("DATABASE_URL".to_owned(), url));
        Self {
            stack,
            openai,
            stranger,
            variables,
        }
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{redis}", &self.stack.redis.port().to_string())
            .replace("{postgres}", &self.stack.postgres.port().to_string())
            .replace("{stranger}", &self.stranger.address().port().to_string())
            .replace("{redis_url}", &self.stack.redis.url())
    }

    async fn run(&self, commands: &[Command]) {
        let mut redis = self.stack.redis().await;
        for words in commands {
            let words: Vec<String> = words.iter().map(|word| self.filled(word)).collect();
            let mut command = redis::cmd(&words[0]);
            command.arg(&words[1..]);
            command.query_async::<redis::Value>(&mut redis).await.unwrap();
        }
    }

    /// Makes it wrong, and asks the three.
    pub(super) async fn is_told(&self, wrong: &Wrong) {
        let (what, variables): (String, Variables) = match &wrong.made {
            Made::InPostgres(made, _) => {
                self.stack.sql_client().await.batch_execute(made).await.unwrap();
                ((*made).to_owned(), &[])
            }
            Made::InRedis(made, _, variables) => {
                self.run(made).await;
                (format!("{made:?} {variables:?}"), variables)
            }
            Made::Set(variables) => (format!("{variables:?}"), variables),
        };
        let mut all = self.variables.clone();
        for (name, value) in variables {
            all.push(((*name).to_owned(), self.filled(value)));
        }
        let all: Vec<(&str, &str)> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let keys = self.keys().await;
        let said: Vec<String> = wrong.said.iter().map(|text| self.filled(text)).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        all_say(&self.stack, &all, &what, wrong.status, &said).await;
        assert_eq!(self.keys().await, keys, "what stays in Redis of {what}");
    }

    pub(super) async fn mend(&self, wrong: &Wrong) {
        match &wrong.made {
            Made::InPostgres(_, mended) => {
                let sql = self.stack.sql_client().await;
                sql.batch_execute(mended).await.unwrap();
            }
            Made::InRedis(_, mended, _) => self.run(mended).await,
            Made::Set(_) => {}
        }
    }

    async fn keys(&self) -> BTreeSet<String> {
        let keys: Vec<String> = self.stack.redis().await.keys("*").await.unwrap();
        keys.into_iter().collect()
    }

    /// What is mended is told to be well, nothing was bought, and nothing stays.
    pub(super) async fn is_well_and_empty(&self) {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let well = command_on(&self.stack, &["check-config"], &variables).await;
        assert_eq!((well.status, well.err.as_str()), (Some(0), ""), "{}", well.out);
        assert_eq!((self.openai.calls().len(), self.openai.bills()), (0, 0));
        for empty in [
            "images",
            "generative_ai.jobs",
            "generative_ai.provider_calls",
            "generative_ai.dead_packages",
        ] {
            let count = self.stack.count(&format!("SELECT count(*) FROM {empty}")).await;
            assert_eq!(count, 0, "a try stays in {empty}");
        }
        assert_eq!(self.keys().await, BTreeSet::new());
        assert!(files_below(self.stack.pictures.path()).is_empty());
    }
}
