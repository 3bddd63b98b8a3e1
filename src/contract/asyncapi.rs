//! AsyncAPI 3 of the queue, as the worker sees it: it receives packages and sends events.

use serde_json::{Map, Value, json};

/// `queue` is the list that producers push to.
pub(super) fn document(queue: &str, package: &Value, event: &Value) -> Value {
    // What stands in braces in an address is a parameter, and keys have braces in them.
    let tag = json!({"tag": {"default": format!("{{{queue}}}"), "description": "The queue's name, in braces that belong to the key"}});
    let packages = || json!({"workPackage": {"$ref": "#/components/messages/workPackage"}});
    let events = || json!({"event": {"$ref": "#/components/messages/event"}});
    let mut channels = Map::new();
    channels.insert(
        "normal".to_owned(),
        json!({"address": queue, "title": "The waiting list", "description": "A Redis list: LPUSH", "messages": packages()}),
    );
    for priority in ["critical", "high", "low"] {
        channels.insert(
            priority.to_owned(),
            json!({
                "address": format!("{{tag}}:{priority}"),
                "title": format!("The waiting list of priority {priority}"),
                "description": "A Redis list: LPUSH",
                "parameters": tag,
                "messages": packages(),
            }),
        );
    }
    channels.insert(
        "events".to_owned(),
        json!({
            "address": "{tag}:events",
            "title": "Changes of jobs",
            "description": "A channel of Redis: SUBSCRIBE. It keeps nothing for whoever does not listen",
            "parameters": tag,
            "messages": events(),
        }),
    );
    channels.insert(
        "replies".to_owned(),
        json!({
            "address": null,
            "title": "The end of a job",
            "description": "The Redis list that a package names in replyTo: BLPOP",
            "messages": events(),
        }),
    );
    let operations: Map<String, Value> = channels
        .keys()
        .map(|channel| {
            let action = if matches!(channel.as_str(), "events" | "replies") {
                "send"
            } else {
                "receive"
            };
            let operation = json!({"action": action, "channel": {"$ref": format!("#/channels/{channel}")}});
            (
                format!("{action}{}{}", channel[..1].to_uppercase(), &channel[1..]),
                operation,
            )
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "generative-ai-worker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Turns packages on a Redis list into pictures.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                "workPackage": {"title": "Work package", "payload": package},
                "event": {"title": "Event", "payload": event},
            }
        }
    })
}
