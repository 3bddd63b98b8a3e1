//! Removing a picture for good: its objects from the store, and the copies of a cache in front of it.
//!
//! Knows neither jobs nor rows: whoever calls it has looked whose picture it is. Each step can be done again.

mod cloudflare;

use crate::failure::{ErrorClass, Failure};
use crate::imaging::Format;
use crate::storage::{ObjectKey, Storage, StorageError};

pub use cloudflare::{Cloudflare, CloudflareSettings, api_key, api_url, zone_id};

/// Removes pictures. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Remover {
    storage: Storage,
    /// `None`: nothing in front of the store is told.
    cache: Option<Cloudflare>,
}

impl Remover {
    /// [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the address of the cache's API cannot be used.
    pub fn new(storage: Storage, cache: Option<&CloudflareSettings>) -> anyhow::Result<Self> {
        let cache = cache.map(Cloudflare::new).transpose()?;
        Ok(Self { storage, cache })
    }

    /// The keys that all objects of a picture can have which is shown at these addresses. Empty: none of them is an address of this
    /// service.
    #[must_use]
    pub fn keys_of(&self, urls: &[String]) -> Vec<ObjectKey> {
        let extensions = [Format::Png, Format::Jpeg, Format::WebP].map(Format::extension);
        let mut keys: Vec<ObjectKey> = Vec::new();
        for shown in urls.iter().filter_map(|url| self.storage.key_of(url)) {
            for key in shown.of_same_picture(&extensions) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// The key of the object at this address; `None` where it is none of this service's.
    #[must_use]
    pub fn key_of(&self, url: &str) -> Option<ObjectKey> {
        self.storage.key_of(url)
    }

    /// The address of an object.
    #[must_use]
    pub fn public_url(&self, key: &ObjectKey) -> String {
        self.storage.public_url(key)
    }

    /// Whether one of these objects is there.
    ///
    /// # Errors
    /// [`StorageError`], retried.
    pub async fn is_there(&self, keys: &[ObjectKey]) -> Result<bool, StorageError> {
        for key in keys {
            if self.storage.find(key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes objects, and returns how many of them were there.
    ///
    /// # Errors
    /// [`StorageError`], retried: those before it are removed.
    pub async fn remove(&self, keys: &[ObjectKey]) -> Result<usize, StorageError> {
        let mut removed = 0;
        for key in keys {
            if self.storage.find(key).await?.is_some() {
                self.storage.remove(key).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Has the cache in front of the store forget these addresses, where it was set up that it can be told.
    ///
    /// # Errors
    /// A [`Failure`], retried.
    pub async fn purge(&self, urls: &[String]) -> Result<(), Failure> {
        match &self.cache {
            Some(cache) => cache.purge(urls).await,
            None => Ok(()),
        }
    }
}

/// Why a picture could not be removed, for the person and the operator.
#[must_use]
pub fn not_removed(error: &StorageError) -> Failure {
    let what_to_do = if error.kind.may_pass() {
        "Start the job again in some minutes."
    } else {
        "Tell an operator, who finds the reason in the log; then start the job again."
    };
    let message = format!("The picture could not be removed from the store. {what_to_do}");
    Failure::new(ErrorClass::Storage, message).with_details(error.to_string())
}
