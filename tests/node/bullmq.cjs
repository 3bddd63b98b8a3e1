// A producer, and the worker that stood there before, as they use BullMQ.
//
//   node bullmq.cjs add <module> <url> <queue>      adds a job for each line of standard input: {name, data, opts}
//   node bullmq.cjs work <module> <url> <queue>     takes jobs until it is ended, and notes each jobId on the list "old-worker"
//   node bullmq.cjs counts <module> <url> <queue>   prints what BullMQ counts, and its keys
//   node bullmq.cjs pause|resume <module> <url> <queue>
//
// Behind <queue> comes the prefix of its keys, unless it is "bull"; several <url> with commas between are nodes of a cluster.
'use strict';
const [command, module_, url, queueName, prefix = 'bull'] = process.argv.slice(2);
const { Queue, Worker } = require(module_);
const IORedis = require('ioredis');
const connection = url.includes(',') ? cluster(url.split(',')) : new IORedis(url, { maxRetriesPerRequest: null });

function cluster(urls) {
  const { password } = new URL(urls[0]);
  return new IORedis.Cluster(urls, { redisOptions: { password, maxRetriesPerRequest: null } });
}

async function keys() {
  const servers = connection.nodes ? connection.nodes('master') : [connection];
  const all = await Promise.all(servers.map((server) => server.keys(`${prefix}:${queueName}:*`)));
  return all.flat().map((key) => key.split(':').slice(2).join(':')).sort();
}

async function lines() {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

async function main() {
  if (command === 'work') {
    const worker = new Worker(queueName, async (job) => {
      await connection.lpush('old-worker', job.data.jobId);
    }, { connection, prefix, concurrency: 2 });
    await worker.waitUntilReady();
    console.log('working');
    return;
  }
  const queue = new Queue(queueName, { connection, prefix });
  await queue.waitUntilReady();
  if (command === 'add') {
    for (const { name, data, opts } of await lines()) await queue.add(name, data, opts);
  } else if (command === 'counts') {
    console.log(JSON.stringify({ counts: await queue.getJobCounts(), keys: await keys() }));
  } else {
    await queue[command]();
  }
  await queue.close();
  await connection.quit();
}

main().catch((error) => { console.error(error); process.exit(1); });
