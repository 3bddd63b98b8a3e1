//! Whether a replica can work with this database, found before anything is bought.

use super::inspect::{Base, Hidden, MissingRight, WrongColumn};
use super::lengths::ShortColumn;
use super::rehearse::Refusal;
use super::{Db, DbError, DbSettings, PictureNames, UnfitDatabase, migrate, pending};
use crate::findings::{Checked, Findings};

/// What is done about migrations that the database lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// They are applied, as `run` does.
    Applied,
    /// They are a fault.
    Fault,
}

/// The oldest one with `gen_random_uuid`.
const OLDEST: i32 = 130_000;

/// Looks at the database as a replica uses it, and says all that is wrong at once. What is tried in it is rolled back; of the
/// numbers that `images` gives out, some are used up. `names` are those of pictures in the store.
pub async fn check(settings: &DbSettings, lacking: Lacking, names: &PictureNames) -> Checked<Db> {
    let mut findings = Findings::about("postgres");
    let service = match reach(settings, lacking).await {
        Ok(db) => {
            findings.ok("every migration is applied");
            if let Err(error) = look(&mut findings, &db, names).await {
                tell(&mut findings, &anyhow::Error::new(error).context("DATABASE_URL"));
            }
            Some(db)
        }
        Err(error) => {
            tell(&mut findings, &error);
            None
        }
    };
    Checked { findings, service }
}

/// # Errors
/// [`DbError`] when Postgres is away, or does not let this account look.
async fn look(findings: &mut Findings, db: &Db, names: &PictureNames) -> Result<(), DbError> {
    base(findings, &db.base().await?);
    for column in db.wrong_columns().await? {
        findings.fail(of_column(&column));
    }
    for column in db.short_columns(names).await? {
        of_length(findings, &column);
    }
    for Hidden { table, command, role } in db.hidden().await? {
        findings.fail(format!(
            "DATABASE_URL: row level security hides every row of {table} from {command}, as no policy is for {role}: CREATE POLICY \
             generative_ai_worker ON {table} TO {role} USING (true) WITH CHECK (true), or ALTER ROLE {role} BYPASSRLS"
        ));
    }
    rights(findings, db).await;
    // Otherwise it would only say one of those again.
    if !findings.has_failures() {
        try_all(findings, db, names).await?;
    }
    Ok(())
}

fn base(findings: &mut Findings, base: &Base) {
    let Base {
        version, encoding, ..
    } = base;
    if base.version_number < OLDEST {
        findings.fail(format!(
            "DATABASE_URL: Postgres {version} was found; 13 or later is needed"
        ));
    }
    // It takes whatever bytes it is given.
    if encoding == "SQL_ASCII" {
        findings.warn(
            "DATABASE_URL: the database has no encoding (SQL_ASCII), so that nobody knows how to read what is not English; \
             make one with ENCODING 'UTF8'",
        );
    }
    if base.is_standby {
        findings.away("DATABASE_URL: this Postgres is a standby, to which nothing can be written; name its primary, or promote it");
    } else if base.is_read_only {
        findings.fail(
            "DATABASE_URL: this Postgres takes no writes from this account, as default_transaction_read_only is on: set it to off for \
             its role, its database or in options of the URL",
        );
    }
}

fn of_column(column: &WrongColumn) -> String {
    let WrongColumn {
        table,
        name,
        wanted,
        found,
    } = column;
    let another = format!(
        "if {table} is another application's table, make one for this worker in a schema of its own and set the search_path to it"
    );
    match (found, wanted) {
        (Some(found), Some(wanted)) if wanted == "jsonb" => format!(
            "DATABASE_URL: {table}.{name} is {found}, not jsonb: ALTER TABLE {table} ALTER COLUMN {name} TYPE jsonb USING {name}::jsonb"
        ),
        (Some(found), Some(wanted)) => {
            format!(
                "DATABASE_URL: {table}.{name} is {found}, not {wanted}, which this worker counts by; {another}"
            )
        }
        _ => format!("DATABASE_URL: {table} has no column {name}: add it, or, {another}"),
    }
}

fn of_length(findings: &mut Findings, column: &ShortColumn) {
    let ShortColumn {
        table,
        name,
        what,
        holds,
        usual,
        longest,
    } = column;
    let cure = format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE text");
    if holds < usual {
        findings.fail(format!(
            "DATABASE_URL: {table}.{name} holds {holds} characters, and {what} {usual} and more, so that rows would be refused: {cure}"
        ));
    } else {
        findings.warn(format!(
            "DATABASE_URL: {table}.{name} holds {holds} characters, and {what} up to {longest}, so that some rows are refused: {cure}"
        ));
    }
}

/// # Errors
/// As [`look`].
async fn try_all(findings: &mut Findings, db: &Db, names: &PictureNames) -> Result<(), DbError> {
    let refusals = db.rehearse(names).await?;
    for Refusal {
        step,
        error,
        depends,
        unfilled,
    } in &refusals
    {
        match error {
            _ if let Some(column) = unfilled => findings.fail(format!(
                "DATABASE_URL: images.{column} takes no NULL and has no default, and this worker does not fill it: ALTER TABLE images \
                 ALTER COLUMN {column} SET DEFAULT what the application wants there, or DROP NOT NULL"
            )),
            DbError::Locked(_) | DbError::Collided(_) => findings.warn(format!(
                "DATABASE_URL: whether this account can {step} could not be tried, as others hold what it needs: {error}"
            )),
            _ if *depends => findings.warn(format!(
                "DATABASE_URL: this account could not {step} for a try: {error}; if that is so for every row, pictures are paid for and \
                 cannot be recorded"
            )),
            _ => findings.fail(format!(
                "DATABASE_URL: this account cannot {step}: {error}; mend the table, or the right or trigger that this is about"
            )),
        }
    }
    if refusals.is_empty() {
        findings.ok("every step of a job can be done, as a try that was rolled back has shown");
    }
    Ok(())
}

async fn reach(settings: &DbSettings, lacking: Lacking) -> anyhow::Result<Db> {
    match lacking {
        Lacking::Applied => {
            match migrate(settings).await {
                Ok(names) => {
                    for name in names {
                        tracing::info!(migration = name, "applied a migration");
                    }
                }
                Err(error) if is_away(&error) || is_refused(&error) || error.is::<UnfitDatabase>() => {
                    return Err(error);
                }
                // Of the same database the other commands say the same.
                Err(error) => {
                    tracing::error!(
                        cause = format!("{error:#}"),
                        "the migrations that the database lacks cannot be applied from here"
                    );
                    all_applied(settings).await?;
                    return Err(error);
                }
            }
        }
        Lacking::Fault => all_applied(settings).await?,
    }
    Db::new(settings)
}

/// # Errors
/// [`UnfitDatabase`], or when Postgres is away.
async fn all_applied(settings: &DbSettings) -> anyhow::Result<()> {
    let pending = pending(settings).await?;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(UnfitDatabase::Lacks(pending).into())
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        is_silence(cause)
            || matches!(
                cause.downcast_ref(),
                Some(DbError::Unavailable(_) | DbError::Demoted(_))
            )
    })
}

/// Whether Postgres could not be connected to, whatever it has said: then nothing is known of migrations.
fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<diesel::ConnectionError>())
}

/// Whether Postgres could not be connected to, and has not said why.
pub(crate) fn is_silence(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref()
        .is_some_and(|error| !matches!(error, diesel::ConnectionError::InvalidConnectionUrl(_)))
}

/// What is no better tomorrow is a failure; all else is away.
fn tell(findings: &mut Findings, error: &anyhow::Error) {
    let mut text = format!("{error:#}");
    if !text.starts_with("DATABASE_URL") {
        text.insert_str(0, "DATABASE_URL: ");
    }
    if is_away(error) {
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
    let mut gone = None;
    for MissingRight {
        object,
        right,
        is_there,
        ..
    } in needed
    {
        if *is_there != Some(false) {
            findings.fail(format!(
                "DATABASE_URL: this account lacks {right} on {object}: GRANT it"
            ));
        } else if gone != Some(object) {
            // Its rights come one after another.
            gone = Some(object);
            findings.fail(format!(
                "DATABASE_URL: there is no table {object}; it was there when the database was migrated: restore it from a backup"
            ));
        }
    }
    if findings.iter().count() == before {
        findings.ok("this account has every right that it needs");
    }
}
