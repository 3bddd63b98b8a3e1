-- The version before knows no such state; what was cancelled has failed for it, and is not drawn again.
UPDATE generative_ai.jobs SET state = 'dead' WHERE state = 'cancelled';
ALTER TABLE generative_ai.jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE generative_ai.jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('waiting', 'begun', 'retry_wait', 'held', 'done', 'dead'));
