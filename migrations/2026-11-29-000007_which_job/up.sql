-- Which job it is: its number and the time at which the application has made its row. Where the application's tables were emptied
-- and their numbers restarted, a new job must not get the picture of an old one. Rows from before get the time when they are begun again.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS row_created_at timestamptz;
-- How many other jobs have had the number before. Object keys and the ids of calls derive from it too.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS reuses integer NOT NULL DEFAULT 0;

-- The newest migration that a version has to know to work with these tables. One that only adds leaves it as it is, so that an older
-- version goes on beside a newer one, and a roll-out can be rolled back.
ALTER TABLE generative_ai.installation ADD COLUMN IF NOT EXISTS needs_migration text NOT NULL DEFAULT '20261129000007';
