// The same with BullMQ, for workers with BULLMQ_QUEUE: node producer_bullmq.cjs "A lighthouse at night"     (npm install pg bullmq)
'use strict';
const { Client } = require('pg');
const { Queue } = require('bullmq');

async function main(prompt) {
  const db = new Client({ connectionString: process.env.DATABASE_URL });
  const queue = new Queue(process.env.BULLMQ_QUEUE, { connection: { url: process.env.REDIS_URL } });
  await db.connect();
  try {
    const { rows: [{ id }] } = await db.query(
      "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at) VALUES (5, '{}', now(), now()) RETURNING id");
    const workPackage = {
      type: 'collection-image', jobId: id, prompt, imageType: 'icon', collectionType: 'group', collectionId: 7,
    };
    await queue.add('process-generative-ai', workPackage, { priority: 5, removeOnComplete: true, removeOnFail: true });
    // BullMQ completes the job as soon as the worker has it. What comes of it stands in the row.
    for (let second = 0; second < 600; second += 1) {
      const { rows: [{ data, error }] } = await db.query('SELECT data, error FROM ac_background_jobs WHERE id = $1', [id]);
      if (error) throw new Error(error);
      if (data.imageUrl) return console.log(data.imageUrl);
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
    throw new Error(`job ${id} goes on; its row will say what comes of it`);
  } finally {
    await db.end();
    await queue.close();
  }
}

main(process.argv[2]).catch((error) => { console.error(error.message); process.exit(1); });
