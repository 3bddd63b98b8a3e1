//! The icon step by itself, on one core: decode, fit, encode. Beside it the same with `image` alone, and sharp.

use std::path::Path;
use std::time::Duration;

use generative_ai_worker::imaging::{Format, icon, inspect};
use tokio::time::Instant;

use crate::photo;
use crate::record::{Run, median};
use crate::rival;
use crate::sharp::{self, Sharp};
use crate::step::{Step, on_one_core, steps};

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
