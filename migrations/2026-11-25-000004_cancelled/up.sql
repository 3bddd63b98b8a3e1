-- cancelled: somebody has ended the job. Nothing is drawn or recorded for it any more.
ALTER TABLE generative_ai.jobs DROP CONSTRAINT IF EXISTS jobs_state_check;
ALTER TABLE generative_ai.jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('waiting', 'begun', 'retry_wait', 'held', 'done', 'dead', 'cancelled'));
