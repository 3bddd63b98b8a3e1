CREATE INDEX IF NOT EXISTS jobs_finished ON generative_ai.jobs (finished_at) WHERE finished_at IS NOT NULL;
