//! Who serves which slot of a cluster.

use redis::{FromRedisValue, Value};

use crate::redis::address::Node;

/// Reads an answer to `CLUSTER SLOTS`: the master of a slot, and all nodes.
///
/// Source: Redis documentation, "CLUSTER SLOTS": arrays of first slot, last slot, and nodes, the master first;
/// a node is its preferred endpoint, its port, and more. No endpoint: the one that was asked. "?": unknown.
pub(super) fn read_slots(slots: Value, slot: u16, asked_host: &str) -> (Option<Node>, Vec<Node>) {
    let (mut master, mut nodes) = (None, Vec::new());
    for range in list(slots) {
        let mut range = list(range).into_iter();
        let mut bound = || u16::from_redis_value(range.next()?).ok();
        let (Some(first), Some(last)) = (bound(), bound()) else {
            continue;
        };
        for (place, node) in range.enumerate() {
            let Some(node) = read_node(node, asked_host) else {
                continue;
            };
            if place == 0 && (first..=last).contains(&slot) {
                master = Some(node.clone());
            }
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    (master, nodes)
}

fn read_node(node: Value, asked_host: &str) -> Option<Node> {
    let mut parts = list(node).into_iter();
    let host: Option<String> = Option::from_redis_value(parts.next()?).ok()?;
    let port = u16::from_redis_value(parts.next()?).ok()?;
    let host = match host {
        Some(host) if host == "?" => return None,
        Some(host) if !host.is_empty() => host,
        _ => asked_host.to_owned(),
    };
    Some(Node { host, port })
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node_value(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        let bounds = [Value::Int(first), Value::Int(last)];
        Value::Array(bounds.into_iter().chain(nodes).collect())
    }

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn the_first_node_of_a_range_of_slots_is_its_master() {
        let slots = Value::Array(vec![
            range(0, 99, vec![node_value(text("a"), 1), node_value(text("b"), 2)]),
            range(
                100,
                16_383,
                vec![node_value(text("b"), 3), node_value(text("a"), 1)],
            ),
        ]);
        let all = vec![node("a", 1), node("b", 2), node("b", 3)];
        for (slot, master) in [(0, &all[0]), (99, &all[0]), (100, &all[2]), (16_383, &all[2])] {
            let (found, nodes) = read_slots(slots.clone(), slot, "asked");
            assert_eq!(found.as_ref(), Some(master));
            assert_eq!(nodes, all);
        }
    }

    #[test]
    fn a_node_without_a_host_is_where_the_asked_one_is_and_an_unknown_one_is_left_out() {
        let slots = Value::Array(vec![range(
            0,
            16_383,
            vec![
                node_value(Value::Nil, 1),
                node_value(text(""), 2),
                node_value(text("?"), 3),
            ],
        )]);
        let (master, nodes) = read_slots(slots, 7, "::1");
        assert_eq!(master, Some(node("::1", 1)));
        assert_eq!(nodes, [node("::1", 1), node("::1", 2)]);
    }

    #[test]
    fn a_slot_that_nobody_serves_and_an_answer_that_is_none_have_no_master() {
        let slots = Value::Array(vec![range(5, 9, vec![node_value(text("a"), 1)])]);
        assert_eq!(read_slots(slots, 4, "h"), (None, vec![node("a", 1)]));
        for nonsense in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 1, vec![Value::Nil])]),
        ] {
            assert_eq!(read_slots(nonsense, 0, "h"), (None, Vec::new()));
        }
    }
}
