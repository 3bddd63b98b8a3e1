//! A whole life of a small object, for who wants to know whether pictures can be stored.

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::{ObjectKey, Storage, StorageError, StorageErrorKind, StorageSettings};
use crate::findings::{Checked, Findings};

/// How a rehearsal went.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The store, as messages name it.
    pub store: String,
    /// Whether the bytes came back as they were stored.
    pub is_true: bool,
    /// Why the object could not be removed; it stays then.
    pub not_removed: Option<StorageError>,
    /// A public URL, as pictures get them.
    pub url: String,
}

impl Storage {
    /// Looks at the store as a worker uses it.
    pub async fn check(settings: StorageSettings) -> Checked<Self> {
        let mut findings = Findings::about("storage");
        let storage = match Self::open(settings).await {
            Ok(storage) => storage,
            Err(error) => {
                findings.fail(format!("{error:#}"));
                return Checked {
                    findings,
                    service: None,
                };
            }
        };
        if let Err(error) = storage.check_writable().await {
            let is_away = error
                .downcast_ref::<StorageError>()
                .is_some_and(|error| error.kind == StorageErrorKind::Unreachable);
            let text = format!("{error:#}");
            if is_away {
                findings.away(text);
            } else {
                findings.fail(text);
            }
        }
        let service = Some(storage);
        Checked { findings, service }
    }

    /// Stores a few bytes, reads them back and removes them. Each step takes at most 30 s.
    ///
    /// # Errors
    /// [`StorageError`] when they cannot be stored or read.
    pub async fn rehearse(&self) -> Result<Rehearsal, StorageError> {
        let key = ObjectKey::probe();
        let bytes = Bytes::from_static(b"a rehearsal");
        let stored = self.put(&key, bytes.clone(), "text/plain").await?;
        let path = self.path("read", &key)?;
        let reading = async { self.store.get(&path).await?.bytes().await };
        let read = self.limited("read", &key, reading).await;
        let not_removed = self.remove(&key).await.err();
        Ok(Rehearsal {
            store: self.location.name(),
            is_true: read? == bytes,
            not_removed,
            url: stored.url,
        })
    }
}
