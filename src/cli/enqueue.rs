//! `enqueue`: what a producer does, from the command line.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::bar::Bar;
use super::exit::ExitStatus;
use super::text;
use crate::config::{Environment, PROVIDERS};
use crate::db::{Db, DbSettings, JobRow};
use crate::ops::words::by_whom;
use crate::queue::{QueueSettings, Redis};
use crate::work_package::{COLLECTION_IMAGE, PackageLimits, WorkPackage};

const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct EnqueueArguments {
    /// What to draw
    #[arg(long)]
    prompt: String,
    /// What it is for
    #[arg(long, value_enum, default_value = "logo")]
    image_type: ImageTypeArgument,
    /// Who draws; default: IMAGE_PROVIDER of the worker
    #[arg(long, value_parser = PossibleValuesParser::new(PROVIDERS))]
    provider: Option<String>,
    /// The provider's model
    #[arg(long)]
    model: Option<String>,
    /// The provider's size, such as 1024x1024
    #[arg(long)]
    size: Option<String>,
    /// The provider's quality, such as low
    #[arg(long)]
    quality: Option<String>,
    #[command(flatten)]
    options: Box<OptionArguments>,
    /// Kind of the collection that the picture is for
    #[arg(long, default_value = "group")]
    collection_type: String,
    /// Id of the collection that the picture is for
    #[arg(long, default_value = "1")]
    collection_id: String,
    /// Owner of the image row
    #[arg(long)]
    user_id: Option<i32>,
    /// Follow the job to its end; exit 1 when it fails
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct OptionArguments {
    /// What is behind what is drawn: transparent, opaque or auto
    #[arg(long)]
    background: Option<String>,
    /// How strict the provider is: low or auto
    #[arg(long)]
    moderation: Option<String>,
    /// How much thought the service spends before it draws: low, medium, high or auto
    #[arg(long)]
    complexity: Option<String>,
    /// What is not to be seen
    #[arg(long)]
    negative_prompt: Option<String>,
    /// A picture that it is to be made from: an https URL, or the key of an object of this service; may be given several times
    #[arg(long)]
    reference: Vec<String>,
    /// Format of the file: png, jpeg or webp
    #[arg(long)]
    output_format: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ImageTypeArgument {
    Icon,
    Logo,
}

pub(super) async fn run(
    arguments: EnqueueArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let redis = Redis::new(&QueueSettings::from_environment(environment)?)?;
    let db = Db::new(&DbSettings::from_environment(environment)?)?;
    let limits = PackageLimits::from_environment(environment)?;

    // Looked at before the row is made, so that a wrong argument leaves no job behind that never ends.
    let as_package = |job_id: i32| arguments.package(job_id).to_string();
    if let Err(rejection) = WorkPackage::parse(as_package(1).as_bytes(), &limits) {
        bail!("{rejection}");
    }
    let hindrance = if arguments.wait {
        hindrance(&redis).await
    } else {
        None
    };
    let internal_data =
        json!({"collectionType": arguments.collection_type, "collectionId": arguments.collection_id});
    let job_id = db
        .create_job(internal_data)
        .await
        .context("the job row cannot be made")?;
    redis
        .push(&as_package(job_id))
        .await
        .with_context(|| format!("job {job_id} was made but cannot be queued"))?;
    text::say(&format!("job {job_id} is queued on {}", redis.keys().inbox()))?;
    if arguments.wait {
        if let Some(hindrance) = hindrance {
            text::say(&hindrance)?;
        }
        follow(&db, job_id).await
    } else {
        Ok(ExitStatus::Done)
    }
}

impl EnqueueArguments {
    fn package(&self, job_id: i32) -> Value {
        let image_type = match self.image_type {
            ImageTypeArgument::Icon => "icon",
            ImageTypeArgument::Logo => "logo",
        };
        json!({
            "type": COLLECTION_IMAGE,
            "jobId": job_id,
            "prompt": self.prompt,
            "imageType": image_type,
            "imageProvider": self.provider,
            "imageModel": self.model,
            "imageSize": self.size,
            "imageQuality": self.quality,
            "background": self.options.background,
            "moderation": self.options.moderation,
            "complexity": self.options.complexity,
            "negativePrompt": self.options.negative_prompt,
            "referenceImages": self.options.reference,
            "outputFormat": self.options.output_format,
            "collectionType": self.collection_type,
            "collectionId": self.collection_id,
            "userId": self.user_id,
        })
    }
}

/// Why nobody will take the package for now, for the person who waits. A producer's account may not be able to tell.
async fn hindrance(redis: &Redis) -> Option<String> {
    if let Ok(Some(note)) = redis.paused_by().await {
        let whom = by_whom(&note);
        return Some(format!(
            "the queue is paused {whom}: the job waits until generative-ai-worker resume"
        ));
    }
    let pings = redis.has_ping(None).await.unwrap_or(true);
    (!pings).then(|| "no replica pings: the job waits until one is started".to_owned())
}

/// Tells a job's progress until its end, as a browser that polls the row would see it.
async fn follow(db: &Db, job_id: i32) -> anyhow::Result<ExitStatus> {
    let mut shown = None;
    let bar = Bar::of(100, format!("job {job_id}"));
    loop {
        let row = db
            .job(job_id)
            .await?
            .with_context(|| format!("the row of job {job_id} is gone"))?;
        if row.progress != shown {
            let progress = row.progress.unwrap_or_default();
            bar.reach(progress.unsigned_abs().into());
            if !bar.is_enough() {
                bar.print(&format!("job {job_id}: {progress} %\n"))?;
            }
            shown = row.progress;
        }
        if let Some(end) = end_of(&row) {
            // The last word stands alone.
            drop(bar);
            return tell_end(job_id, end);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell_end(job_id: i32, end: Result<String, String>) -> anyhow::Result<ExitStatus> {
    match end {
        Ok(url) => {
            text::say(&format!("job {job_id} is done: {url}"))?;
            Ok(ExitStatus::Done)
        }
        Err(error) => {
            text::say(&format!("job {job_id} failed: {error}"))?;
            Ok(ExitStatus::Failed)
        }
    }
}

/// The image's URL or the reason why there is none; `None` while the job goes on.
pub(super) fn end_of(row: &JobRow) -> Option<Result<String, String>> {
    let data = row.data.as_ref();
    if let Some(url) = data.and_then(|data| data["imageUrl"].as_str()) {
        return Some(Ok(url.to_owned()));
    }
    row.error.clone().map(Err)
}
