-- Roles with the rights that the worker needs and no more. Run it as a superuser in the application's database, after the
-- application's tables are there, and again whenever a right is to be mended:
--
--     psql --set ON_ERROR_STOP=on --file deploy/postgres/roles.sql app
--
-- then give each role a password (`\password generative_ai_worker` in psql).
--
-- generative_ai_migrator   runs `generative-ai-worker migrate`, and owns the schema generative_ai
-- generative_ai_worker     runs the replicas, and doctor, which looks at their rights; can change no table's shape, and removes
--                          nothing but what is old in the schema generative_ai
-- generative_ai_operator   runs the commands: enqueue, cancel, reseed, dead, jobs show, status
--
-- tests/it/deploy.rs runs the worker and its commands under them.
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
GRANT USAGE ON SCHEMA generative_ai TO generative_ai_worker, generative_ai_operator;
ALTER DEFAULT PRIVILEGES FOR ROLE generative_ai_migrator IN SCHEMA generative_ai
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO generative_ai_worker, generative_ai_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA generative_ai TO generative_ai_worker, generative_ai_operator;

-- The application's tables stay the application's.
GRANT USAGE ON SCHEMA public TO generative_ai_migrator, generative_ai_worker, generative_ai_operator;
GRANT SELECT, UPDATE ON public.ac_background_jobs TO generative_ai_worker;
GRANT SELECT, INSERT ON public.images TO generative_ai_worker;
GRANT USAGE ON SEQUENCE public.images_id_seq TO generative_ai_worker;
GRANT SELECT, INSERT, UPDATE ON public.ac_background_jobs TO generative_ai_operator;
GRANT USAGE ON SEQUENCE public.ac_background_jobs_id_seq TO generative_ai_operator;
GRANT SELECT ON public.images TO generative_ai_operator;
-- The migrator looks whether they are there.
GRANT SELECT ON public.ac_background_jobs, public.images TO generative_ai_migrator;
