// Asks for a picture: go run producer.go "A lighthouse at night"
package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/gomodule/redigo/redis"
	_ "github.com/lib/pq"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	db := must(sql.Open("postgres", os.Getenv("DATABASE_URL")))
	queue := must(redis.DialURL(os.Getenv("REDIS_URL")))
	var job int64 // committed by itself: push after that, so that the worker finds the row
	must(0, db.QueryRow(`INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)
		VALUES (5, '{}', now(), now()) RETURNING id`).Scan(&job))
	replyTo := fmt.Sprintf("{generative-ai}:reply:%d-%d", job, os.Getpid())
	workPackage := must(json.Marshal(map[string]any{"type": "collection-image", "jobId": job, "prompt": os.Args[1],
		"imageType": "icon", "collectionType": "group", "collectionId": 7, "replyTo": replyTo}))
	must(queue.Do("LPUSH", "generative-ai", workPackage))
	reply := must(redis.ByteSlices(queue.Do("BLPOP", replyTo, 600)))
	var event struct{ Status, Error, ImageURL string }
	must(0, json.Unmarshal(reply[1], &event))
	if event.Status != "completed" {
		log.Fatal(event.Error)
	}
	fmt.Println(event.ImageURL)
}
