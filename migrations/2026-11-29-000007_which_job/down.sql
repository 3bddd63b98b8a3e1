ALTER TABLE generative_ai.installation DROP COLUMN needs_migration;
ALTER TABLE generative_ai.jobs DROP COLUMN reuses;
ALTER TABLE generative_ai.jobs DROP COLUMN row_created_at;
