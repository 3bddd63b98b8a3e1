//! What the server knows of a picture: its history, and its queue.

use serde_json::Value;

use crate::provider::wire::self_hosted::out_of_memory;

/// Where a drawn picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) subfolder: String,
    pub(super) kind: String,
}

/// How a picture has ended, as the server's history says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Drawn(File),
    /// Done, and no picture in what came out.
    Nothing,
    /// Somebody stopped it.
    Interrupted,
    /// The graphics card has too little memory.
    OutOfMemory(String),
    /// A node refused what it was given. Somebody else's text.
    Failed(String),
}

/// Reads the answer to `GET /history/<handle>`; `None` while it is not there.
///
/// Source: ComfyUI documentation, "Server routes", `/history/{prompt_id}`, and "Messages" for what is in it.
pub(super) fn read(history: &Value, handle: &str) -> Option<Ended> {
    let entry = history.get(handle)?;
    let status = entry.get("status").filter(|status| !status.is_null());
    let said = |name: &str| status?.get(name);
    if said("status_str").and_then(Value::as_str) == Some("error") {
        return Some(failure(said("messages")));
    }
    let file = file(entry.get("outputs"));
    match (file, said("completed").and_then(Value::as_bool)) {
        (Some(file), _) => Some(Ended::Drawn(file)),
        // Not there yet, as long as it does not say so.
        (None, Some(false)) => None,
        (None, _) => Some(Ended::Nothing),
    }
}

/// A finished file rather than a preview.
fn file(outputs: Option<&Value>) -> Option<File> {
    let nodes = outputs?.as_object()?;
    let files: Vec<File> = nodes
        .values()
        .filter_map(|node| node.get("images")?.as_array())
        .flatten()
        .filter_map(|image| {
            let text = |name: &str| image.get(name).and_then(Value::as_str).map(str::to_owned);
            Some(File {
                name: text("filename").filter(|name| !name.is_empty())?,
                subfolder: text("subfolder").unwrap_or_default(),
                kind: text("type").unwrap_or_else(|| "output".to_owned()),
            })
        })
        .collect();
    let finished = files.iter().find(|file| file.kind == "output");
    finished.or(files.first()).cloned()
}

/// A message is a pair of its name and its content.
fn failure(messages: Option<&Value>) -> Ended {
    let messages = messages.and_then(Value::as_array);
    let named = |name: &str| {
        messages?
            .iter()
            .find(|message| message.get(0).and_then(Value::as_str) == Some(name))
            .map(|message| &message[1])
    };
    if let Some(error) = named("execution_error") {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let said = format!(
            "node {} failed with {}: {}",
            text("node_type"),
            text("exception_type"),
            text("exception_message")
        );
        return match out_of_memory(&said) {
            true => Ended::OutOfMemory(said),
            false => Ended::Failed(said),
        };
    }
    match named("execution_interrupted") {
        Some(_) => Ended::Interrupted,
        None => Ended::Failed("the server does not say why".to_owned()),
    }
}

/// Where a picture is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Running,
    Pending,
    /// Nowhere.
    Absent,
}

/// Reads the answer to `GET /queue`; `None` where it is not one.
pub(super) fn place(queue: &Value, handle: &str) -> Option<Place> {
    let lists = |name: &str| -> Option<bool> {
        let entries = queue.get(name)?.as_array()?;
        // [number, id, workflow, …]
        Some(
            entries
                .iter()
                .any(|entry| entry.get(1).and_then(Value::as_str) == Some(handle)),
        )
    };
    Some(match (lists("queue_running")?, lists("queue_pending")?) {
        (true, _) => Place::Running,
        (_, true) => Place::Pending,
        _ => Place::Absent,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(outputs: Value, status: Value) -> Option<Ended> {
        read(
            &json!({"id": {"prompt": [], "outputs": outputs, "status": status}}),
            "id",
        )
    }

    fn drawn(name: &str, kind: &str) -> Option<Ended> {
        Some(Ended::Drawn(File {
            name: name.into(),
            subfolder: String::new(),
            kind: kind.into(),
        }))
    }

    #[test]
    fn a_history_says_how_it_ended() {
        let success = json!({"status_str": "success", "completed": true, "messages": []});
        let image = |name: &str, kind: &str| json!({"filename": name, "subfolder": "", "type": kind});
        assert_eq!(read(&json!({}), "id"), None);
        assert_eq!(read(&json!({"other": {}}), "id"), None);
        assert_eq!(
            entry(
                json!({"9": {"images": [image("a.png", "output")]}}),
                success.clone()
            ),
            drawn("a.png", "output")
        );
        let with_preview = json!({"1": {"images": [image("p.png", "temp")]}, "9": {"images": [image("a.png", "output")]},
            "7": {"text": ["x"]}});
        assert_eq!(entry(with_preview, success.clone()), drawn("a.png", "output"));
        let previews = json!({"1": {"images": [image("p.png", "temp")]}});
        assert_eq!(entry(previews.clone(), success.clone()), drawn("p.png", "temp"));
        // Older servers have no status.
        assert_eq!(entry(previews, Value::Null), drawn("p.png", "temp"));
        for outputs in [
            json!({}),
            json!({"9": {"images": []}}),
            json!({"9": {"images": [{}]}}),
            Value::Null,
        ] {
            assert_eq!(entry(outputs, success.clone()), Some(Ended::Nothing));
        }
        assert_eq!(entry(json!({}), json!({"completed": false})), None);
    }

    #[test]
    fn a_failure_says_which_node_and_why() {
        let failed = |messages: Value| {
            entry(
                json!({}),
                json!({"status_str": "error", "completed": false, "messages": messages}),
            )
        };
        let error = |kind: &str, message: &str| {
            json!([["execution_start", {}], ["execution_error", {"node_id": "3", "node_type": "KSampler",
                "exception_type": kind, "exception_message": message, "traceback": ["/home/me"]}]])
        };
        assert_eq!(
            failed(error("ValueError", "bad size")),
            Some(Ended::Failed(
                "node KSampler failed with ValueError: bad size".into()
            ))
        );
        for (kind, message) in [
            ("torch.OutOfMemoryError", "Allocation on device"),
            ("RuntimeError", "CUDA out of memory. Tried to allocate"),
        ] {
            assert!(
                matches!(failed(error(kind, message)), Some(Ended::OutOfMemory(_))),
                "{kind}"
            );
        }
        assert_eq!(
            failed(json!([["execution_interrupted", {"node_id": "3"}]])),
            Some(Ended::Interrupted)
        );
        for messages in [json!([]), Value::Null, json!([3, [], "x"])] {
            assert!(matches!(failed(messages), Some(Ended::Failed(_))));
        }
    }

    #[test]
    fn a_queue_says_who_waits() {
        let queue = json!({"queue_running": [[1, "a", {}]], "queue_pending": [[2, "b", {}], [3, "c"]]});
        for (handle, found) in [("a", Place::Running), ("c", Place::Pending), ("d", Place::Absent)] {
            assert_eq!(place(&queue, handle), Some(found));
        }
        for queue in [json!({}), json!([]), json!({"queue_running": []}), Value::Null] {
            assert_eq!(place(&queue, "a"), None);
        }
    }
}
