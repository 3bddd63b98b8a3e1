//! The workflow that a server runs, as a template with named inputs.
//!
//! A template is what the server's own interface exports "in API format": node id → `class_type` and `inputs`.
//! A text that is nothing but `{{width}}`, `{{height}}` or `{{seed}}` becomes a number; everywhere else names become
//! text. Each is replaced once: what a person wrote is never read as a name.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// Stable Diffusion XL, from text to a picture, with nothing but what every server has.
const DEFAULT: &str = include_str!("sdxl.json");
const NAMES: [&str; 7] = [
    "prompt",
    "negative",
    "width",
    "height",
    "seed",
    "job",
    "checkpoint",
];
/// More than any workflow has.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A template that has been looked through.
#[derive(Clone, Debug)]
pub(super) struct Workflow {
    nodes: Value,
    names: BTreeSet<&'static str>,
    /// What it is called where no checkpoint names it.
    pub(super) title: String,
}

/// What takes the place of the names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub(super) prompt: &'a str,
    /// What is not to be seen; empty where nothing was said of that.
    pub(super) negative: &'a str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) seed: u64,
    /// Begins the name of the picture's file.
    pub(super) job: &'a str,
    pub(super) checkpoint: &'a str,
}

impl Workflow {
    /// The template of this program.
    pub(super) fn usual() -> Self {
        Self::parse(DEFAULT, "sdxl").expect("it is part of this program and a test reads it")
    }

    /// Reads the template at `path`.
    ///
    /// # Errors
    /// What is wrong with the file and what would be right, to stand after the variable's name.
    pub(super) fn load(path: &str) -> Result<Self, String> {
        Self::read(Path::new(path)).map_err(|error| format!("{error:#}"))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let size = std::fs::metadata(path)
            .with_context(|| format!("the file {shown} cannot be read"))?
            .len();
        if size > MAX_FILE_BYTES {
            bail!("the file {shown} has {size} bytes, which is no workflow");
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("the file {shown} cannot be read"))?;
        let title = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::parse(&text, &title.unwrap_or_default()).with_context(|| format!("the file {shown}"))
    }

    fn parse(text: &str, title: &str) -> anyhow::Result<Self> {
        let nodes: Value = serde_json::from_str(text).context("is not JSON")?;
        let is_workflow = nodes.as_object().is_some_and(|nodes| {
            !nodes.is_empty()
                && nodes
                    .values()
                    .all(|node| node.get("class_type").is_some_and(Value::is_string))
        });
        if !is_workflow {
            bail!(
                "is not a workflow in API format: node ids with class_type and inputs; export it with \"Export (API)\""
            );
        }
        let mut names = BTreeSet::new();
        let mut unknown = None;
        visit(&nodes, &mut |text| {
            for piece in pieces(text) {
                if let Piece::Name(found) = piece {
                    match NAMES.iter().find(|name| **name == found) {
                        Some(name) => _ = names.insert(*name),
                        None => unknown = Some(found.to_owned()),
                    }
                }
            }
        });
        if let Some(unknown) = unknown {
            bail!("has the name {{{{{unknown}}}}}; known are {}", NAMES.join(", "));
        }
        if !names.contains("prompt") {
            bail!("has no {{{{prompt}}}}: every picture would be the same");
        }
        Ok(Self {
            nodes,
            names,
            title: title.to_owned(),
        })
    }

    /// Whether the template asks for this.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The workflow as it is sent.
    pub(super) fn fill(&self, inputs: &Inputs<'_>) -> Value {
        filled(&self.nodes, inputs)
    }
}

fn visit(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(list) => list.iter().for_each(|value| visit(value, look)),
        Value::Object(object) => object.values().for_each(|value| visit(value, look)),
        _ => {}
    }
}

fn filled(value: &Value, inputs: &Inputs<'_>) -> Value {
    match value {
        Value::String(text) => filled_text(text, inputs),
        Value::Array(list) => list.iter().map(|value| filled(value, inputs)).collect(),
        Value::Object(object) => {
            let filled: Map<String, Value> = object
                .iter()
                .map(|(name, value)| (name.clone(), filled(value, inputs)))
                .collect();
            filled.into()
        }
        other => other.clone(),
    }
}

fn filled_text(text: &str, inputs: &Inputs<'_>) -> Value {
    let pieces: Vec<Piece<'_>> = pieces(text).collect();
    if let [Piece::Name(name)] = pieces[..] {
        return input(name, inputs);
    }
    let text: String = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Name(name) => match input(name, inputs) {
                Value::String(text) => text,
                number => number.to_string(),
            },
        })
        .collect();
    text.into()
}

fn input(name: &str, inputs: &Inputs<'_>) -> Value {
    match name {
        "prompt" => inputs.prompt.into(),
        "negative" => inputs.negative.into(),
        "width" => inputs.width.into(),
        "height" => inputs.height.into(),
        "seed" => inputs.seed.into(),
        "job" => inputs.job.into(),
        "checkpoint" => inputs.checkpoint.into(),
        _ => Value::Null,
    }
}

enum Piece<'a> {
    Text(&'a str),
    /// What stands between `{{` and `}}`.
    Name(&'a str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = rest.find("{{").and_then(|start| {
            let end = start + rest[start..].find("}}")?;
            Some((start, end))
        });
        match next {
            Some((0, end)) => {
                let name = rest[2..end].trim();
                rest = &rest[end + 2..];
                Some(Piece::Name(name))
            }
            Some((start, _)) => {
                let (text, after) = rest.split_at(start);
                rest = after;
                Some(Piece::Text(text))
            }
            None => Some(Piece::Text(std::mem::take(&mut rest))),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INPUTS: Inputs<'_> = Inputs {
        prompt: "a \"boat\" {{seed}}\nat sea",
        negative: "people",
        width: 1344,
        height: 768,
        seed: 7,
        job: "j-1",
        checkpoint: "x.safetensors",
    };

    #[test]
    fn the_default_workflow_takes_every_name() {
        let workflow = Workflow::usual();
        assert!(NAMES.iter().all(|name| workflow.takes(name)));
        let filled = workflow.fill(&INPUTS);
        assert_eq!(filled["3"]["inputs"]["seed"], 7);
        assert_eq!(
            filled["5"]["inputs"],
            json!({"width": 1344, "height": 768, "batch_size": 1})
        );
        assert_eq!(filled["6"]["inputs"]["text"], INPUTS.prompt);
        assert_eq!(filled["7"]["inputs"]["text"], INPUTS.negative);
        assert_eq!(filled["4"]["inputs"]["ckpt_name"], "x.safetensors");
        assert_eq!(filled["9"]["inputs"]["filename_prefix"], "j-1");
        assert_eq!(filled["3"]["inputs"]["model"], json!(["4", 0]));
    }

    #[test]
    fn names_within_a_text_become_text_and_what_a_person_wrote_is_no_name() {
        let text = r#"{"1":{"class_type":"A","inputs":{"text":"best, {{ prompt }}, {{width}}px {{","n":1}}}"#;
        let workflow = Workflow::parse(text, "own").unwrap();
        assert!(!workflow.takes("seed"));
        assert_eq!(
            workflow.fill(&INPUTS)["1"]["inputs"]["text"],
            "best, a \"boat\" {{seed}}\nat sea, 1344px {{"
        );
    }

    #[test]
    fn a_file_that_is_no_template_is_refused_with_its_reason() {
        for (text, why) in [
            ("no JSON", "is not JSON"),
            ("[]", "is not a workflow in API format"),
            ("{}", "is not a workflow in API format"),
            (r#"{"nodes":[],"links":[]}"#, "is not a workflow in API format"),
            (
                r#"{"1":{"class_type":"A","inputs":{"text":"a boat"}}}"#,
                "has no {{prompt}}",
            ),
            (
                r#"{"1":{"class_type":"A","inputs":{"text":"{{prompt}} {{promt}}"}}}"#,
                "has the name {{promt}}; known are prompt, negative",
            ),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = Workflow::load(&file.path().to_string_lossy()).unwrap_err();
            assert!(error.starts_with("the file ") && error.contains(why), "{error}");
        }
        let error = Workflow::load("/nonexistent/workflow.json").unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
