ALTER TABLE generative_ai.jobs DROP COLUMN queue;
