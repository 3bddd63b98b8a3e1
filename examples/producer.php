<?php
// Asks for a picture: php producer.php "A lighthouse at night"     (extensions pdo_pgsql and redis)
declare(strict_types=1);

$url = parse_url(getenv('DATABASE_URL'));
$dsn = sprintf('pgsql:host=%s;port=%d;dbname=%s', $url['host'], $url['port'] ?? 5432, ltrim($url['path'], '/'));
$db = new PDO($dsn, urldecode($url['user'] ?? ''), urldecode($url['pass'] ?? ''));
$url = parse_url(getenv('REDIS_URL'));
$redis = new Redis();
$redis->connect($url['host'], $url['port'] ?? 6379);
if (isset($url['pass'])) {
    $redis->auth([urldecode(($url['user'] ?? '') ?: 'default'), urldecode($url['pass'])]);
}
$redis->setOption(Redis::OPT_READ_TIMEOUT, 610);

// Push after the commit, so that the worker finds the row.
$db->beginTransaction();
$jobId = (int) $db->query("INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)
    VALUES (5, '{}', now(), now()) RETURNING id")->fetchColumn();
$db->commit();
$replyTo = '{generative-ai}:reply:' . bin2hex(random_bytes(16));
$redis->lPush('generative-ai', json_encode([
    'type' => 'collection-image', 'jobId' => $jobId, 'prompt' => $argv[1], 'imageType' => 'icon',
    'collectionType' => 'group', 'collectionId' => 7, 'replyTo' => $replyTo,
], JSON_THROW_ON_ERROR));

$reply = $redis->blPop([$replyTo], 600);
$event = $reply ? json_decode($reply[1], true) : ['status' => 'open', 'error' => "job $jobId goes on"];
if ($event['status'] !== 'completed') {
    fwrite(STDERR, $event['error'] . "\n");
    exit(1);
}
echo $event['imageUrl'], "\n";
