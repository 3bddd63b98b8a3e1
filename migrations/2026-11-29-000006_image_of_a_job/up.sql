-- The image row of a job is made by the statement that notes it, under a lock on the job, so no two jobs share one. An index that
-- says so again has to be kept for every job, and nobody looks a job up by its image.
ALTER TABLE generative_ai.jobs DROP CONSTRAINT IF EXISTS jobs_image_id_key;
