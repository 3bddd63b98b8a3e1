//! Dead packages that have failed alike: of one class and provider, with one sentence once what differs is taken out of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::cached::Cached;
use super::Sources;
use super::normal::normal;
use super::strip::within;
use crate::db::{Db, DbError, DeadFilter, DeadPackage};
use crate::plain_text::one_line;
use crate::provider::list::PROVIDERS;

/// So many of the latest are looked at.
pub(super) const MOST: u32 = 20_000;
const REASON_CHARS: usize = 300;
/// More of a sentence is read than is shown: what is taken out of it must not move the place where it is cut.
const READ_CHARS: usize = 2_000;
/// A producer may write anything for a provider.
const ANOTHER: &str = "another name";
const KEEP: Duration = Duration::from_secs(1);
/// All packages are read, and a busy server takes its time.
const PATIENCE: Duration = Duration::from_secs(12);

/// Packages that have failed alike.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The same on every replica.
    pub(super) id: String,
    pub(super) class: String,
    pub(super) provider: Option<String>,
    /// What all have been told, or that without what differs.
    pub(super) message: String,
    pub(super) first_at: DateTime<Utc>,
    pub(super) last_at: DateTime<Utc>,
    /// The latest first.
    pub(super) members: Vec<Member>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: Uuid,
    pub(super) job_id: Option<i32>,
    pub(super) attempts: i32,
    pub(super) dead_at: DateTime<Utc>,
    pub(super) reason: String,
}

/// All that is open.
pub(super) struct Grouped {
    pub(super) groups: Vec<Group>,
    /// Whether there are more packages than were looked at.
    pub(super) has_more: bool,
}

/// The last look.
#[derive(Default)]
pub(super) struct Groups(Cached<Arc<Result<Grouped, String>>>);

impl Groups {
    /// Something was changed.
    pub(super) async fn forget(&self) {
        self.0.forget().await;
    }

    pub(super) async fn get(&self, sources: &Sources) -> Arc<Result<Grouped, String>> {
        let queue = sources.redis.keys().inbox();
        let look = async { Arc::new(within(PATIENCE, look(&sources.db, queue)).await) };
        self.0.get(|_| KEEP, look).await
    }
}

async fn look(db: &Db, queue: &str) -> Result<Grouped, DbError> {
    let filter = DeadFilter {
        queue: Some(queue.to_owned()),
        ..DeadFilter::default()
    };
    let (packages, has_more) = db.select_dead(filter).await?.newest_first(MOST, false).await?;
    Ok(Grouped {
        groups: group(packages),
        has_more,
    })
}

/// The largest group first.
fn group(packages: Vec<DeadPackage>) -> Vec<Group> {
    let mut groups: HashMap<String, Group> = HashMap::new();
    for package in packages {
        let message = one_line(&normal(&one_line(&package.reason, READ_CHARS)), REASON_CHARS);
        let provider = package.provider.map(|name| match PROVIDERS.contains(&&*name) {
            true => name,
            false => ANOTHER.to_owned(),
        });
        let name = format!(
            "{}\n{}\n{message}",
            package.error_class,
            provider.as_deref().unwrap_or_default()
        );
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
            .simple()
            .to_string();
        let group = groups.entry(id.clone()).or_insert_with(|| Group {
            id,
            class: package.error_class,
            provider,
            message,
            first_at: package.dead_at,
            last_at: package.dead_at,
            members: Vec::new(),
        });
        group.first_at = group.first_at.min(package.dead_at);
        group.last_at = group.last_at.max(package.dead_at);
        group.members.push(Member {
            id: package.id,
            job_id: package.job_id,
            attempts: package.attempts,
            dead_at: package.dead_at,
            reason: one_line(&package.reason, REASON_CHARS),
        });
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        let said = &group.members[0].reason;
        // Nothing differs: its numbers are what is wrong.
        if group.members.iter().all(|member| member.reason == *said) {
            group.message.clone_from(said);
        }
    }
    groups.sort_by(|one, other| {
        let size = |group: &Group| std::cmp::Reverse(group.members.len());
        (size(one), &one.id).cmp(&(size(other), &other.id))
    });
    groups
}
