-- Every job that ends paid for this index, and it saved a look through the table once a day.
DROP INDEX CONCURRENTLY IF EXISTS generative_ai.jobs_finished;
