-- Nearly always empty: a job loses its package when it ends. What versions before have left behind is found by it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_with_prompts ON generative_ai.jobs (job_id)
    WHERE state IN ('done', 'dead', 'cancelled') AND package <> '';
