//! Where finished pictures lie: object keys, content headers and public URLs over an object store.
//!
//! Owns what an object is called, inside and outside. Leaves to its callers what the bytes are, and to the
//! queue when to try again.

mod amazon;
mod aside;
mod check;
mod client;
mod codes;
mod endpoint;
mod error;
mod key;
mod location;
mod profile;
mod public;
mod settings;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
pub use object_store::PutPayload;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutOptions};
use tokio::time::Instant;

use self::aside::begun_aside;
pub use self::error::{StorageError, StorageErrorKind};
pub use self::key::{InvalidKeyPart, ObjectKey, Role};
use self::location::{Location, Place};
use self::profile::Profile;
pub use self::settings::{S3Settings, StorageSettings};
use crate::measure;

/// No single call takes longer, its resends included.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// What is asked of a store, as messages and metrics name it.
const OPERATIONS: [&str; 4] = ["store", "look up", "read", "remove"];

/// An object's bytes never change: another picture has another key.
const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// What a call that has not failed is counted as.
const SUCCEEDED: &str = "succeeded";

/// Begins what is counted of the store at 0: from nothing to 1 is no increase to Prometheus.
pub fn begin_counts() {
    let outcomes = StorageErrorKind::ALL.map(StorageErrorKind::as_str);
    for operation in OPERATIONS {
        for outcome in outcomes.into_iter().chain([SUCCEEDED]) {
            measure::STORE_CALLS.count(0, &[("operation", operation), ("outcome", outcome)]);
        }
    }
}

/// An object store and its names. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    location: Arc<Location>,
    settings: Arc<StorageSettings>,
    /// What is true when the machine that is asked for keys has none.
    no_keys: Option<Arc<str>>,
    /// The directory that was made when it was opened, its outermost one.
    made: Option<Arc<Path>>,
    /// Whether the store refuses to say of an object that it is not there. Amazon does so to keys that may not list a bucket.
    hides_missing: bool,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the store, without the prefix of `STORAGE_URL`.
    pub key: ObjectKey,
    /// Its address for everybody.
    pub url: String,
}

/// What [`Storage::find`] knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub stored: Stored,
    /// Its length.
    pub size_bytes: u64,
    /// Its `Content-Type`; a disk keeps none.
    pub content_type: Option<String>,
}

/// What [`Storage::read`] has of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// There is no such object.
    Absent,
    /// It has more bytes than were asked for, and was not read.
    TooLarge,
    /// All of it.
    Whole(Bytes),
}

impl Storage {
    /// Makes the client and, for a disk, the directory. Reaches the network only to learn the region of a
    /// bucket at Amazon when no setting says it; whether objects can be stored, [`Self::check`] sees.
    ///
    /// # Errors
    /// The settings make no sense, a file of credentials cannot be read, or the directory cannot be made.
    pub async fn open(settings: StorageSettings) -> anyhow::Result<Self> {
        let mut location = settings.location(&Profile::default())?;
        let mut profile = Profile::default();
        if matches!(location.place, Place::S3 { .. }) {
            profile = Profile::load(&settings).context("STORAGE_URL")?;
            location = settings.location(&profile)?;
        }
        if let Place::Disk { root } = &mut location.place {
            // Public URLs need the whole path, and the current directory may change.
            *root = std::path::absolute(&*root)?;
        }
        let opened = client::open(&location, &settings, &profile)
            .await
            .with_context(|| format!("STORAGE_URL: cannot open {}", location.name()))?;
        Ok(Self {
            store: opened.store,
            location: Arc::new(location),
            settings: Arc::new(settings),
            no_keys: opened.no_keys.map(Arc::from),
            made: opened.made.map(Arc::from),
            hides_missing: false,
        })
    }

    /// Removes the directories that were made for it, where nothing is in them: whoever only looks leaves nothing.
    pub async fn leave(&self) {
        let Place::Disk { root } = &self.location.place else {
            return;
        };
        // Fails where something is in it, as below.
        let _ = tokio::fs::remove_dir(root.join(key::ROOT)).await;
        let Some(made) = &self.made else {
            return;
        };
        for directory in root
            .ancestors()
            .take_while(|directory| directory.starts_with(made))
        {
            let _ = tokio::fs::remove_dir(directory).await;
        }
    }

    /// Stores an object, over one that is there under the same key.
    ///
    /// It is there whole or not at all: a disk gets a temporary file, flushed, then renamed, its directory
    /// flushed too. Takes at most 30 s. A disk keeps neither `content_type` nor the other headers.
    ///
    /// # Errors
    /// [`StorageError`], retried.
    pub async fn put(
        &self,
        key: &ObjectKey,
        bytes: impl Into<PutPayload>,
        content_type: &str,
    ) -> Result<Stored, StorageError> {
        let mut attributes = Attributes::new();
        if !matches!(self.location.place, Place::Disk { .. }) {
            attributes.insert(Attribute::ContentType, content_type.to_owned().into());
            attributes.insert(Attribute::ContentDisposition, "inline".into());
            attributes.insert(Attribute::CacheControl, CACHE_CONTROL.into());
        }
        let path = self.path("store", key)?;
        let payload: PutPayload = bytes.into();
        let put = async || {
            let options = PutOptions::from(attributes.clone());
            let (store, path, payload) = (self.store.clone(), path.clone(), payload.clone());
            let request = async move { store.put_opts(&path, payload, options).await };
            match self.location.place {
                Place::S3 { .. } => begun_aside(request).await,
                _ => request.await,
            }
        };
        let is_on_disk = matches!(self.location.place, Place::Disk { .. });
        let put = async {
            match put().await {
                // Somebody who left found the directory empty, between its making and its first file.
                Err(error) if is_on_disk && error::is_absent(&error) => put().await,
                put => put,
            }
        };
        self.limited("store", key, put).await?;
        Ok(self.stored(key))
    }

    /// Looks whether an object is there, without fetching it. Takes at most 30 s. A refusal means that it is not there, where
    /// [`Self::check`] has seen that the store says no more to these keys.
    ///
    /// # Errors
    /// [`StorageError`], retried. An object that is not there is no error.
    pub async fn find(&self, key: &ObjectKey) -> Result<Option<Found>, StorageError> {
        let path = self.path("look up", key)?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let call = async {
            match self.store.get_opts(&path, options).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        let found = match self.limited("look up", key, call).await {
            Err(error) if self.says_missing("look up", &error) => return Ok(None),
            found => found?,
        };
        Ok(found.map(|found| Found {
            stored: self.stored(key),
            size_bytes: found.meta.size,
            content_type: found
                .attributes
                .get(&Attribute::ContentType)
                .map(|value| value.as_ref().to_owned()),
        }))
    }

    /// Reads an object of `most` bytes or fewer. Takes at most 30 s.
    ///
    /// # Errors
    /// [`StorageError`], retried. An object that is not there is no error.
    pub async fn read(&self, key: &ObjectKey, most: usize) -> Result<Contents, StorageError> {
        let path = self.path("read", key)?;
        let call = async {
            let found = match self.store.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(Contents::Absent),
                found => found?,
            };
            if found.meta.size > most as u64 {
                return Ok(Contents::TooLarge);
            }
            found.bytes().await.map(Contents::Whole)
        };
        match self.limited("read", key, call).await {
            Err(error) if self.says_missing("read", &error) => Ok(Contents::Absent),
            read => read,
        }
    }

    /// Removes an object. Takes at most 30 s.
    ///
    /// # Errors
    /// [`StorageError`], retried. An object that is not there is no error.
    pub async fn remove(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let path = self.path("remove", key)?;
        let call = async {
            match self.store.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.limited("remove", key, call).await
    }

    /// Whether the store answers, without storing anything. That it lets nobody see what is not there is an answer
    /// too. Takes at most 30 s.
    pub async fn answers(&self) -> bool {
        if let Place::Disk { root } = &self.location.place {
            return tokio::fs::metadata(root).await.is_ok();
        }
        match self.find(&ObjectKey::probe()).await {
            Ok(_) => true,
            Err(error) => matches!(error.kind, StorageErrorKind::Refused | StorageErrorKind::Missing),
        }
    }

    /// The address for everybody: `PUBLIC_URL_BASE`, else the Cloudflare domain, else the store's own.
    #[must_use]
    pub fn public_url(&self, key: &ObjectKey) -> String {
        self.location.public_url(&self.settings, key)
    }

    /// The key of the object that has this address, now or before the addresses of pictures were set to others; `None` where it
    /// is none of a picture of this store.
    #[must_use]
    pub fn key_of(&self, url: &str) -> Option<ObjectKey> {
        let known = [&*self.settings, &StorageSettings::default()];
        known.into_iter().find_map(|settings| {
            let probe = ObjectKey::standing_probe();
            let example = self.location.public_url(settings, &probe);
            let base = example.strip_suffix(probe.as_str())?;
            ObjectKey::read_strictly(url.strip_prefix(base)?)
        })
    }

    /// The bucket or container, for `images.s3_bucket_name`; a disk has none.
    #[must_use]
    pub fn bucket_name(&self) -> Option<&str> {
        self.location.bucket()
    }

    fn stored(&self, key: &ObjectKey) -> Stored {
        Stored {
            key: key.clone(),
            url: self.public_url(key),
        }
    }

    fn path(&self, operation: &str, key: &ObjectKey) -> Result<object_store::path::Path, StorageError> {
        self.location
            .path(key)
            .map_err(|source| StorageError::new(operation, &self.location.name(), key, &source.into()))
    }

    async fn limited<T>(
        &self,
        operation: &'static str,
        key: &ObjectKey,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        let begun = Instant::now();
        let result = self.within_limit(operation, key, call).await;
        let outcome = match &result {
            Err(error) if !self.says_missing(operation, error) => error.kind.as_str(),
            _ => SUCCEEDED,
        };
        measure::STORE_CALLS.count(1, &[("operation", operation), ("outcome", outcome)]);
        measure::STORE_DURATION.observe(begun.elapsed().as_secs_f64(), &[("operation", operation)]);
        result
    }

    /// Whether a refusal is this store's word for an object that is not there.
    fn says_missing(&self, operation: &str, error: &StorageError) -> bool {
        self.hides_missing
            && ["look up", "read"].contains(&operation)
            && error.kind == StorageErrorKind::Refused
    }

    async fn within_limit<T>(
        &self,
        operation: &str,
        key: &ObjectKey,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let place = self.location.name();
                let no_keys = self.no_keys.as_deref();
                let without = no_keys
                    .and_then(|no_keys| StorageError::without_keys(operation, &place, key, &error, no_keys));
                Err(without.unwrap_or_else(|| StorageError::new(operation, &place, key, &error)))
            }
            Err(_) => Err(StorageError::timed_out(
                operation,
                &self.location.name(),
                key,
                CALL_LIMIT,
            )),
        }
    }
}

impl fmt::Debug for Storage {
    /// The client holds credentials, and not all of its parts keep them to themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.location.name())
    }
}
