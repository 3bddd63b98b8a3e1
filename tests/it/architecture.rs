//! Who may know whom: the arrows of `docs/architecture.md`, read from the paths in the source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

mod provider;

/// What every module above them may name.
const GROUND: &[&str] = &[
    "measure",
    "fault",
    "settings",
    "environment",
    "telemetry",
    "work_package",
    "failure",
    "batch",
    "findings",
    "plain_text",
    "memory",
    "trace",
];

/// Every module of the library, from the top down, with what it may name besides [`GROUND`]. A row names only
/// modules of the rows below it, so that no circle can be written down here.
const MODULES: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "config",
            "contract",
            "ops",
            "worker",
            "router",
            "generator",
            "provider",
            "http_client",
            "removal",
            "storage",
            "bullmq",
            "queue",
            "redis",
            "db",
            "private_servers",
            "notify",
            "otlp",
        ],
    ),
    // Reads the settings of all others, and none of them knows it.
    (
        "config",
        &[
            "ops",
            "worker",
            "generator",
            "provider",
            "removal",
            "storage",
            "bullmq",
            "queue",
            "redis",
            "db",
            "notify",
            "otlp",
        ],
    ),
    // Looks at the worker through its observer, at the services through their own types, and does what operators ask for.
    (
        "ops",
        &[
            "worker", "provider", "imaging", "storage", "bullmq", "queue", "db", "notify",
        ],
    ),
    (
        "worker",
        &[
            "router",
            "generator",
            "provider",
            "removal",
            "storage",
            "queue",
            "redis",
            "db",
            "notify",
        ],
    ),
    ("router", &["generator", "provider"]),
    ("generator", &["provider", "imaging", "storage", "http_client"]),
    ("removal", &["storage", "imaging", "http_client"]),
    ("storage", &["http_client"]),
    ("provider", &["imaging", "http_client"]),
    ("notify", &["http_client"]),
    ("otlp", &["http_client"]),
    ("imaging", &[]),
    ("http_client", &[]),
    // Of its tests: what it says of events is compared with them.
    ("contract", &["queue"]),
    ("bullmq", &["queue", "redis"]),
    ("queue", &["redis"]),
    ("redis", &[]),
    ("db", &[]),
    ("private_servers", &[]),
    ("measure", &["failure", "trace"]),
    ("fault", &["environment", "telemetry"]),
    ("settings", &["environment"]),
    ("environment", &[]),
    ("telemetry", &["plain_text", "trace"]),
    ("work_package", &["trace"]),
    ("failure", &["plain_text"]),
    ("batch", &[]),
    ("findings", &["plain_text"]),
    ("plain_text", &[]),
    ("memory", &[]),
    ("trace", &[]),
];

/// Libraries that have one owner, and who else names them, with the reason.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("redis", &["redis", "queue", "bullmq"]),
    ("bullmq", &["bullmq"]),
    // `db` takes the name of the runtime from it: both pools are `deadpool`, which is no dependency of its own here.
    ("deadpool_redis", &["redis", "db"]),
    // `cli/exit.rs` tells an unreachable database from other faults by the type of the error.
    ("diesel", &["db", "cli"]),
    ("diesel_async", &["db"]),
    ("diesel_migrations", &["db"]),
    ("opentelemetry", &["trace", "otlp"]),
    ("opentelemetry_otlp", &["otlp"]),
    ("opentelemetry_sdk", &["otlp", "telemetry"]),
    ("tracing_opentelemetry", &["trace", "telemetry"]),
    ("crossterm", &["cli"]),
    ("indicatif", &["cli"]),
];

#[test]
fn no_arrow_turns_back() {
    let mut wrong = Vec::new();
    for file in Source::all() {
        let Some(allowed) = allowed(&file.module) else {
            wrong.push(format!(
                "{}: the module `{}` has no row in tests/it/architecture.rs",
                file.path.display(),
                file.module
            ));
            continue;
        };
        for named in file.named_modules() {
            if named != file.module && !allowed.contains(named.as_str()) {
                wrong.push(format!(
                    "{}: names `{named}`, but `{}` may name only {}",
                    file.path.display(),
                    file.module,
                    Vec::from_iter(&allowed)
                        .iter()
                        .map(|module| format!("`{module}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_library_has_one_owner() {
    let mut wrong = Vec::new();
    for file in Source::all() {
        for (library, owners) in LIBRARIES {
            if !owners.contains(&file.module.as_str()) && file.names_library(library) {
                wrong.push(format!(
                    "{}: names the library `{library}`, but only {} may, and not `{}`",
                    file.path.display(),
                    owners.join(" and "),
                    file.module
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_modules_has_no_circle() {
    for (index, (module, names)) in MODULES.iter().enumerate() {
        for name in *names {
            let below = MODULES[index + 1..].iter().any(|(module, _)| module == name);
            assert!(below, "`{module}` names `{name}`, which has no row below it");
        }
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let file = Source {
        path: PathBuf::from("src/worker/limits.rs"),
        module: "worker".to_owned(),
        text: production(
            "use crate::{db, queue::{self, Lane}};\n\
             //! [`crate::ops`] is only a comment\n\
             use super::super::router::Router;\n\
             use super::Worker;\n\
             fn f() { crate::storage::put(); redis::cmd(); other_redis::cmd(); }\n\
             #[cfg(test)]\nmod tests {\n    use crate::cli;\n}\n",
        ),
    };
    let named = Vec::from_iter(file.named_modules());
    assert_eq!(named, ["db", "queue", "router", "storage"]);
    assert!(file.names_library("redis"));
    assert!(!file.names_library("diesel"));
}

fn allowed(module: &str) -> Option<BTreeSet<&'static str>> {
    let (_, names) = MODULES.iter().find(|(name, _)| *name == module)?;
    let ground = if GROUND.contains(&module) { &[] } else { GROUND };
    Some(names.iter().chain(ground).copied().collect())
}

/// A file of the library without its tests and comments.
struct Source {
    path: PathBuf,
    /// The module below the root that it belongs to.
    module: String,
    text: String,
}

impl Source {
    /// Every file under `src` but the two roots and what is only compiled for tests.
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        let mut tests = Vec::new();
        let mut folders = vec![root.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    tests.extend(test_modules(&path, &text));
                    found.push((path, text));
                }
            }
        }
        let of_tests = |path: &Path| {
            tests
                .iter()
                .any(|module: &PathBuf| path.starts_with(module) || path == module.with_extension("rs"))
        };
        let files = found.into_iter().filter(|(path, _)| !of_tests(path));
        let files = files.filter_map(|(path, text)| {
            let path = path.strip_prefix(root).unwrap().to_owned();
            let first = path.iter().nth(1)?.to_str()?;
            let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
            let text = production(&text);
            (!["lib", "main"].contains(&module.as_str())).then_some(Self { path, module, text })
        });
        let files = Vec::from_iter(files);
        assert!(files.len() > 100, "only {} files were found", files.len());
        files
    }

    /// The modules below the root that paths in this file lead to.
    fn named_modules(&self) -> BTreeSet<String> {
        // `super::super::` of src/worker/limits.rs is the root.
        let to_root = "super::".repeat(self.path.iter().count() - 1);
        let mut named = BTreeSet::new();
        for root in ["crate::", &to_root] {
            for (at, _) in self.text.match_indices(root) {
                if starts_a_path(&self.text[..at]) {
                    named.extend(first_names(&self.text[at + root.len()..]));
                }
            }
        }
        named
    }

    /// Whether a path starts with this library, and not with a module of the same name.
    fn names_library(&self, library: &str) -> bool {
        let path = format!("{library}::");
        !self.text.contains(&format!("mod {library};"))
            && self
                .text
                .match_indices(&path)
                .any(|(at, _)| starts_a_path(&self.text[..at]))
    }
}

fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == ':')
        || before.ends_with(" ::")
}

/// What a path goes on with: one name, or the first name of each path in braces.
fn first_names(rest: &str) -> Vec<String> {
    let names = parts(rest).into_iter().map(name);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The name that a path begins with.
fn name(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
    &path[..end.unwrap_or(path.len())]
}

/// What stands after `::`: one path, or each path in braces.
fn parts(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest];
    };
    let mut parts = Vec::new();
    let mut depth = 0_u32;
    let mut starts_at = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(group[starts_at..at].trim());
                if c == '}' {
                    break;
                }
                starts_at = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// The modules in files of their own that a file declares for tests only, as paths without an extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = match path.file_stem().unwrap().to_str().unwrap() {
        "lib" | "main" => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let declared = text.match_indices("#[cfg(test)]").filter_map(|(at, mark)| {
        let item = text[at + mark.len()..].trim_start().lines().next()?;
        let (_, name) = item.strip_suffix(';')?.rsplit_once("mod ")?;
        Some(folder.join(name))
    });
    declared.collect()
}

/// The text without comments and without what is marked `#[cfg(test)]`.
fn production(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if code != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // The item ends with its semicolon, or with a brace as far to the left as it began.
        let indent = line.len() - code.len();
        let is_end = |line: &str| {
            let item = line.get(indent..).unwrap_or_default();
            let is_outermost = !item.starts_with([' ', '#']);
            is_outermost && (item.ends_with(';') || item == "}" || item.ends_with('}') || item.ends_with(','))
        };
        let _ = lines.find(|line| is_end(line));
    }
    kept
}
