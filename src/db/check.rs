//! Whether a replica can work with this database, found before anything is bought.

use super::inspect::MissingRight;
use super::{Db, DbError, DbSettings, UnfitDatabase, migrate, pending};
use crate::findings::{Checked, Findings};

/// What is done about migrations that the database lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// They are applied, as `run` does.
    Applied,
    /// They are a fault.
    Fault,
}

/// Looks at the database as a replica uses it, and says all that is wrong at once.
pub async fn check(settings: &DbSettings, lacking: Lacking) -> Checked<Db> {
    let mut findings = Findings::about("postgres");
    let service = match reach(settings, lacking).await {
        Ok(db) => {
            findings.ok("every migration is applied");
            rights(&mut findings, &db).await;
            Some(db)
        }
        Err(error) => {
            tell(&mut findings, &error);
            None
        }
    };
    Checked { findings, service }
}

async fn reach(settings: &DbSettings, lacking: Lacking) -> anyhow::Result<Db> {
    match lacking {
        Lacking::Applied => {
            for name in migrate(settings).await? {
                tracing::info!(migration = name, "applied a migration");
            }
        }
        Lacking::Fault => {
            let pending = pending(settings).await?;
            if !pending.is_empty() {
                return Err(UnfitDatabase::Lacks(pending).into());
            }
        }
    }
    Db::new(settings)
}

/// What is no better tomorrow is a failure; all else is away.
fn tell(findings: &mut Findings, error: &anyhow::Error) {
    let is_away = error.chain().any(|cause| {
        cause.is::<diesel::ConnectionError>()
            || matches!(
                cause.downcast_ref(),
                Some(DbError::Unavailable(_) | DbError::Demoted(_))
            )
    });
    let text = format!("{error:#}");
    if is_away {
        findings.away(text);
    } else {
        findings.fail(text);
    }
}

async fn rights(findings: &mut Findings, db: &Db) {
    let missing = match db.missing_rights().await {
        Ok(missing) => missing,
        Err(error @ (DbError::Unavailable(_) | DbError::Demoted(_))) => {
            findings.away(format!("DATABASE_URL: {error}"));
            return;
        }
        Err(error) => {
            findings.fail(format!(
                "DATABASE_URL: the rights of this account cannot be looked at: {error}; GRANT USAGE ON SCHEMA generative_ai to it"
            ));
            return;
        }
    };
    let needed = missing.iter().filter(|right| right.is_needed);
    let before = findings.iter().count();
    for MissingRight { object, right, .. } in needed {
        findings.fail(format!(
            "DATABASE_URL: this account lacks {right} on {object}: GRANT it"
        ));
    }
    if findings.iter().count() == before {
        findings.ok("this account has every right that it needs");
    }
}
