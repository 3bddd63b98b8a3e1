DELETE FROM generative_ai.provider_calls AS call
WHERE NOT EXISTS (SELECT FROM generative_ai.jobs AS job WHERE job.job_id = call.job_id);
ALTER TABLE generative_ai.provider_calls ADD CONSTRAINT provider_calls_job_id_fkey
    FOREIGN KEY (job_id) REFERENCES generative_ai.jobs ON DELETE CASCADE;
