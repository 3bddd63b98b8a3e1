//! Whoever is told of ends by HTTP, on loopback: answers as it is told, keeps what is posted, and checks signatures with a library of others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use standardwebhooks::Webhook;
use wiremock::http::HeaderMap;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::stack::Stack;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One post as it came.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    raw: Vec<u8>,
    pub(crate) body: Value,
}

impl Post {
    fn of(request: Request) -> Self {
        assert_eq!(request.method.as_str(), "POST");
        Self {
            id: request.headers["webhook-id"].to_str().unwrap().to_owned(),
            body: serde_json::from_slice(&request.body).unwrap(),
            headers: request.headers,
            raw: request.body,
        }
    }

    /// Whether it is signed with this secret.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(&self.raw, &self.headers).is_ok()
    }
}

#[derive(Default)]
struct Answers {
    next: HashMap<String, VecDeque<ResponseTemplate>>,
    otherwise: HashMap<String, ResponseTemplate>,
}

/// A running receiver. Ends when it is dropped.
pub(crate) struct Receiver {
    server: MockServer,
    answers: Arc<Mutex<Answers>>,
}

impl Receiver {
    /// One that answers 204 to everything.
    pub(crate) async fn start() -> Self {
        Self::answering(MockServer::start().await).await
    }

    /// The same where this listens, whose address is known before anybody is there.
    pub(crate) async fn start_at(listener: std::net::TcpListener) -> Self {
        Self::answering(MockServer::builder().listener(listener).start().await).await
    }

    async fn answering(server: MockServer) -> Self {
        let answers = Arc::new(Mutex::new(Answers::default()));
        let given = answers.clone();
        let respond = move |request: &Request| {
            let mut answers = given.lock().unwrap();
            let path = request.url.path();
            let next = answers.next.get_mut(path).and_then(VecDeque::pop_front);
            let otherwise = || answers.otherwise.get(path).cloned();
            next.or_else(otherwise)
                .unwrap_or_else(|| ResponseTemplate::new(204))
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, answers }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.uri())
    }

    /// Answers the next post to this path so.
    pub(crate) fn then(&self, path: &str, answer: ResponseTemplate) {
        let mut answers = self.answers.lock().unwrap();
        answers.next.entry(path.to_owned()).or_default().push_back(answer);
    }

    /// Answers every post to this path so.
    pub(crate) fn always(&self, path: &str, answer: ResponseTemplate) {
        self.answers
            .lock()
            .unwrap()
            .otherwise
            .insert(path.to_owned(), answer);
    }

    /// The variables of a replica that may post here.
    pub(crate) fn variables(&self) -> [(String, String); 2] {
        [
            ("CALLBACK_HOSTS".to_owned(), self.server.uri()),
            ("CALLBACK_SECRET".to_owned(), SECRET.to_owned()),
        ]
    }

    /// How many requests have come, whatever they ask.
    pub(crate) async fn count(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }

    /// What was posted to this path so far.
    pub(crate) async fn posts(&self, path: &str) -> Vec<Post> {
        let requests = self.server.received_requests().await.unwrap();
        let requests = requests.into_iter().filter(|request| request.url.path() == path);
        requests.map(Post::of).collect()
    }

    /// What was posted so far, by path.
    pub(crate) async fn all_posts(&self) -> HashMap<String, Vec<Post>> {
        let mut posts: HashMap<String, Vec<Post>> = HashMap::new();
        for request in self.server.received_requests().await.unwrap() {
            posts
                .entry(request.url.path().to_owned())
                .or_default()
                .push(Post::of(request));
        }
        posts
    }

    /// Waits until so much was posted to this path.
    pub(crate) async fn told(&self, stack: &Stack, path: &str, count: usize) -> Vec<Post> {
        let what = format!("{path} has been posted to {count} times");
        stack
            .until(&what, async || {
                let posts = self.posts(path).await;
                (posts.len() >= count).then_some(posts)
            })
            .await
    }
}

impl Stack {
    /// Starts a replica that may post to a receiver.
    pub(crate) async fn replica_for(
        &self,
        receiver: &Receiver,
        variables: &[(&str, &str)],
    ) -> super::replica::Replica {
        let own = receiver.variables();
        let mut all: Vec<(&str, &str)> = own
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.extend(variables);
        self.replica(&all).await
    }

    /// Waits until a query counts so many rows of the outbox.
    pub(crate) async fn outbox_has(&self, condition: &str, count: i64) {
        let query = format!("SELECT count(*) FROM generative_ai.callbacks WHERE {condition}");
        let what = format!("{count} rows of the outbox are {condition}");
        self.until(&what, async || (self.count(&query).await == count).then_some(()))
            .await;
    }
}
