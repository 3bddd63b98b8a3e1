//! Dead packages that have failed alike: of one class and provider, with one sentence once what differs is taken out of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::super::cached::Cached;
use super::Sources;
use super::strip::within;
use crate::db::{Db, DbError, DeadFilter, DeadPackage};
use crate::plain_text::one_line;

/// So many of the latest are looked at.
pub(super) const MOST: u32 = 20_000;
const REASON_CHARS: usize = 300;
/// Letters alone are a hash from this length on.
const HASH_CHARS: usize = 12;
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
        let message = normal(&one_line(&package.reason, REASON_CHARS));
        let provider = package.provider;
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
    groups.sort_by(|one, other| {
        let size = |group: &Group| std::cmp::Reverse(group.members.len());
        (size(one), &one.id).cmp(&(size(other), &other.id))
    });
    groups
}

/// A sentence without what differs from one job to the next: URLs, quoted texts, numbers, ids, hashes.
fn normal(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (what, length) = if rest.starts_with("http://") || rest.starts_with("https://") {
            ("URL".to_owned(), url(rest))
        } else if let Some(length) = quoted(rest, normal.chars().next_back()) {
            ("\"…\"".to_owned(), length)
        } else if is_of_word(first) {
            let length = word(rest);
            let differs = is_name_of_one(&rest[..length]);
            (
                if differs {
                    "#".to_owned()
                } else {
                    rest[..length].to_owned()
                },
                length,
            )
        } else {
            (first.to_string(), first.len_utf8())
        };
        normal.push_str(&what);
        rest = &rest[length..];
    }
    normal
}

fn url(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "\"'<>)],;".contains(c);
    text.find(ends).unwrap_or(text.len())
}

/// How long a text in quotes is, quotes included. An apostrophe within a word quotes nothing.
fn quoted(text: &str, before: Option<char>) -> Option<usize> {
    let open = text.chars().next()?;
    let close = match open {
        '"' | '`' => open,
        '\'' if !before.is_some_and(char::is_alphanumeric) => open,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inner = &text[open.len_utf8()..];
    let end = inner.find(close)?;
    Some(open.len_utf8() + end + close.len_utf8())
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Ids are joined by dashes, and numbers by points.
fn word(text: &str) -> usize {
    let mut end = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let goes_on =
            is_of_word(c) || ("-.:".contains(c) && chars.peek().is_some_and(|(_, next)| is_of_word(*next)));
        if !goes_on {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn is_name_of_one(word: &str) -> bool {
    let is_hash = word.len() >= HASH_CHARS && word.chars().all(|c| c.is_ascii_hexdigit());
    is_hash || word.chars().any(|c| c.is_numeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_taken_out_of_a_sentence() {
        for (text, expected) in [
            (
                "openai refused this prompt under its content policy (request req_4Hq). Change the prompt.",
                "openai refused this prompt under its content policy (request #). Change the prompt.",
            ),
            (
                "the object 0b6f3c1e-7a55-4a54-9b7c-0242ac120002 is gone after 3.5 s",
                "the object # is gone after # s",
            ),
            (
                r#"imageSize: "1x1" was found; it can't be fetched from https://example.org/a?b=1, the host's down"#,
                r#"imageSize: "…" was found; it can't be fetched from URL, the host's down"#,
            ),
            ("hash deadbeefcafe is wrong", "hash # is wrong"),
            ("“наука” 7 и `код`", "\"…\" # и \"…\""),
            ("'unfinished", "'unfinished"),
            ("", ""),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_service_has_said_is_read_to_its_end(text: String) {
            normal(&text);
        }
    }
}
