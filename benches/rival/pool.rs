//! A few Postgres connections, each with its statements prepared.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, NoTls, Statement};

/// As many as help: with more of them Postgres does no more on a few cores.
const MOST: usize = 20;

pub(super) struct Session {
    pub(super) client: Client,
    pub(super) insert: Statement,
    pub(super) update: Statement,
}

pub(super) struct Pool {
    sessions: Mutex<Vec<Session>>,
    free: Semaphore,
}

impl Pool {
    pub(super) async fn open(url: &str, concurrency: usize) -> anyhow::Result<Self> {
        let mut sessions = Vec::new();
        for _ in 0..concurrency.min(MOST) {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            let insert = client
                .prepare(
                    "INSERT INTO images (user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, \
                     deleted, created_at, updated_at) \
                     VALUES ($1, 'bench', 'n/a', $2, 'AI worker', '127.0.0.1', false, now(), now()) RETURNING id",
                )
                .await?;
            let update = client
                .prepare("UPDATE ac_background_jobs SET data = $2::text::jsonb, progress = 100, updated_at = now() WHERE id = $1")
                .await?;
            sessions.push(Session {
                client,
                insert,
                update,
            });
        }
        Ok(Self {
            free: Semaphore::new(sessions.len()),
            sessions: Mutex::new(sessions),
        })
    }

    pub(super) async fn get(&self) -> anyhow::Result<Lent<'_>> {
        let permit = self.free.acquire().await?;
        let session = self.lock().pop();
        Ok(Lent {
            pool: self,
            session,
            _permit: permit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock().unwrap()
    }
}

pub(super) struct Lent<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    _permit: SemaphorePermit<'a>,
}

impl std::ops::Deref for Lent<'_> {
    type Target = Session;
    fn deref(&self) -> &Session {
        self.session.as_ref().unwrap()
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pool.lock().extend(self.session.take());
    }
}
