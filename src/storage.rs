//! Where finished pictures lie: object keys, content headers and public URLs over an object store.
//!
//! Owns what an object is called, inside and outside. Leaves to its callers what the bytes are, and to the
//! queue when to try again.

mod client;
mod error;
mod key;
mod location;
mod rehearse;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutOptions};

pub use self::error::{StorageError, StorageErrorKind};
pub use self::key::{InvalidKeyPart, ObjectKey, Role};
use self::location::{Location, Place};
pub use self::rehearse::Rehearsal;
pub use self::settings::{S3Settings, StorageSettings};

/// No single call takes longer, its resends included.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// An object's bytes never change: another picture has another key.
const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// An object store and its names. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    location: Arc<Location>,
    settings: Arc<StorageSettings>,
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

impl Storage {
    /// Makes the client and, for a disk, the directory. Reaches the network only to learn the region of a
    /// bucket at Amazon when no setting says it; whether objects can be stored, [`Self::check_writable`] sees.
    ///
    /// # Errors
    /// The settings make no sense, a file of credentials cannot be read, or the directory cannot be made.
    pub async fn open(settings: StorageSettings) -> anyhow::Result<Self> {
        let mut location = settings.location()?;
        if let Place::Disk { root } = &mut location.place {
            // Public URLs need the whole path, and the current directory may change.
            *root = std::path::absolute(&*root)?;
        }
        let store = client::open(&location, &settings)
            .await
            .with_context(|| format!("STORAGE_URL: cannot open {}", location.name()))?;
        Ok(Self {
            store,
            location: Arc::new(location),
            settings: Arc::new(settings),
        })
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
        bytes: Bytes,
        content_type: &str,
    ) -> Result<Stored, StorageError> {
        let mut attributes = Attributes::new();
        if !matches!(self.location.place, Place::Disk { .. }) {
            attributes.insert(Attribute::ContentType, content_type.to_owned().into());
            attributes.insert(Attribute::ContentDisposition, "inline".into());
            attributes.insert(Attribute::CacheControl, CACHE_CONTROL.into());
        }
        let path = self.path("store", key)?;
        let put = self
            .store
            .put_opts(&path, bytes.into(), PutOptions::from(attributes));
        self.limited("store", key, put).await?;
        Ok(self.stored(key))
    }

    /// Looks whether an object is there, without fetching it. Takes at most 30 s.
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
        let found = self.limited("look up", key, call).await?;
        Ok(found.map(|found| Found {
            stored: self.stored(key),
            size_bytes: found.meta.size,
            content_type: found
                .attributes
                .get(&Attribute::ContentType)
                .map(|value| value.as_ref().to_owned()),
        }))
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

    /// Tries whether objects can be stored, so that a wrong bucket shows at the start and not with the first paid picture. Leaves
    /// nothing behind. S3 begins an upload in parts, which asks for the same right, and gives it up; the others store a few bytes
    /// and remove them again. Being allowed to store but not to remove is enough: that is only warned of.
    ///
    /// # Errors
    /// One line that names the store and the cause.
    pub async fn check_writable(&self) -> anyhow::Result<()> {
        let key = ObjectKey::probe();
        let cannot_store = "STORAGE_URL: pictures cannot be stored";
        if matches!(self.location.place, Place::S3 { .. })
            && self.begins_upload(&key).await.context(cannot_store)?
        {
            return Ok(());
        }
        self.put(&key, Bytes::from_static(b"probe"), "text/plain")
            .await
            .context(cannot_store)?;
        if let Err(error) = self.remove(&key).await {
            tracing::warn!(error = %error, "the store takes objects but does not let them be removed; {key} stays");
        }
        Ok(())
    }

    /// Begins an upload in parts and gives it up. `false`: the store refuses it for another reason than what it is asked for, so
    /// that only storing will tell.
    async fn begins_upload(&self, key: &ObjectKey) -> Result<bool, StorageError> {
        let path = self.path("store", key)?;
        let call = async {
            let mut upload = self.store.put_multipart(&path).await?;
            Ok(upload.abort().await)
        };
        match self.limited("store", key, call).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => {
                let error = StorageError::new("give up an upload of", &self.location.name(), key, &error);
                tracing::warn!(%error, "the store takes objects but does not let an upload be given up; {key} stays unfinished");
                Ok(true)
            }
            // It is there and does not miss the bucket: a small stand-in for S3, which takes objects in one piece only.
            Err(error)
                if error.kind == StorageErrorKind::Missing && !error.to_string().contains("NoSuchBucket") =>
            {
                tracing::warn!(
                    %error,
                    "the store knows no uploads in parts; whether it takes pictures shows with the first one. \
                     Is S3_ENDPOINT right?"
                );
                Ok(true)
            }
            Err(error) if error.kind == StorageErrorKind::Other => Ok(false),
            Err(error) => Err(error),
        }
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
        operation: &str,
        key: &ObjectKey,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(StorageError::new(operation, &self.location.name(), key, &error)),
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
