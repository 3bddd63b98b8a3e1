DROP TABLE generative_ai.dead_packages;
DROP TABLE generative_ai.jobs;
DROP TABLE generative_ai.installation;
