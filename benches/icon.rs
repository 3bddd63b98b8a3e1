//! The icon step by itself, on one core: decode, fit, encode. Beside it the same with `image` alone, and sharp.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use generative_ai_worker::imaging::{Format, icon, inspect};
use tokio::time::Instant;

use crate::machine;
use crate::photo;
use crate::record::{Run, median};
use crate::rival;
use crate::sharp::{self, Sharp};

/// One way to make an icon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) ms: f64,
    pub(crate) bytes: f64,
}

pub(crate) async fn compare(run: &mut Run<'_>) -> anyhow::Result<()> {
    let picture = run.stand.directory().join("photo.png");
    let png = photo::png()?;
    run.facts.insert("picture bytes", png.len() as f64);
    std::fs::write(&picture, png)?;
    let seconds = if run.options.is_quick() { 1.0 } else { 2.0 };
    let sharp = if run.options.no_sharp { None } else { Sharp::find() };
    let (mut ours, mut plain, mut by_sharp) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..run.options.rounds() {
        let mut command = on_one_core(std::env::current_exe()?.as_os_str());
        command.arg("icon").arg(&picture).arg(seconds.to_string());
        let steps = steps(&mut command)?;
        let [own, image] = steps[..] else {
            anyhow::bail!("two steps were expected")
        };
        ours.push(own);
        plain.push(image);
        if let Some(sharp) = &sharp {
            by_sharp.push(sharp.measure(&picture, seconds)?);
        }
    }
    let ratio = |other: &[Step]| median(other.iter().zip(&ours).map(|(other, ours)| other.ms / ours.ms));
    run.facts
        .insert("icon ms", median(ours.iter().map(|step| step.ms)));
    run.facts.insert("icon bytes", ours[0].bytes);
    run.facts
        .insert("image ms", median(plain.iter().map(|step| step.ms)));
    run.facts.insert("image bytes", plain[0].bytes);
    run.facts.insert("image ratio", ratio(&plain));
    run.sharp = sharp.map(|mut sharp| {
        for (index, setting) in sharp::SETTINGS.iter().enumerate() {
            let steps: Vec<Step> = by_sharp.iter().map(|steps| steps[index]).collect();
            sharp.results.push((
                setting,
                median(steps.iter().map(|step| step.ms)),
                steps[0].bytes,
                ratio(&steps),
            ));
        }
        sharp
    });
    Ok(())
}

/// Runs a program that prints `milliseconds bytes` for each step that it has measured.
pub(crate) fn steps(command: &mut Command) -> anyhow::Result<Vec<Step>> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|line| {
            let (ms, bytes) = line.split_once(' ').context("no two numbers")?;
            Ok(Step {
                ms: ms.parse()?,
                bytes: bytes.parse()?,
            })
        })
        .collect()
}

/// The last core, as the first one has the machine's own work to do; any core where that cannot be said.
pub(crate) fn on_one_core(program: &std::ffi::OsStr) -> Command {
    let core = (machine::cores() as usize - 1).to_string();
    let can_pin = Command::new("taskset")
        .args(["-c", &core, "true"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !can_pin {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core]).arg(program);
    command
}

/// Measures our own step, then that of `image` alone.
pub(crate) fn measure(picture: &Path, seconds: f64) -> anyhow::Result<()> {
    let png = std::fs::read(picture)?;
    print_step(seconds, || {
        let inspected = inspect(&png).unwrap();
        icon(&png, &inspected, Format::Png).unwrap().len()
    });
    print_step(seconds, || rival::shrink(&png).unwrap().len());
    Ok(())
}

fn print_step(seconds: f64, mut step: impl FnMut() -> usize) {
    let mut bytes = 0;
    for _ in 0..3 {
        bytes = step();
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        let begun = Instant::now();
        std::hint::black_box(step());
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("{} {bytes}", median(times.into_iter()));
}
