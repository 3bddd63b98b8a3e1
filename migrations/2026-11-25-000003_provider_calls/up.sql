-- What has been asked of providers that cost money. A row is committed before its call is made, and a job has at
-- most one open call, so no crash and no second owner buys a picture that is already being made.
CREATE TABLE IF NOT EXISTS generative_ai.provider_calls (
    job_id integer NOT NULL REFERENCES generative_ai.jobs ON DELETE CASCADE,
    call_no integer NOT NULL,
    -- intended: it may have been sent. accepted: the provider has it under `handle`. unknown: nobody will ever know.
    state text NOT NULL CHECK (state IN ('intended', 'accepted', 'succeeded', 'failed', 'unknown')),
    provider text NOT NULL,
    model text NOT NULL,
    worker_id text NOT NULL,
    fence bigint NOT NULL,
    -- What the provider can be asked for the picture by.
    handle text,
    -- What the provider's support asks for.
    provider_request_id text,
    sent_at timestamptz NOT NULL DEFAULT now(),
    -- Whoever made the call waits no longer than this.
    deadline_at timestamptz NOT NULL,
    ended_at timestamptz,
    error_class text,
    error_details text,
    usage jsonb,
    cost_usd double precision,
    cost_basis text CHECK (cost_basis IN ('reported', 'computed', 'estimated')),
    PRIMARY KEY (job_id, call_no)
);
CREATE UNIQUE INDEX IF NOT EXISTS provider_calls_open ON generative_ai.provider_calls (job_id) WHERE state IN ('intended', 'accepted');
CREATE INDEX IF NOT EXISTS provider_calls_sent_at ON generative_ai.provider_calls (sent_at);

ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS calls integer NOT NULL DEFAULT 0;
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS cost_basis text;
-- held: an operator has to decide whether another picture may be bought. Rows are not looked at, as states of a later migration
-- are among them where this one is applied again.
ALTER TABLE generative_ai.jobs DROP CONSTRAINT IF EXISTS jobs_state_check;
ALTER TABLE generative_ai.jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('waiting', 'begun', 'retry_wait', 'held', 'done', 'dead')) NOT VALID;
DROP INDEX IF EXISTS generative_ai.jobs_unfinished;
CREATE INDEX jobs_unfinished ON generative_ai.jobs (state, begun_at) WHERE state IN ('waiting', 'begun', 'retry_wait', 'held');
