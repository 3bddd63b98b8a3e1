//! The storeys of `src/provider`, and that no two of its rooms name each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, name, parts, starts_a_path};

/// The storeys from the top down, with what each may name besides the trait and its types (`ROOT` and what that is
/// made of), which all may.
const STOREYS: &[(&str, &[&str])] = &[
    ("list", &["services", "wire", "catalog", "policy"]),
    ("services", &["wire", "catalog"]),
    ("wire", &["catalog"]),
    ("catalog", &[]),
    ("policy", &[]),
    (ROOT, &[]),
];
/// `src/provider.rs`, and what it gives the names of to others.
const ROOT: &str = "provider";
const TYPES: &[&str] = &["call", "error", "spec"];

#[test]
fn a_storey_names_only_those_below_it() {
    let mut wrong = Vec::new();
    for (room, named) in rooms() {
        let storey = room.split("::").next().unwrap();
        for other in named {
            let other_storey = other.split("::").next().unwrap();
            let is_neighbour = storey == "services" && other_storey == storey && room != other;
            let may = TYPES.contains(&other_storey) || other_storey == ROOT;
            let below = STOREYS.iter().find(|(name, _)| *name == storey);
            let is_below = below.is_some_and(|(_, below)| below.contains(&other_storey));
            if is_neighbour || !(may || is_below || storey == other_storey) {
                wrong.push(format!("{room} names {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_two_rooms_name_each_other() {
    let rooms = rooms();
    assert!(rooms.len() > 25, "only {rooms:?} were found");
    // A room from which nobody leads back to itself is taken away, until only circles are left.
    let mut left = rooms.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let count = left.len();
        left.retain(|_, named| named.iter().any(|other| names.contains(other)));
        if left.len() == count {
            break;
        }
    }
    assert!(left.is_empty(), "these name each other in a circle: {left:#?}");
}

/// Every room (`wire::incident`, `services::bfl`, …) with the rooms that it names.
fn rooms() -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in Source::all() {
        if file.module != "provider" {
            continue;
        }
        let path: Vec<&str> = file.path.iter().map(|part| part.to_str().unwrap()).collect();
        let inner: Vec<&str> = path[1..]
            .iter()
            .map(|part| part.trim_end_matches(".rs"))
            .collect();
        let room = room_of(&inner[1..]);
        let to_root = "super::".repeat(path.len() - 2);
        let named = rooms.entry(room.clone()).or_default();
        let mut prefixes = vec!["crate::provider::".to_owned()];
        match room.as_str() {
            // Its own rooms stand right below it.
            ROOT => prefixes.push("pub use ".to_owned()),
            _ => prefixes.push(to_root),
        }
        for prefix in prefixes {
            for (at, _) in file.text.match_indices(&prefix) {
                if starts_a_path(&file.text[..at]) {
                    named.extend(named_rooms(&file.text[at + prefix.len()..]));
                }
            }
        }
        named.remove(&room);
    }
    rooms
}

/// The rooms that a path, as it goes on behind `crate::provider::`, leads to.
fn named_rooms(rest: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for part in parts(rest) {
        let storey = name(part);
        if matches!(storey, "super" | "crate" | "self" | "") {
            continue;
        }
        match part[storey.len()..].strip_prefix("::") {
            Some(rest) => rooms.extend(parts(rest).into_iter().map(|part| room_of(&[storey, name(part)]))),
            None => rooms.push(room_of(&[storey])),
        }
    }
    rooms
}

/// A type belongs to the module that gives it its name.
fn room_of(path: &[&str]) -> String {
    let is_module = |part: &&&str| part.starts_with(|c: char| c.is_lowercase());
    match (path.first().filter(is_module), path.get(1).filter(is_module)) {
        (None, _) => ROOT.to_owned(),
        (Some(storey @ (&"services" | &"wire")), Some(room)) => format!("{storey}::{room}"),
        (Some(storey), _) => (*storey).to_owned(),
    }
}
