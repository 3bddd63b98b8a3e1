-- The queue under which a job was last begun, so that queues that share a database leave each other's jobs alone. Rows
-- from before have none, and belong to any queue until they are begun again.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS queue text;
