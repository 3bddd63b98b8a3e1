//! What the README tells a newcomer to type, typed.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::replica::program;
use crate::harness::stack::Stack;

/// Its screen is about so long; what is looked up stands in `docs/reference`.
const LONGEST: usize = 100;

fn readme() -> &'static str {
    include_str!("../../README.md")
}

/// The parts that are to be typed into a shell.
fn snippets() -> Vec<&'static str> {
    let parts = readme().split("```sh\n").skip(1);
    parts
        .map(|part| part.split_once("```").expect("a snippet has an end").0)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newcomer_types_makes_a_row_and_a_picture() {
    let stack = Stack::start_without_tables().await;
    let bin = stack.path("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(program(), bin.join("generative-ai-worker")).unwrap();
    let [push, look] = snippets()[..] else {
        panic!("the README has other snippets than one that pushes and one that looks");
    };
    let shell = async |script: String| {
        let output = Command::new("sh")
            .args(["-euc", &format!("PATH={}:$PATH\n{script}", bin.display())])
            .envs(stack.environment())
            .env("QUEUE_NAME", "generative-ai")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (said(output.stdout), said(output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        out
    };
    let out = shell(format!("{push}echo \"job $job\"")).await;
    let job: i32 = out.rsplit_once("job ").unwrap().1.trim().parse().unwrap();
    let _replica = stack.replica(&[("QUEUE_NAME", "generative-ai")]).await;
    stack.ended(job).await;
    let row = shell(format!("job={job}\n{look}")).await;
    assert!(row.contains("100") && row.contains("\"imageUrl\": "), "{row}");
}

#[test]
fn the_readme_is_one_screen_and_leads_to_what_is_there() {
    let lines = readme().lines().count();
    assert!(
        lines <= LONGEST,
        "README.md has {lines} lines, {LONGEST} are enough"
    );
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/reference"] {
        let found = std::fs::read_dir(root.join(folder)).unwrap();
        files.extend(found.map(|entry| entry.unwrap().path()));
    }
    let mut missing = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "md"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (path, heading) = link.0.split_once('#').unwrap_or((link.0, ""));
            if path.starts_with("http") {
                continue;
            }
            let target = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(path)
            };
            let is_there = if heading.is_empty() {
                target.exists()
            } else {
                std::fs::read_to_string(&target)
                    .is_ok_and(|text| headings(&text).any(|known| known == heading))
            };
            if !is_there {
                missing.push(format!("{}: {}", file.display(), link.0));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "links that lead nowhere:\n{}",
        missing.join("\n")
    );
}

/// Headings as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
