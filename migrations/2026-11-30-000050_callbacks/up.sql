-- The outbox: to whom the end of a job is posted (callbackUrl), each address a row that is made by the very statement that ends the job, so
-- that no crash is between the two. A job for which nobody asked has none.

-- Kept by whoever takes a package that names one, before anything is done for it.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS callback_urls text[] NOT NULL DEFAULT '{}';

CREATE TABLE IF NOT EXISTS generative_ai.callbacks (
    id uuid PRIMARY KEY,
    -- NULL: a package was refused from which no job could be read.
    job_id integer,
    -- Which of the jobs that had the number, as in generative_ai.jobs.
    row_created_at timestamptz,
    -- Its replicas post it, as they know the secret.
    queue text NOT NULL,
    url text NOT NULL,
    -- Scheme, host and port of the URL: those of one origin wait for each other and for no others.
    origin text NOT NULL,
    -- superseded: the job was started again, and that end is told instead.
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed', 'superseded')),
    -- What is told: how the job has ended (done, dead, cancelled), and with what.
    outcome text NOT NULL,
    image_id integer,
    image_url text,
    error_class text,
    error_message text,
    ended_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Until then a replica has it in hand.
    leased_until timestamptz,
    -- When it was delivered or given up.
    settled_at timestamptz,
    last_status integer,
    last_error text
);
CREATE INDEX IF NOT EXISTS callbacks_due ON generative_ai.callbacks (queue, origin, due_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS callbacks_job_id ON generative_ai.callbacks (job_id);
CREATE INDEX IF NOT EXISTS callbacks_settled_at ON generative_ai.callbacks (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS callbacks_failed ON generative_ai.callbacks (queue, settled_at) WHERE state = 'failed';

-- The same end of the same job told to the same URL has the same id, however often it is told.
CREATE OR REPLACE FUNCTION generative_ai.callback_id(job_id integer, which_end text, url text) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT left(encode(sha256(convert_to(concat_ws(' ', job_id, which_end, url), 'UTF8')), 'hex'), 32)::uuid
$$;

CREATE OR REPLACE FUNCTION generative_ai.tell_of_end() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- What is being posted at this moment is left alone: the later end waits for it.
    UPDATE generative_ai.callbacks AS earlier SET state = 'superseded', settled_at = now()
    WHERE earlier.job_id = NEW.job_id AND earlier.row_created_at IS NOT DISTINCT FROM NEW.row_created_at
        AND earlier.url = ANY (NEW.callback_urls) AND earlier.state = 'waiting' AND coalesce(earlier.leased_until <= now(), true);
    INSERT INTO generative_ai.callbacks
        (id, job_id, row_created_at, queue, url, origin, outcome, image_id, image_url, error_class, error_message, ended_at)
    SELECT generative_ai.callback_id(NEW.job_id, extract(epoch FROM NEW.finished_at)::text, asked.url),
        NEW.job_id, NEW.row_created_at, coalesce(NEW.queue, ''), asked.url, substring(asked.url FROM '^[a-z]+://[^/?#]+'),
        NEW.state, NEW.image_id, NEW.image_url, NEW.error_class, NEW.error_message, NEW.finished_at
    FROM unnest(NEW.callback_urls) AS asked(url)
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

-- Here and not in the statements that end jobs, as there are many of them: none can forget it, those of older versions neither.
DROP TRIGGER IF EXISTS tell_of_end ON generative_ai.jobs;
CREATE TRIGGER tell_of_end AFTER UPDATE OF state ON generative_ai.jobs FOR EACH ROW
    WHEN (NEW.callback_urls <> '{}' AND NEW.finished_at IS NOT NULL
        AND NEW.state IN ('done', 'dead', 'cancelled') AND OLD.state NOT IN ('done', 'dead', 'cancelled'))
    EXECUTE FUNCTION generative_ai.tell_of_end();
