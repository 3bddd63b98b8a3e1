DROP INDEX generative_ai.dead_packages_open;
ALTER TABLE generative_ai.dead_packages DROP COLUMN retried_at;
