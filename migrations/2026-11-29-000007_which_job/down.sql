ALTER TABLE generative_ai.jobs DROP COLUMN reuses;
ALTER TABLE generative_ai.jobs DROP COLUMN row_created_at;
