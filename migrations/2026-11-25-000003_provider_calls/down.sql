DROP INDEX generative_ai.jobs_unfinished;
CREATE INDEX jobs_unfinished ON generative_ai.jobs (state, begun_at) WHERE state IN ('waiting', 'begun', 'retry_wait');
UPDATE generative_ai.jobs SET state = 'waiting' WHERE state = 'held';
ALTER TABLE generative_ai.jobs DROP CONSTRAINT jobs_state_check;
ALTER TABLE generative_ai.jobs ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('waiting', 'begun', 'retry_wait', 'done', 'dead'));
ALTER TABLE generative_ai.jobs DROP COLUMN cost_basis;
ALTER TABLE generative_ai.jobs DROP COLUMN calls;
DROP TABLE generative_ai.provider_calls;
