-- The trace that a job is part of (W3C traceparent of the package that names a callbackUrl), so that whichever replica tells of its end
-- tells it as part of that trace.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS traceparent text;
ALTER TABLE generative_ai.callbacks ADD COLUMN IF NOT EXISTS traceparent text;

CREATE OR REPLACE FUNCTION generative_ai.tell_of_end() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- What is being posted at this moment is left alone: the later end waits for it.
    UPDATE generative_ai.callbacks AS earlier SET state = 'superseded', settled_at = now()
    WHERE earlier.job_id = NEW.job_id AND earlier.row_created_at IS NOT DISTINCT FROM NEW.row_created_at
        AND earlier.url = ANY (NEW.callback_urls) AND earlier.state = 'waiting' AND coalesce(earlier.leased_until <= now(), true);
    INSERT INTO generative_ai.callbacks
        (id, job_id, row_created_at, queue, url, origin, outcome, image_id, image_url, error_class, error_message, ended_at, traceparent)
    SELECT generative_ai.callback_id(NEW.job_id, extract(epoch FROM NEW.finished_at)::text, asked.url),
        NEW.job_id, NEW.row_created_at, coalesce(NEW.queue, ''), asked.url, substring(asked.url FROM '^[a-z]+://[^/?#]+'),
        NEW.state, NEW.image_id, NEW.image_url, NEW.error_class, NEW.error_message, NEW.finished_at, NEW.traceparent
    FROM unnest(NEW.callback_urls) AS asked(url)
    ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;
