//! Requests for pictures that are made from others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::{Asked, Fake, PROMPT, Reply};
use crate::http_client::{Attachment, install_tls};
use crate::provider::{Call, ImageProvider, ImageSpec, References};
use crate::work_package::Prompt;

/// So many files that are told apart by their bytes: `picture 1`, which is `cGljdHVyZSAx` as base64, and so on; the second is a JPEG.
pub(crate) fn pictures(count: usize) -> References {
    let picture = |number: usize| Attachment {
        bytes: format!("picture {number}").into(),
        media_type: if number == 2 { "image/jpeg" } else { "image/png" },
        extension: if number == 2 { "jpg" } else { "png" },
    };
    References::new((1..=count).map(picture).collect())
}

/// The request that buys a picture of this model, made from so many others, of a service that is well.
pub(crate) async fn bought_from(
    provider: impl Fn(&Url) -> Arc<dyn ImageProvider>,
    good: fn(&Asked) -> Reply,
    model: &str,
    count: usize,
) -> Asked {
    install_tls();
    let fake = Fake::start(good).await;
    let provider = provider(&fake.url);
    let asked = ImageSpec {
        model: Some(model.to_owned()),
        reference_count: count,
        ..ImageSpec::default()
    };
    let spec = provider.check(&asked).unwrap();
    let (prompt, references) = (Prompt::new(PROMPT.to_owned()), pictures(count));
    let call = Call {
        references: &references,
        ..Call::unwatched(&prompt, &spec, Instant::now() + Duration::from_secs(300))
    };
    provider.draw(&call).await.unwrap();
    assert_eq!(references.count(), 0, "nobody holds what has been sent");
    let mut asked = fake.asked().into_iter();
    asked
        .find(|asked| asked.method == "POST" && !asked.path.ends_with("/token"))
        .unwrap()
}

impl Asked {
    /// The parts of a form, each with what its head says of it.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let kind = self.header("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = self.text();
        let parts = text.strip_suffix(&format!("--{boundary}--\r\n")).unwrap();
        let start = format!("--{boundary}\r\n");
        let parts = parts.split(&start).skip(1).map(|part| {
            let (head, value) = part.strip_suffix("\r\n").unwrap().split_once("\r\n\r\n").unwrap();
            let about = head
                .strip_prefix("Content-Disposition: form-data; name=")
                .unwrap();
            (about.replace("\r\n", " "), value.to_owned())
        });
        parts.collect()
    }
}
