use async_trait::async_trait;

use super::*;
use crate::generator::testing::{studio_of, work};
use crate::provider::blank::Blank;
use crate::provider::traffic::Pause;
use crate::provider::{Call, DrawnImage, NotDrawn, Unsupported};
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

/// A studio whose default is `meant` and that has two fallbacks, of which `absent` is not configured.
async fn studio(meant_is_configured: bool) -> Studio {
    let all: Vec<Arc<dyn ImageProvider>> = vec![
        Arc::new(Named("meant", meant_is_configured)),
        Arc::new(Named("absent", false)),
        Arc::new(Named("helper", true)),
    ];
    studio_of(all, "meant", &["absent", "helper"]).await
}

fn close(studio: &Studio, provider: &str, time_s: u64) {
    studio.traffic.hear(&Pause {
        provider: provider.to_owned(),
        time: Duration::from_secs(time_s),
    });
}

#[tokio::test(start_paused = true)]
async fn only_those_who_can_draw_it_keep_a_package_from_waiting() {
    let (studio, work) = (studio(true).await, work());
    close(&studio, "meant", 20);
    assert_eq!(studio.out_of_reach_for(&work), None);
    assert_eq!(studio.provider_of(&work), "helper");
    close(&studio, "helper", 10);
    assert_eq!(
        studio.out_of_reach_for(&work),
        Some(Duration::from_secs(10)),
        "the one that is not configured helps nobody"
    );
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(studio.out_of_reach_for(&work), None);
    assert_eq!(studio.provider_of(&work), "meant");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_configured_keeps_no_package_from_waiting() {
    let (studio, work) = (studio(false).await, work());
    assert_eq!(studio.provider_of(&work), "helper");
    close(&studio, "helper", 10);
    assert_eq!(studio.out_of_reach_for(&work), Some(Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_anyway_does_not_wait() {
    let studio = studio(true).await;
    let unknown = ImageWork {
        provider: Some("nobody".into()),
        ..work()
    };
    close(&studio, "helper", 10);
    assert_eq!(studio.out_of_reach_for(&unknown), None);
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
