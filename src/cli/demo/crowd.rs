//! Thirty jobs of every kind for a demo that is kept: done, failed for several reasons, held, cancelled, waiting for a time, for a
//! provider and for a budget, and being drawn. What an operators' page is for can be seen on them.

use anyhow::{Context, bail};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::artist::{CUT_OFF, REFUSED, SLOW, SPOILT};
use super::{LOOK_EVERY, PATIENCE};
use crate::db::Db;
use crate::ops::acts;
use crate::queue::Redis;
use crate::work_package::COLLECTION_IMAGE;

/// What `BUDGETS` of the demo gives each user: three pictures, and not four.
pub(super) const BUDGETS: &str = "openai:0.9/day,user:0.15/day,total:20/month";
/// Whose money has run out.
const SPENDER: i32 = 7;

const SCENES: [&str; 9] = [
    "A lighthouse at night",
    "A harbour with small boats at sunset",
    "Mountains behind a calm lake",
    "A town square on a market day",
    "A forest path in autumn",
    "A bridge over a wide river",
    "A field of sunflowers under a blue sky",
    "A desert with three camels",
    "A village in the snow",
];
const BADGES: [&str; 6] = [
    "Garden club",
    "Book circle",
    "Night cyclists",
    "River watch",
    "Choir of the old town",
    "Repair café",
];

/// How far a job is to come before the page is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Done,
    Failed,
    /// So far that it is in this state.
    In(&'static str),
    /// It is looked at by nobody before.
    Anything,
}

struct Crowd<'a> {
    db: &'a Db,
    redis: &'a Redis,
    /// Jobs, and how far they are to come.
    jobs: Vec<(i32, Until)>,
}

/// Pushes them, and waits until each has come as far as it will.
pub(super) async fn play(db: &Db, redis: &Redis, origin: &str) -> anyhow::Result<()> {
    let mut crowd = Crowd {
        db,
        redis,
        jobs: Vec::new(),
    };
    for (number, scene) in SCENES.into_iter().enumerate() {
        let mut package = bought(scene);
        package["collectionId"] = json!(number % 3 + 1);
        package["userId"] = json!(number % 4 + 1);
        if number < 2 {
            package["callbackUrl"] = json!(format!("{origin}/callbacks/taken"));
        }
        crowd.push(package, Until::Done).await?;
    }
    for badge in BADGES {
        let package = json!({"imageType": "icon", "prompt": badge, "collectionId": "clubs"});
        crowd.push(package, Until::Done).await?;
    }
    // The receiver is down: the end of this one waits to be told.
    let mut untold = bought("An island with one palm");
    untold["callbackUrl"] = json!(format!("{origin}/callbacks/broken"));
    crowd.push(untold, Until::Done).await?;
    crowd.fail().await?;
    crowd.wait().await?;
    crowd.come_to_rest().await
}

/// A picture that costs money.
fn bought(prompt: &str) -> Value {
    json!({"imageProvider": "openai", "imageType": "logo", "imageSize": "1024x640", "prompt": prompt, "collectionId": 1})
}

fn with(mut package: Value, field: &str, value: Value) -> Value {
    package[field] = value;
    package
}

impl Crowd<'_> {
    /// Makes the row of a job and pushes its package.
    async fn push(&mut self, package: Value, until: Until) -> anyhow::Result<i32> {
        let job_id = self.db.create_job(json!({})).await;
        let job_id = job_id.context("a job row cannot be made")?;
        let mut package = package;
        package["type"] = json!(COLLECTION_IMAGE);
        package["jobId"] = json!(job_id);
        package["collectionType"] = json!("group");
        self.redis.push(&package.to_string()).await?;
        self.jobs.push((job_id, until));
        Ok(job_id)
    }

    /// Those that end without a picture, or with nobody knowing whether there is one.
    async fn fail(&mut self) -> anyhow::Result<()> {
        for who in ["an actor", "a singer"] {
            let package = bought(&format!("The {REFUSED} of {who}"));
            self.push(package, Until::Failed).await?;
        }
        for size in ["4x4", "16x16"] {
            let package = with(bought("A tiny stamp"), "imageSize", json!(size));
            self.push(package, Until::Failed).await?;
        }
        let model = with(bought("A painting in oil"), "imageModel", json!("gpt-image-9"));
        self.push(model, Until::Failed).await?;
        self.push(bought(&format!("A coast in the {SPOILT}")), Until::Failed)
            .await?;
        let late = Utc::now() - TimeDelta::minutes(5);
        let late = with(bought("A clock tower"), "deadline", json!(late.to_rfc3339()));
        self.push(late, Until::Failed).await?;
        self.push(bought(&format!("A ship in a {CUT_OFF}")), Until::In("held"))
            .await?;
        Ok(())
    }

    /// Those that wait: for their time, their provider, their budget, their picture.
    async fn wait(&mut self) -> anyhow::Result<()> {
        let tomorrow = Utc::now() + TimeDelta::hours(14);
        let later = with(bought("A sunrise"), "notBefore", json!(tomorrow.to_rfc3339()));
        self.push(later, Until::Anything).await?;
        for scene in ["A castle on a hill", "A train in the valley"] {
            let package = json!({"imageProvider": "stability", "prompt": scene, "collectionId": 2});
            self.push(package, Until::Anything).await?;
        }
        for number in 1..=5 {
            let package = with(
                bought(&format!("A postcard of place {number}")),
                "userId",
                json!(SPENDER),
            );
            self.push(package, Until::Anything).await?;
        }
        let unwanted = bought(&format!("A {SLOW} that nobody wants any more"));
        let unwanted = self.push(unwanted, Until::In("begun")).await?;
        for view in ["from above", "from the sea"] {
            let package = bought(&format!("A {SLOW} {view}"));
            self.push(package, Until::In("begun")).await?;
        }
        self.until(|state, _| state == Some("begun"), &[unwanted]).await?;
        let message = acts::message_of("demo", None);
        acts::cancel(unwanted, &message, self.db, self.redis).await?;
        self.jobs.retain(|(job_id, _)| *job_id != unwanted);
        Ok(())
    }

    async fn come_to_rest(&self) -> anyhow::Result<()> {
        let of = |wanted: Until| -> Vec<i32> {
            let jobs = self.jobs.iter().filter(|(_, until)| *until == wanted);
            jobs.map(|(job_id, _)| *job_id).collect()
        };
        self.until(|state, _| state == Some("done"), &of(Until::Done))
            .await?;
        // What was refused before it was begun has no state, and a reason.
        self.until(
            |state, has_error| state == Some("dead") || has_error,
            &of(Until::Failed),
        )
        .await?;
        for state in ["held", "begun"] {
            self.until(|found, _| found == Some(state), &of(Until::In(state)))
                .await?;
        }
        Ok(())
    }

    async fn until(&self, is_there: impl Fn(Option<&str>, bool) -> bool, jobs: &[i32]) -> anyhow::Result<()> {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let states = self.db.states_of(jobs.to_vec()).await?;
            let mut left = Vec::new();
            for job_id in jobs {
                let has_error = match states.get(job_id) {
                    Some(_) => false,
                    None => self.db.job(*job_id).await?.is_some_and(|row| row.error.is_some()),
                };
                if !is_there(states.get(job_id).map(String::as_str), has_error) {
                    left.push(*job_id);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > give_up_at {
                bail!("jobs {left:?} have not come as far as they should");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
