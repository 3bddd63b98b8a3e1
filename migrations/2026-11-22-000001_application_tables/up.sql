-- The two tables that the worker shares with the application. Where the application has made them, they are
-- adopted as they are; nothing here drops, retypes or adds a column.
--
-- They are made in the first schema of the search path that is not the worker's own, which is where an
-- application that uses the same connection string would make them.
DO $$
DECLARE
    home text := (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path(name, position)
                  WHERE name <> 'generative_ai' ORDER BY position LIMIT 1);
BEGIN
    IF to_regclass('ac_background_jobs') IS NULL THEN
        EXECUTE format('CREATE TABLE %I.ac_background_jobs (
            id serial PRIMARY KEY,
            progress integer,
            error text,
            data jsonb,
            internal_data jsonb,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now())', home);
    END IF;
    IF to_regclass('images') IS NULL THEN
        EXECUTE format('CREATE TABLE %I.images (
            id serial PRIMARY KEY,
            name varchar(255),
            description text,
            license varchar(255),
            cc_url varchar(255),
            original_url varchar(255),
            photographer_name varchar(255),
            formats text,
            original_filename varchar(255),
            s3_bucket_name varchar(255),
            ip_address varchar(255) NOT NULL,
            user_agent text NOT NULL,
            location jsonb,
            deleted boolean NOT NULL DEFAULT false,
            user_id integer,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now())', home);
    END IF;
END
$$;
