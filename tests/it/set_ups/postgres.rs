//! Wrong databases: rights, policies, columns and triggers of tables, and what stands in `DATABASE_URL`.

use super::{Wrong, away, in_postgres, set};

/// A role with the rights that a replica has and without those of an owner.
pub(super) const ROLE: &str = "CREATE ROLE worker LOGIN PASSWORD 'change-me';
    GRANT USAGE ON SCHEMA generative_ai TO worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA generative_ai TO worker;
    GRANT SELECT, UPDATE ON ac_background_jobs TO worker;
    GRANT SELECT, INSERT ON images TO worker;
    GRANT USAGE ON SEQUENCE images_id_seq TO worker";

pub(super) const ROWS: &[Wrong] = &[
    in_postgres(
        "ALTER TABLE images ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE images DISABLE ROW LEVEL SECURITY",
        &[
            "row level security hides every row of images from SELECT, as no policy is for worker: CREATE POLICY",
            "row level security hides every row of images from INSERT, as no policy is for worker: CREATE POLICY",
        ],
    ),
    in_postgres(
        "ALTER TABLE ac_background_jobs ENABLE ROW LEVEL SECURITY;
            CREATE POLICY readers ON ac_background_jobs FOR SELECT USING (true)",
        "ALTER TABLE ac_background_jobs DISABLE ROW LEVEL SECURITY; DROP POLICY readers ON ac_background_jobs",
        &["row level security hides every row of ac_background_jobs from UPDATE"],
    ),
    in_postgres(
        "REVOKE INSERT ON images FROM worker",
        "GRANT INSERT ON images TO worker",
        &["this account lacks INSERT on images: GRANT it"],
    ),
    in_postgres(
        "REVOKE INSERT ON images FROM worker; GRANT INSERT (id, user_id, formats) ON images TO worker",
        "REVOKE INSERT ON images FROM worker; GRANT INSERT ON images TO worker",
        &["this account cannot record a picture: ", "permission denied for table images"],
    ),
    in_postgres(
        "REVOKE USAGE ON SEQUENCE images_id_seq FROM worker",
        "GRANT USAGE ON SEQUENCE images_id_seq TO worker",
        &["this account lacks USAGE on public.images_id_seq: GRANT it"],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.callbacks RENAME TO away",
        "ALTER TABLE generative_ai.away RENAME TO callbacks",
        &["there is no table generative_ai.callbacks; it was there when the database was migrated: restore it from a backup"],
    ),
    in_postgres(
        "REVOKE UPDATE ON generative_ai.provider_calls FROM worker; REVOKE SELECT ON ac_background_jobs FROM worker",
        "GRANT UPDATE ON generative_ai.provider_calls TO worker; GRANT SELECT ON ac_background_jobs TO worker",
        &[
            "this account lacks SELECT on ac_background_jobs: GRANT it",
            "this account lacks UPDATE on generative_ai.provider_calls: GRANT it",
        ],
    ),
    in_postgres(
        "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE json USING data::json",
        "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb USING data::jsonb",
        &["ac_background_jobs.data is json, not jsonb: ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb"],
    ),
    in_postgres(
        "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE text",
        "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb USING data::jsonb",
        &["ac_background_jobs.data is text, not jsonb"],
    ),
    in_postgres(
        "ALTER TABLE ac_background_jobs ALTER COLUMN progress TYPE text",
        "ALTER TABLE ac_background_jobs ALTER COLUMN progress TYPE integer USING progress::integer",
        &["this account cannot begin a job: ", "this account cannot show the progress of a job: "],
    ),
    in_postgres(
        "ALTER TABLE images RENAME TO old_images;
            CREATE TABLE images (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), url text NOT NULL, owner uuid);
            GRANT SELECT, INSERT ON images TO worker",
        "DROP TABLE images; ALTER TABLE old_images RENAME TO images",
        &[
            "images has no column created_at: add it, or, if images is another application's table",
            "images.id is uuid, not integer, which this worker counts by; if images is another application's table, make one",
            "images has no column formats: add it, or, if images is another application's table",
        ],
    ),
    in_postgres(
        "ALTER TABLE images DROP COLUMN user_agent",
        "ALTER TABLE images ADD COLUMN user_agent text NOT NULL DEFAULT ''; ALTER TABLE images ALTER COLUMN user_agent DROP DEFAULT",
        &["images has no column user_agent: add it"],
    ),
    in_postgres(
        "ALTER TABLE images ALTER COLUMN id DROP DEFAULT",
        "ALTER TABLE images ALTER COLUMN id SET DEFAULT nextval('images_id_seq')",
        &["this account cannot make a row of images: ", "null value in column \"id\""],
    ),
    in_postgres(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''pictures are frozen''; END';
            CREATE TRIGGER no BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION no()",
        "DROP FUNCTION no CASCADE",
        &["this account cannot make a row of images: ", "pictures are frozen"],
    ),
    in_postgres(
        "ALTER ROLE worker SET default_transaction_read_only = on",
        "ALTER ROLE worker RESET default_transaction_read_only",
        &["default_transaction_read_only is on: set it to off"],
    ),
    in_postgres(
        "REVOKE USAGE ON SCHEMA generative_ai FROM worker",
        "GRANT USAGE ON SCHEMA generative_ai TO worker",
        &["GRANT USAGE ON SCHEMA generative_ai"],
    ),
    in_postgres(
        "ALTER ROLE worker NOLOGIN",
        "ALTER ROLE worker LOGIN",
        &["Postgres refuses this connection: ", "is not permitted to log in"],
    ),
    // The worker's own tables.
    in_postgres(
        "ALTER TABLE generative_ai.jobs ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE generative_ai.jobs DISABLE ROW LEVEL SECURITY",
        &[
            "row level security hides every row of generative_ai.jobs from UPDATE, as no policy is for worker: CREATE POLICY",
            "row level security hides every row of generative_ai.jobs from INSERT",
        ],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.provider_calls ENABLE ROW LEVEL SECURITY;
            CREATE POLICY readers ON generative_ai.provider_calls FOR SELECT USING (true);
            CREATE POLICY writers ON generative_ai.provider_calls FOR UPDATE USING (true)",
        "ALTER TABLE generative_ai.provider_calls DISABLE ROW LEVEL SECURITY;
            DROP POLICY readers ON generative_ai.provider_calls; DROP POLICY writers ON generative_ai.provider_calls",
        &["row level security hides every row of generative_ai.provider_calls from INSERT"],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.dead_packages ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE generative_ai.dead_packages DISABLE ROW LEVEL SECURITY",
        &["row level security hides every row of generative_ai.dead_packages from "],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.jobs ENABLE ROW LEVEL SECURITY;
            CREATE POLICY all_rows ON generative_ai.jobs USING (true);
            CREATE POLICY none ON generative_ai.jobs AS RESTRICTIVE FOR INSERT WITH CHECK (job_id = 0)",
        "ALTER TABLE generative_ai.jobs DISABLE ROW LEVEL SECURITY;
            DROP POLICY all_rows ON generative_ai.jobs; DROP POLICY none ON generative_ai.jobs",
        &["this account cannot write down a job: ", "row-level security policy"],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.jobs ENABLE ROW LEVEL SECURITY;
            CREATE POLICY seen ON generative_ai.jobs USING (worker_id = 'another') WITH CHECK (true)",
        "ALTER TABLE generative_ai.jobs DISABLE ROW LEVEL SECURITY; DROP POLICY seen ON generative_ai.jobs",
        &["this account cannot write down a call: ", "row level security"],
    ),
    in_postgres(
        "ALTER TABLE generative_ai.jobs ALTER COLUMN worker_id TYPE varchar(5)",
        "ALTER TABLE generative_ai.jobs ALTER COLUMN worker_id TYPE text",
        &["this account cannot write down a job: ", "value too long"],
    ),
    // Columns that take too little.
    in_postgres(
        "ALTER TABLE images ALTER COLUMN formats TYPE varchar(20)",
        "ALTER TABLE images ALTER COLUMN formats TYPE text",
        &["images.formats holds 20 characters, and the addresses of a picture take "],
    ),
    in_postgres(
        "CREATE DOMAIN address AS varchar(30); ALTER TABLE images ALTER COLUMN formats TYPE address",
        "ALTER TABLE images ALTER COLUMN formats TYPE text; DROP DOMAIN address",
        &["images.formats holds 30 characters"],
    ),
    in_postgres(
        "ALTER TABLE ac_background_jobs ALTER COLUMN error TYPE varchar(50)",
        "ALTER TABLE ac_background_jobs ALTER COLUMN error TYPE text",
        &["ac_background_jobs.error holds 50 characters, and the reason of a job that has failed takes "],
    ),
    in_postgres(
        "ALTER TABLE images ALTER COLUMN user_agent TYPE varchar(5)",
        "ALTER TABLE images ALTER COLUMN user_agent TYPE text",
        &["images.user_agent holds 5 characters"],
    ),
    // Columns that nobody fills.
    in_postgres(
        "ALTER TABLE images ADD COLUMN title text NOT NULL",
        "ALTER TABLE images DROP COLUMN title",
        &["images.title takes no NULL and has no default, and this worker does not fill it: ALTER TABLE images ALTER COLUMN title"],
    ),
    in_postgres(
        "ALTER TABLE images ALTER COLUMN s3_bucket_name SET NOT NULL",
        "ALTER TABLE images ALTER COLUMN s3_bucket_name DROP NOT NULL",
        &["images.s3_bucket_name takes no NULL"],
    ),
    in_postgres(
        "ALTER TABLE images RENAME TO pictures",
        "ALTER TABLE pictures RENAME TO images",
        &["there is no table images where this account looks"],
    ),
    // The database as a whole.
    in_postgres(
        "ALTER ROLE worker CONNECTION LIMIT 1",
        "ALTER ROLE worker CONNECTION LIMIT -1",
        &["the role worker may not have as many connections at once as a replica opens, up to 10: ALTER ROLE worker CONNECTION LIMIT 10"],
    ),
    in_postgres(
        "DELETE FROM generative_ai.__diesel_schema_migrations WHERE version = '20261130000030'",
        "INSERT INTO generative_ai.__diesel_schema_migrations (version) VALUES ('20261130000030')",
        &["the database lacks 1 migration(s), from 2026-11-30-000030_operator_actions on; run generative-ai-worker migrate"],
    ),
    in_postgres(
        "INSERT INTO generative_ai.__diesel_schema_migrations (version) VALUES ('20990101000001');
            UPDATE generative_ai.installation SET needs_migration = '20990101000001'",
        "DELETE FROM generative_ai.__diesel_schema_migrations WHERE version = '20990101000001';
            UPDATE generative_ai.installation SET needs_migration = '20261129000007'",
        &["which this version of the worker does not know; use the newer version"],
    ),
    in_postgres(
        "ALTER ROLE worker SET search_path = nowhere",
        "ALTER ROLE worker RESET search_path",
        &["the table ac_background_jobs stands in the schema public, and this account looks in nowhere: set the search_path"],
    ),
    set(
        &[("DATABASE_URL", "postgres://worker:wrong@127.0.0.1:{postgres}/postgres?connect_timeout=60")],
        &["Postgres refuses this connection: "],
    ),
    set(
        &[("DATABASE_URL", "postgres://worker:change-me@127.0.0.1:{postgres}/nobodys?connect_timeout=60")],
        &["Postgres refuses this connection: ", "database \"nobodys\" does not exist"],
    ),
    set(
        &[("DATABASE_URL", "mysql://worker:change-me@127.0.0.1:{postgres}/postgres")],
        &["DATABASE_URL"],
    ),
    away(
        &[("DATABASE_URL", "postgres://worker:change-me@127.0.0.1:1/postgres")],
        &["DATABASE_URL: Postgres cannot be reached: "],
    ),
];
