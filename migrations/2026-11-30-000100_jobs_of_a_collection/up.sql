-- Operators ask for the pictures of a collection, by its id. Source: `storage/key`, how object keys are made. Made beside the work of replicas.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_collection ON generative_ai.jobs (split_part(object_keys[1], '/', 3), job_id)
    WHERE object_keys IS NOT NULL;
