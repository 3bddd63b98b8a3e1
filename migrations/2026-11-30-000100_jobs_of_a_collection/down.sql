DROP INDEX IF EXISTS generative_ai.jobs_collection;
