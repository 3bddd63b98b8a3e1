-- A picture that is to be deleted is named by its address, and all its objects are known by its job. Made beside the work of replicas.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_image_url ON generative_ai.jobs USING hash (image_url) WHERE image_url IS NOT NULL;
