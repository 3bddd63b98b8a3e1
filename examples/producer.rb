# Asks for a picture: ruby producer.rb "A lighthouse at night"     (gem install pg redis)
require "json"
require "pg"
require "redis"
require "securerandom"

db = PG.connect(ENV.fetch("DATABASE_URL"))
redis = Redis.new(url: ENV.fetch("REDIS_URL"), read_timeout: 610)

# The block commits at its end. Push after that, so that the worker finds the row.
job_id = db.transaction do |transaction|
  transaction.exec(<<~SQL)[0]["id"].to_i
    INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)
    VALUES (5, '{}', now(), now()) RETURNING id
  SQL
end

reply_to = "{generative-ai}:reply:#{SecureRandom.uuid}"
package = {
  type: "collection-image", jobId: job_id, prompt: ARGV.fetch(0), imageType: "icon",
  collectionType: "group", collectionId: 7, replyTo: reply_to
}
redis.lpush("generative-ai", JSON.generate(package))

_, reply = redis.blpop(reply_to, timeout: 600)
abort("job #{job_id} goes on; its row will say what comes of it") unless reply
event = JSON.parse(reply)
abort(event["error"]) unless event["status"] == "completed"
puts event["imageUrl"]
