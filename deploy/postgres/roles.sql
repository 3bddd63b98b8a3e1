-- Roles with the rights that the worker needs and no more. Run it as a superuser in the application's database, before or after
-- the tables are there, and again whenever a right is to be mended:
--
--     psql --set ON_ERROR_STOP=on --file deploy/postgres/roles.sql app
--
-- then give each role a password (`\password generative_ai_worker` in psql). Where the application's tables stand in another
-- schema than public, which has to be there first, run this for it instead, with the double quotes where its name has capitals:
--
--     sed 's/public/"App"/g' deploy/postgres/roles.sql | psql --set ON_ERROR_STOP=on app
--
-- and have all three roles look there: ALTER ROLE generative_ai_worker SET search_path = "App", and so on.
--
-- generative_ai_migrator   runs `generative-ai-worker migrate`, and owns the schema generative_ai
-- generative_ai_worker     runs the replicas with the operators' page, and doctor, which looks at their rights; can change no table's shape, removes nothing but
--                          what is old in the schema generative_ai, and sees of the application's rows what it writes there
-- generative_ai_operator   runs the commands: enqueue, cancel, reseed, dead, jobs show, status
--
-- tests/it/deploy.rs runs the worker and its commands under them, and takes each right of a column away in turn.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['generative_ai_migrator', 'generative_ai_worker', 'generative_ai_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO generative_ai_migrator', current_database());
END
$$;

-- The worker's own schema belongs to the migrator, with whatever it makes there.
CREATE SCHEMA IF NOT EXISTS generative_ai;
ALTER SCHEMA generative_ai OWNER TO generative_ai_migrator;
-- What another account has made there before is handed over too, as by `run` under the application's own account.
DO $$
DECLARE
    own regclass;
    routine regprocedure;
BEGIN
    FOR own IN SELECT oid FROM pg_class
        WHERE relnamespace = 'generative_ai'::regnamespace AND relkind IN ('r', 'p')
            AND relowner <> 'generative_ai_migrator'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO generative_ai_migrator', own);
    END LOOP;
    -- All but the one below, which has the rights of who runs this.
    FOR routine IN SELECT oid FROM pg_proc
        WHERE pronamespace = 'generative_ai'::regnamespace AND proname <> 'grant_rights'
            AND proowner <> 'generative_ai_migrator'::regrole
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO generative_ai_migrator', routine);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA generative_ai TO generative_ai_worker, generative_ai_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE generative_ai_migrator IN SCHEMA generative_ai
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO generative_ai_worker, generative_ai_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA generative_ai TO generative_ai_worker, generative_ai_operator;

-- The application's tables stay the application's. Where it has none yet, migrate makes them.
GRANT USAGE ON SCHEMA public TO generative_ai_migrator, generative_ai_worker, generative_ai_operator;
DO $$
BEGIN
    IF to_regclass('public.ac_background_jobs') IS NULL OR to_regclass('public.images') IS NULL THEN
        GRANT CREATE ON SCHEMA public TO generative_ai_migrator;
    ELSE
        REVOKE CREATE ON SCHEMA public FROM generative_ai_migrator;
    END IF;
END
$$;

-- Rights on tables that may not be there yet. `migrate` calls it when it has made some; nobody else may.
CREATE OR REPLACE FUNCTION generative_ai.grant_rights() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own text;
    sequence text;
BEGIN
    -- Whoever changes the namespace draws every picture again under another key, and whoever changes the list of migrations
    -- keeps the worker from starting.
    FOREACH own IN ARRAY ARRAY['generative_ai.installation', 'generative_ai.__diesel_schema_migrations'] LOOP
        IF to_regclass(own) IS NOT NULL THEN
            EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %s FROM generative_ai_worker, generative_ai_operator', own);
        END IF;
    END LOOP;
    IF to_regclass('public.ac_background_jobs') IS NOT NULL THEN
        REVOKE ALL ON public.ac_background_jobs FROM generative_ai_worker, generative_ai_operator;
        GRANT SELECT (id, progress, error, data, created_at), UPDATE (progress, error, data, updated_at)
            ON public.ac_background_jobs TO generative_ai_worker, generative_ai_operator;
        GRANT SELECT (updated_at) ON public.ac_background_jobs TO generative_ai_worker;
        GRANT SELECT (updated_at), INSERT (progress, data, internal_data, created_at, updated_at)
            ON public.ac_background_jobs TO generative_ai_operator;
        sequence := pg_get_serial_sequence('public.ac_background_jobs', 'id');
        IF sequence IS NOT NULL THEN
            EXECUTE format('GRANT USAGE ON SEQUENCE %s TO generative_ai_operator', sequence);
        END IF;
        -- It looks whether they are there.
        GRANT SELECT (id) ON public.ac_background_jobs TO generative_ai_migrator;
    END IF;
    IF to_regclass('public.images') IS NOT NULL THEN
        REVOKE ALL ON public.images FROM generative_ai_worker, generative_ai_operator;
        GRANT SELECT (id), INSERT (user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, deleted,
            created_at, updated_at) ON public.images TO generative_ai_worker;
        -- What the operators' page shows of a job, and what it takes to delete a picture (delete-image).
        GRANT SELECT (formats, user_id, deleted), UPDATE (deleted, updated_at) ON public.images TO generative_ai_worker;
        GRANT SELECT (id, formats, user_id, deleted) ON public.images TO generative_ai_operator;
        sequence := pg_get_serial_sequence('public.images', 'id');
        IF sequence IS NOT NULL THEN
            EXECUTE format('GRANT USAGE ON SEQUENCE %s TO generative_ai_worker', sequence);
        END IF;
        GRANT SELECT (id) ON public.images TO generative_ai_migrator;
    END IF;
END
$$;
REVOKE ALL ON FUNCTION generative_ai.grant_rights() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION generative_ai.grant_rights() TO generative_ai_migrator;
SELECT generative_ai.grant_rights();
