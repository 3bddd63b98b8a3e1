use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::generator::testing::{pipeline_of, work};
use crate::provider::services::blank::Blank;
use crate::provider::{Call, CheckedSpec, DrawnImage, ImageProvider, NotDrawn, Unsupported};
use crate::work_package::OutputFormat;

/// Takes everything, or is not configured.
struct Named(&'static str, bool);

#[async_trait]
impl ImageProvider for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        match self.1 {
            true => Blank.check(spec),
            false => Err(Unsupported {
                class: ErrorClass::Auth,
                message: "not configured".into(),
            }),
        }
    }

    async fn draw(&self, _: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        unreachable!("nobody is asked")
    }
}

/// A pipeline whose default is `meant` and that has two fallbacks, of which `absent` is not configured.
async fn pipeline(meant_is_configured: bool) -> Pipeline {
    let all: Vec<Arc<dyn ImageProvider>> = vec![
        Arc::new(Named("meant", meant_is_configured)),
        Arc::new(Named("absent", false)),
        Arc::new(Named("helper", true)),
    ];
    pipeline_of(all, "meant", &["absent", "helper"]).await
}

#[tokio::test]
async fn only_those_who_can_draw_it_are_asked_in_their_order() {
    assert_eq!(pipeline(true).await.providers_for(&work()), ["meant", "helper"]);
    assert_eq!(pipeline(false).await.providers_for(&work()), ["helper"]);
    let unknown = ImageWork {
        provider: Some("nobody".into()),
        ..work()
    };
    let none: [&str; 0] = [];
    assert_eq!(
        pipeline(true).await.providers_for(&unknown),
        none,
        "it is refused"
    );
}

#[tokio::test]
async fn the_format_of_an_icon_is_not_its_providers_business() {
    let pipeline = pipeline(true).await;
    let mut work = work();
    work.options.output_format = Some(OutputFormat::Webp);
    let orders = pipeline.orders(&work).unwrap();
    assert_eq!(orders[0].spec.options, ImageOptions::default());
    work.image_type = ImageType::Collection;
    let refused = pipeline.orders(&work).err().unwrap();
    assert_eq!(refused.class, ErrorClass::InvalidRequest, "{refused}");
}
