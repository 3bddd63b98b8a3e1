//! Packages above `MAX_PACKAGE_BYTES`. Scripts move them to a list of their own, where they stay as they were pushed
//! until an operator has looked at them: no replica ever reads more of one than its beginning, as a single one could take all the memory
//! that it has.

use redis::Script;
use serde::Serialize;

use super::{Redis, scripts};
use crate::redis::RedisFailure;
use crate::work_package::{job_of, without_prompts};

/// As much of a package is shown as says what it is.
const BEGINNING_BYTES: usize = 120;
/// As much of it is read as says whose it is: producers write the number of the job before what is long, mostly.
const READ_BYTES: usize = 16 * 1024;

/// A package that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Its place: 0 was set aside first.
    pub place: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The job, where the first 16 KiB let one be read.
    pub job_id: Option<i32>,
    /// How it begins, without what its prompts say; what is no text in it is replaced.
    pub beginning: String,
}

impl SetAside {
    /// What it seems to be.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.beginning.trim_start().chars().next() {
            Some('{') => "a JSON object",
            Some('[') => "a JSON array",
            Some('"') => "a JSON text",
            Some(char::REPLACEMENT_CHARACTER) => "no text",
            Some(_) => "a text that is no JSON",
            None => "blank",
        }
    }
}

impl Redis {
    /// The packages that were set aside, the first one first, from this place on and no more than `most`. One call looks at one of them, as
    /// Redis copies it.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn set_aside(&self, from: u64, most: u64) -> Result<Vec<SetAside>, RedisFailure> {
        let script = Script::new(include_str!("scripts/set_aside.lua"));
        let mut connection = self.connection().await?;
        let mut found = Vec::new();
        for place in (from..).take(usize::try_from(most).unwrap_or(usize::MAX)) {
            let mut call = script.key(self.keys().set_aside());
            call.arg(place).arg(READ_BYTES);
            let answer: Option<(u64, Vec<u8>)> = scripts::invoke(&call, &mut connection).await?;
            let Some((bytes, beginning)) = answer else {
                break;
            };
            let job_id = job_of(&beginning);
            let shown = &beginning[..beginning.len().min(BEGINNING_BYTES)];
            let beginning = without_prompts(&String::from_utf8_lossy(shown));
            found.push(SetAside {
                place,
                bytes,
                job_id,
                beginning,
            });
        }
        Ok(found)
    }

    /// One of them to the byte, all of it in memory; `None` where there are fewer.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn set_aside_package(&self, place: u64) -> Result<Option<Vec<u8>>, RedisFailure> {
        let mut connection = self.connection().await?;
        let index = -1 - i64::try_from(place).unwrap_or(i64::MAX - 1);
        Ok(redis::AsyncCommands::lindex(&mut connection, self.keys().set_aside(), index as isize).await?)
    }
}
