#!/bin/sh
# Asks for a picture with psql and redis-cli alone: producer.sh "A lighthouse at night"
set -eu
reply="{generative-ai}:reply:$$-$(date +%s)"

# The row is committed before the package is pushed, so that the worker finds it. Postgres writes the JSON.
package=$(psql "$DATABASE_URL" -qtA -v ON_ERROR_STOP=1 -v prompt="$1" -v reply="$reply" <<'SQL'
WITH job AS (
    INSERT INTO ac_background_jobs (progress, data, created_at, updated_at) VALUES (5, '{}', now(), now()) RETURNING id
)
SELECT json_build_object('type', 'collection-image', 'jobId', id, 'prompt', :'prompt', 'imageType', 'icon',
    'collectionType', 'group', 'collectionId', 7, 'replyTo', :'reply') FROM job;
SQL
)
printf %s "$package" | redis-cli -u "$REDIS_URL" --no-auth-warning -x LPUSH generative-ai >/dev/null

# The end of the job, whatever it is.
event=$(redis-cli -u "$REDIS_URL" --no-auth-warning --raw BLPOP "$reply" 600 | tail -n 1)
url=$(psql "$DATABASE_URL" -qtA -v event="$event" <<'SQL'
SELECT :'event'::json ->> 'imageUrl';
SQL
)
if [ -z "$url" ]; then echo "no picture: $event" >&2; exit 1; fi
echo "$url"
