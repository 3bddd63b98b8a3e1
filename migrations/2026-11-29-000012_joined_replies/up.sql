-- A package of a job that is being worked on is settled at once: it would only wait. The reply list that it names is
-- kept here until the job has ended and it has been told, so that everybody who asked gets the end.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS joined_replies text[] NOT NULL DEFAULT '{}';
-- When they are to be told next, should the replica that tells them die; NULL: nobody is to be told.
ALTER TABLE generative_ai.jobs ADD COLUMN IF NOT EXISTS replies_due_at timestamptz;
CREATE INDEX IF NOT EXISTS jobs_replies_due_at ON generative_ai.jobs (replies_due_at) WHERE replies_due_at IS NOT NULL;
