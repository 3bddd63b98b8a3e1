//! The provider against a fake on loopback that queues, forgets, fails and stops as a server does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use url::Url;

use super::*;
use crate::http_client::Downloads;
use crate::http_client::tests::in_minutes;
use crate::provider::Watch;
use crate::provider::suite::{self, Asked, Fake, Reply, Subject};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::keyed::Keyed;
use crate::provider::wire::polling::tests::{ended as has_ended, goes_on};

mod asking;
mod endings;

const KEY: &str = "comfy-0123456789abcdef";

fn built(settings: &Keyed) -> Arc<dyn ImageProvider> {
    settings.build(&Downloads::new(false).unwrap()).unwrap()
}

fn provider(base_url: &Url) -> Arc<dyn ImageProvider> {
    built(&suite::settings(&ACCESS, base_url, KEY))
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "x.safetensors".into(),
        size: Some("1344x768".into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

/// A picture as the server makes it, with the workflow beside the pixels.
fn png() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb([1, 2, 3]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let mut png = png.into_inner();
    let text = b"tEXtprompt\0{\"6\":{\"text\":\"a paper boat\"}}";
    let length = u32::try_from(text.len() - 4).unwrap().to_be_bytes();
    let chunk = [&length[..], text, &crc32fast::hash(text).to_be_bytes()].concat();
    let after_header = 33;
    png.splice(after_header..after_header, chunk);
    png
}

fn done(handle: &str) -> Value {
    json!({handle: {"prompt": [12, handle, {}, {}, ["9"]],
        "outputs": {"9": {"images": [{"filename": "a b.png", "subfolder": "s", "type": "output"}]}},
        "status": {"status_str": "success", "completed": true, "messages": []}}})
}

fn ended(handle: &str, messages: Value) -> Value {
    json!({handle: {"outputs": {}, "status": {"status_str": "error", "completed": false, "messages": messages}}})
}

fn queue(running: &[&str], pending: &[&str]) -> Value {
    let list = |ids: &[&str]| ids.iter().map(|id| json!([1, id, {}, {}, []])).collect::<Value>();
    json!({"queue_running": list(running), "queue_pending": list(pending)})
}

fn is_queueing(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path == "/prompt"
}

/// What a server answers next to each kind of question: the last answer stays.
#[derive(Clone)]
struct Script(Arc<Mutex<Answers>>);

struct Answers {
    history: Vec<Reply>,
    queue: Vec<Reply>,
    prompt: Vec<Reply>,
    view: Vec<Reply>,
}

impl Script {
    /// One for which all goes well from when it is asked for a picture.
    fn new() -> Self {
        let id = Uuid::nil().to_string();
        let accepted = json!({"prompt_id": id, "number": 1, "node_errors": {}});
        Self(Arc::new(Mutex::new(Answers {
            // Asked for twice before anything is queued.
            history: vec![
                Reply::json(200, &json!({})),
                Reply::json(200, &json!({})),
                Reply::json(200, &done(&id)),
            ],
            queue: vec![Reply::json(200, &queue(&[], &[]))],
            prompt: vec![Reply::json(200, &accepted)],
            view: vec![Reply::of(200, "image/png", png())],
        })))
    }

    fn with(self, change: impl FnOnce(&mut Answers)) -> Self {
        change(&mut self.0.lock().unwrap());
        self
    }

    async fn start(&self) -> Fake {
        let script = self.0.clone();
        Fake::start(move |asked| {
            let mut answers = script.lock().unwrap();
            let path = asked.path.split('?').next().unwrap();
            let list = match (&*asked.method, path) {
                ("GET", "/queue") => &mut answers.queue,
                ("GET", "/view") => &mut answers.view,
                ("POST", "/prompt") => &mut answers.prompt,
                ("GET", _) => &mut answers.history,
                _ => return Reply::json(200, &json!({})),
            };
            if list.len() > 1 {
                list.remove(0)
            } else {
                list[0].clone()
            }
        })
        .await
    }
}

#[derive(Default)]
struct Handles(Mutex<Vec<String>>);

#[async_trait]
impl Watch for Handles {
    async fn accepted(&self, handle: &str) {
        self.0.lock().unwrap().push(handle.to_owned());
    }
    fn progress(&self, _: f32) {}
}

/// The outcome of a call, and the handles that it was accepted under.
async fn draw(fake: &Fake) -> (Result<DrawnImage, NotDrawn>, Vec<String>) {
    let (prompt, spec, handles) = (Prompt::new("a paper boat".into()), spec(), Handles::default());
    let call = Call {
        is_brief: false,
        may_be_forgotten: true,
        watch: &handles,
        ..Call::unwatched(&prompt, &spec, in_minutes(5))
    };
    let outcome = provider(&fake.url).draw(&call).await;
    (outcome, handles.0.into_inner().unwrap())
}

async fn resume(fake: &Fake, handle: &str) -> Result<DrawnImage, NotDrawn> {
    let (prompt, spec) = (Prompt::new("a paper boat".into()), spec());
    let call = Call::unwatched(&prompt, &spec, in_minutes(5));
    provider(&fake.url).resume(handle, &call).await
}

fn times(fake: &Fake, method: &str, path: &str) -> usize {
    let asked = fake.asked();
    let matching = asked
        .iter()
        .filter(|asked| asked.method == method && asked.path.starts_with(path));
    matching.count()
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    /// How often each fake has been asked for its history: twice before anything is queued.
    static LOOKS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    fn good(asked: &Asked) -> Reply {
        let id = Uuid::nil().to_string();
        match asked.path.split('?').next().unwrap() {
            "/prompt" => Reply::json(200, &json!({"prompt_id": id, "number": 1, "node_errors": {}})),
            "/view" => Reply::of(200, "image/png", png()),
            "/queue" => Reply::json(200, &queue(&[], &[])),
            _ => {
                let mut looks = LOOKS.lock().unwrap();
                let looks = looks.entry(asked.origin.clone()).or_default();
                *looks += 1;
                Reply::json(200, &if *looks > 2 { done(&id) } else { json!({}) })
            }
        }
    }
    let subject = Subject {
        provider: Box::new(|base_url| provider(base_url)),
        key: KEY,
        spec: spec(),
        good,
        buys: is_queueing,
        can_find_again: true,
        fixed_names: true,
        options: &[("low", ""), ("negative prompt", "\"text\":\"blurry unicorns\"")],
        classes: &[],
    };
    suite::run(&subject).await;
}
