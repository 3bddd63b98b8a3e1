ALTER TABLE generative_ai.jobs DROP COLUMN replies_due_at;
ALTER TABLE generative_ai.jobs DROP COLUMN joined_replies;
