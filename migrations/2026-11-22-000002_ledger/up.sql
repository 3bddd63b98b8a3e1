-- What the worker itself remembers. Postgres decides: a package leaves Redis only after the commit here that ends it.
--
-- Like all that follow, this can be applied again where the list of what has been applied is lost, and then changes nothing.

-- One row, made once: the namespace that object keys are derived from, so that two databases that share a
-- bucket never overwrite each other's pictures, and nobody can guess a key from a job id.
CREATE TABLE IF NOT EXISTS generative_ai.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key_namespace uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO generative_ai.installation DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS generative_ai.jobs (
    job_id integer PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('waiting', 'begun', 'retry_wait', 'done', 'dead')),
    -- Counts the owners. A failure, a retry or a dead-lettering needs the current one; a success does not.
    fence bigint NOT NULL DEFAULT 1,
    worker_id text,
    deliveries integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    package text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz,
    finished_at timestamptz,
    error_class text,
    error_message text,
    error_details text,
    image_id integer UNIQUE,
    image_url text,
    object_keys text[],
    provenance_mark text,
    provider text,
    model text,
    provider_request_id text,
    usage jsonb,
    cost_usd double precision
);
-- Unfinished jobs are few; finished ones are kept.
CREATE INDEX IF NOT EXISTS jobs_unfinished ON generative_ai.jobs (state, begun_at) WHERE state IN ('waiting', 'begun', 'retry_wait');

CREATE TABLE IF NOT EXISTS generative_ai.dead_packages (
    id uuid PRIMARY KEY,
    job_id integer,
    payload bytea NOT NULL,
    reason text NOT NULL,
    details text,
    error_class text NOT NULL,
    attempts integer NOT NULL,
    worker_id text NOT NULL,
    dead_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS dead_packages_dead_at ON generative_ai.dead_packages (dead_at);
CREATE INDEX IF NOT EXISTS dead_packages_job_id ON generative_ai.dead_packages (job_id);
