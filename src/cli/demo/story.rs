//! The five packages of the demo and what has to become of them.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::super::enqueue::end_of;
use crate::db::Db;
use crate::queue::{DeadLetter, Redis};
use crate::work_package::COLLECTION_IMAGE;

const ICON_PROMPT: &str = "A paper boat on the sea at sunrise";
const LOGO_PROMPT: &str = "A park with tall trees for everybody in the neighbourhood";

/// One package.
pub(super) struct Act {
    pub(super) title: &'static str,
    pub(super) job_id: Option<i32>,
    /// Whether this package is the one that moves its job's progress.
    pub(super) shows_progress: bool,
    expected: Expected,
    payload: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Picture,
    SamePicture,
    Reason,
}

/// What became of a package.
pub(super) struct End {
    pub(super) title: &'static str,
    pub(super) job_id: Option<i32>,
    pub(super) status: &'static str,
    pub(super) result: String,
}

pub(super) struct Story {
    acts: Vec<Act>,
}

impl Story {
    /// Makes the job rows and pushes the packages, as a producer does.
    pub(super) async fn begin(db: &Db, redis: &Redis) -> anyhow::Result<Self> {
        let mut jobs = Vec::new();
        for _ in 0..3 {
            jobs.push(
                db.create_job(json!({}))
                    .await
                    .context("a job row cannot be made")?,
            );
        }
        let act = |title, job_id, expected, payload: Value| Act {
            title,
            job_id: Some(job_id),
            shows_progress: expected != Expected::SamePicture,
            expected,
            payload: payload.to_string(),
        };
        let logo = package(jobs[1], "logo", LOGO_PROMPT);
        let acts = vec![
            act(
                "an icon",
                jobs[0],
                Expected::Picture,
                package(jobs[0], "icon", ICON_PROMPT),
            ),
            act("a logo", jobs[1], Expected::Picture, logo.clone()),
            act("the same logo again", jobs[1], Expected::SamePicture, logo),
            act(
                "an unknown type",
                jobs[2],
                Expected::Reason,
                json!({"type": "video", "jobId": jobs[2]}),
            ),
            Act {
                title: "broken JSON",
                job_id: None,
                shows_progress: false,
                expected: Expected::Reason,
                payload: "{\"type\": \"collection-image\", \"jobId\":".to_owned(),
            },
        ];
        for act in &acts {
            redis.push(&act.payload).await?;
            println!("  LPUSH {:<21} {}", act.title, cut(&act.payload, 84));
        }
        println!();
        Ok(Self { acts })
    }

    pub(super) fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// What the rows and the dead letters say, which is all that a producer and an operator would see.
    pub(super) async fn ends(&self, db: &Db, redis: &Redis) -> anyhow::Result<Vec<End>> {
        let letters = redis.dead_letters(100).await?;
        let mut ends = Vec::with_capacity(self.acts.len());
        for act in &self.acts {
            let row = match act.job_id {
                Some(job_id) => db.job(job_id).await?,
                None => None,
            };
            let (status, result) = match row.as_ref().and_then(end_of) {
                Some(Ok(url)) => ("done", path_of(&url)),
                Some(Err(error)) => ("failed", error),
                None => match reason_of(act, &letters) {
                    Some(reason) => ("refused", reason),
                    None => ("waiting", "nobody has said anything about it".to_owned()),
                },
            };
            ends.push(End {
                title: act.title,
                job_id: act.job_id,
                status,
                result,
            });
        }
        Ok(ends)
    }

    /// # Errors
    /// When the service did not do what it promises.
    pub(super) fn check(&self, ends: &[End], pictures: i64) -> anyhow::Result<()> {
        for (act, end) in self.acts.iter().zip(ends) {
            let is_as_expected = match act.expected {
                Expected::Picture | Expected::SamePicture => end.status == "done",
                Expected::Reason => matches!(end.status, "failed" | "refused"),
            };
            if !is_as_expected {
                bail!("{} ended as {}: {}", act.title, end.status, end.result);
            }
        }
        let expected = self
            .acts
            .iter()
            .filter(|act| act.expected == Expected::Picture)
            .count();
        if usize::try_from(pictures).ok() != Some(expected) {
            bail!("there are {pictures} rows in images instead of {expected}");
        }
        Ok(())
    }
}

/// A package to copy.
pub(super) fn example_package(job_id: i32) -> Value {
    package(job_id, "icon", "A lighthouse at night")
}

fn package(job_id: i32, image_type: &str, prompt: &str) -> Value {
    json!({
        "type": COLLECTION_IMAGE,
        "jobId": job_id,
        "imageType": image_type,
        "prompt": prompt,
        "collectionType": "group",
        "collectionId": 7,
    })
}

fn reason_of(act: &Act, letters: &[DeadLetter]) -> Option<String> {
    letters
        .iter()
        .find(|letter| letter.payload == act.payload)
        .map(|letter| letter.reason.clone())
}

fn path_of(url: &str) -> String {
    url.strip_prefix("file://").unwrap_or(url).to_owned()
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars - 1).chain(['…']).collect()
}
