-- What is forgotten some time after it has ended is found by that time. Made beside the work of replicas, however many jobs there are:
-- such a statement stands alone in its file, outside of a transaction.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_finished ON generative_ai.jobs (finished_at) WHERE finished_at IS NOT NULL;
