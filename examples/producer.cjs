// Asks for a picture: node producer.cjs "A lighthouse at night"     (npm install pg ioredis)
'use strict';
const { randomUUID } = require('crypto');
const { Client } = require('pg');
const Redis = require('ioredis');

async function main(prompt) {
  const db = new Client({ connectionString: process.env.DATABASE_URL });
  const redis = new Redis(process.env.REDIS_URL);
  await db.connect();
  try {
    // In a transaction of your own: push after the commit, so that the worker finds the row.
    await db.query('BEGIN');
    const { rows: [{ id }] } = await db.query(
      "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at) VALUES (5, '{}', now(), now()) RETURNING id");
    await db.query('COMMIT');
    const replyTo = `{generative-ai}:reply:${randomUUID()}`;
    const workPackage = {
      type: 'collection-image', jobId: id, prompt, imageType: 'icon', collectionType: 'group', collectionId: 7, replyTo,
    };
    await redis.lpush('generative-ai', JSON.stringify(workPackage));
    const reply = await redis.blpop(replyTo, 600);
    if (!reply) throw new Error(`job ${id} goes on; its row will say what comes of it`);
    const event = JSON.parse(reply[1]);
    if (event.status !== 'completed') throw new Error(event.error);
    console.log(event.imageUrl);
  } finally {
    await db.end();
    redis.disconnect();
  }
}

main(process.argv[2]).catch((error) => { console.error(error.message); process.exit(1); });
