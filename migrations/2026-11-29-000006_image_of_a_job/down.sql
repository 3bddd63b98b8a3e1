ALTER TABLE generative_ai.jobs ADD CONSTRAINT jobs_image_id_key UNIQUE (image_id);
