//! A look at the store before anything is bought: what a replica does with a picture, done with a few bytes.

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::{ObjectKey, Storage, StorageError, StorageErrorKind, StorageSettings, public};
use crate::findings::{Checked, Findings};

/// Always the same, so that a cache in front of the store may keep it.
const PROBE: &[u8] = b"a probe of generative-ai-worker; it may be removed\n";

impl Storage {
    /// Opens the store and tries what a replica will need of it, and nothing else: an object is put, read, fetched through its
    /// public URL where that leads anywhere, and removed. Nothing stays behind, except where the keys may not remove: then one
    /// object, always the same.
    ///
    /// Takes some round trips; 15 s where the store is away, and 3 s more where its public URL is.
    pub async fn check(settings: StorageSettings) -> Checked<Self> {
        let mut findings = Findings::about("storage");
        let service = match Self::open(settings).await {
            Ok(mut storage) => {
                storage.try_out(&mut findings).await;
                Some(storage)
            }
            Err(error) => {
                findings.fail(format!("{error:#}"));
                None
            }
        };
        let is_fit = !findings.has_failures();
        if let Some(storage) = service.as_ref().filter(|_| !is_fit) {
            storage.leave().await;
        }
        Checked {
            findings,
            service: service.filter(|_| is_fit),
        }
    }

    async fn try_out(&mut self, findings: &mut Findings) {
        let mut key = ObjectKey::probe();
        let (removed, seen) = tokio::join!(self.remove(&key), self.find(&key));
        if let Err(error) = &removed
            && error.kind == StorageErrorKind::Unreachable
        {
            findings.away(format!("STORAGE_URL: the store cannot be reached: {error}"));
            return;
        }
        let may_remove = removed.is_ok();
        if !may_remove {
            key = ObjectKey::standing_probe();
        }
        self.hides_missing = is_refused(&seen);
        if let Err(error) = self.put(&key, Bytes::from_static(PROBE), "text/plain").await {
            tell(findings, "pictures cannot be stored", &error);
            return;
        }
        let name = self.location.name();
        let mut is_faithful = true;
        match self.get(&key).await {
            Ok(read) if read == PROBE => findings.ok(format!("{name} takes an object and gives it back")),
            // A page of whatever answers there.
            Ok(read) if str::from_utf8(&read).is_ok() => findings.fail(format!(
                "STORAGE_URL: {name} gives back other bytes than it was given; is that the address of the store?"
            )),
            // Something that makes pictures of its own of what it has, or keeps nothing. Pictures get there all the same.
            Ok(_) => {
                is_faithful = false;
                findings.warn(format!(
                    "STORAGE_URL: {name} gives back other bytes than it was given, so what pictures become there cannot be seen from here; \
                     S3_ENDPOINT has to be the store itself, and not a cache or a service for pictures in front of it"
                ));
            }
            Err(error) if error.kind == StorageErrorKind::Refused => {
                self.hides_missing = true;
                findings.warn(format!(
                    "STORAGE_URL: an object cannot be read back, so a picture whose replica has died before it was recorded is drawn \
                     again; let the keys get objects: {error}"
                ));
            }
            Err(error) => tell(findings, "what was stored cannot be read back", &error),
        }
        if is_faithful {
            public::look(self, &key, PROBE, findings).await;
        }
        let removed = if may_remove {
            self.remove(&key).await
        } else {
            removed
        };
        match removed {
            Ok(()) => findings.ok("an object can be removed"),
            Err(error) => findings.warn(format!(
                "STORAGE_URL: an object cannot be removed, and {key} stays; pictures that are deleted will stay too: {error}"
            )),
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        let path = self.path("read", key)?;
        let call = async { self.store.get(&path).await?.bytes().await };
        self.limited("read", key, call).await
    }
}

fn is_refused<T>(result: &Result<T, StorageError>) -> bool {
    matches!(result, Err(error) if error.kind == StorageErrorKind::Refused)
}

fn tell(findings: &mut Findings, what: &str, error: &StorageError) {
    let text = format!("STORAGE_URL: {what}: {error}");
    if error.kind.may_pass() {
        findings.away(text);
    } else {
        findings.fail(text);
    }
}
