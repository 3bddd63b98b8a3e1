-- Paid calls are the books: they stay when the job that they were made for is forgotten.
ALTER TABLE generative_ai.provider_calls DROP CONSTRAINT IF EXISTS provider_calls_job_id_fkey;
