//! Answers as a table: what each means for the call, and what a request looks like that was sent.

use serde_json::Value;

use super::{Asked, CheckedSpec, Fake, Reply, Run, Subject, any_post, keyed};
use crate::failure::ErrorClass;
use crate::http_client::install_tls;
use crate::provider::DrawnImage;
use crate::provider::wire::keyed::Access;

impl Subject {
    /// A service behind a key and an address, which takes no options and answers a POST with what `good` says.
    pub(crate) fn keyed(
        access: &'static Access,
        key: &'static str,
        spec: CheckedSpec,
        good: fn(&Asked) -> Reply,
    ) -> Self {
        Self {
            provider: Box::new(move |base_url| keyed(access, base_url, key)),
            key,
            spec,
            good,
            buys: any_post,
            can_find_again: false,
            options: &[],
            fixed_names: false,
            classes: &[],
        }
    }
}

/// Has the request that buys answered with each of these, and fails with a list of those that were judged otherwise, or that
/// were asked for twice.
pub(crate) async fn answers(subject: &Subject, rows: Vec<(Reply, ErrorClass)>) {
    install_tls();
    let mut run = Run {
        subject,
        case: String::new(),
        faults: Vec::new(),
    };
    for (reply, class) in rows {
        let (outcome, fake) = run.draw(&format!("{reply:?}"), reply).await;
        run.expect(&outcome, &[class]);
        let bought = fake.asked().iter().filter(|asked| (subject.buys)(asked)).count();
        if bought != 1 {
            run.fault(format!("{bought} requests buy a picture; 1 was expected"));
        }
    }
    assert!(run.faults.is_empty(), "\n{}", run.faults.join("\n"));
}

/// One picture of this model and size from a service that is well: where the request went that bought it, its body, and the
/// picture.
pub(crate) async fn bought(mut subject: Subject, model: &str, size: &str) -> (String, Value, DrawnImage) {
    install_tls();
    let fake = Fake::start(subject.good).await;
    subject.spec.model = model.to_owned();
    subject.spec.size = Some(size.to_owned());
    let mut run = Run {
        subject: &subject,
        case: String::new(),
        faults: Vec::new(),
    };
    let drawn = run.draw_at(&fake.url).await.unwrap();
    assert!(run.faults.is_empty(), "\n{}", run.faults.join("\n"));
    let asked = fake
        .asked()
        .into_iter()
        .find(|asked| (subject.buys)(asked))
        .unwrap();
    (asked.path.clone(), asked.json(), drawn)
}
