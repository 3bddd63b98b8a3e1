-- What the provider's support has asked for, or its list shows, leads to the job. By hash, as an id may be of any length.
CREATE INDEX CONCURRENTLY IF NOT EXISTS provider_calls_request ON generative_ai.provider_calls USING hash (provider_request_id)
    WHERE provider_request_id IS NOT NULL;
