use async_trait::async_trait;

use super::*;
use crate::generator::testing::{studio_of, work};
use crate::provider::blank::Blank;
use crate::provider::{Call, DrawnImage, ProviderError, Unsupported};
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

    async fn draw(&self, _: &Call<'_>) -> Result<DrawnImage, ProviderError> {
        unreachable!("nobody is asked")
    }
}

/// A studio whose default is `meant` and that has two fallbacks, of which `absent` is not configured.
async fn studio(meant_is_configured: bool) -> Studio {
    let all: Vec<Arc<dyn ImageProvider>> = vec![
        Arc::new(Named("meant", meant_is_configured)),
        Arc::new(Named("absent", false)),
        Arc::new(Named("helper", true)),
    ];
    studio_of(all, "meant", &["absent", "helper"]).await
}

#[tokio::test]
async fn only_those_who_can_draw_it_are_asked() {
    let (studio, work) = (studio(true).await, work());
    assert_eq!(studio.providers_of(&work), ["meant", "helper"]);
}

#[tokio::test]
async fn a_provider_that_is_not_configured_keeps_no_package_from_its_helper() {
    assert_eq!(studio(false).await.providers_of(&work()), ["helper"]);
}

#[tokio::test]
async fn what_is_refused_anyway_waits_for_nobody() {
    let unknown = ImageWork {
        provider: Some("nobody".into()),
        ..work()
    };
    assert!(studio(true).await.providers_of(&unknown).is_empty());
}

#[tokio::test]
async fn the_format_of_an_icon_is_not_its_providers_business() {
    let studio = studio(true).await;
    let mut work = work();
    work.options.output_format = Some(OutputFormat::Webp);
    let orders = studio.orders(&work).unwrap();
    assert_eq!(orders[0].spec.options, ImageOptions::default());
    work.image_type = ImageType::Collection;
    let refused = studio.orders(&work).err().unwrap();
    assert_eq!(refused.class, ErrorClass::InvalidRequest, "{refused}");
}
