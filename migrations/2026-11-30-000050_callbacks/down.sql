DROP TRIGGER tell_of_end ON generative_ai.jobs;
DROP FUNCTION generative_ai.tell_of_end();
DROP TABLE generative_ai.callbacks;
DROP FUNCTION generative_ai.callback_id(integer, text, text);
ALTER TABLE generative_ai.jobs DROP COLUMN callback_urls;
