-- A dead package that an operator has pushed again keeps its row, as it belongs to the story of its job.
ALTER TABLE generative_ai.dead_packages ADD COLUMN IF NOT EXISTS retried_at timestamptz;
-- Those that nobody has dealt with yet are what operators look at, in the order of their ends.
CREATE INDEX IF NOT EXISTS dead_packages_open ON generative_ai.dead_packages (dead_at, id) WHERE retried_at IS NULL;
