"""Asks for a picture: python3 producer.py "A lighthouse at night"     (pip install psycopg2 redis)"""
import json
import os
import sys
import uuid

import psycopg2
import redis

connection = psycopg2.connect(os.environ["DATABASE_URL"])
queue = redis.Redis.from_url(os.environ["REDIS_URL"])

# Leaving the block commits. Push after that, so that the worker finds the row.
with connection, connection.cursor() as cursor:
    cursor.execute(
        "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)"
        " VALUES (5, '{}', now(), now()) RETURNING id"
    )
    (job_id,) = cursor.fetchone()

reply_to = "{generative-ai}:reply:" + str(uuid.uuid4())
package = {
    "type": "collection-image",
    "jobId": job_id,
    "prompt": sys.argv[1],
    "imageType": "icon",
    "collectionType": "group",
    "collectionId": 7,
    "replyTo": reply_to,
}
queue.lpush("generative-ai", json.dumps(package))

reply = queue.blpop(reply_to, timeout=600)
if reply is None:
    sys.exit(f"job {job_id} goes on; its row will say what comes of it")
event = json.loads(reply[1])
if event["status"] != "completed":
    sys.exit(event["error"])
print(event["imageUrl"])
