-- The same for ids of orders, which are addresses where a service gives no other.
CREATE INDEX CONCURRENTLY IF NOT EXISTS provider_calls_handle ON generative_ai.provider_calls USING hash (handle)
    WHERE handle IS NOT NULL;
