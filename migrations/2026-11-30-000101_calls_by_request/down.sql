DROP INDEX IF EXISTS generative_ai.provider_calls_request;
