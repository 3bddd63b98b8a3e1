//! Parts of a job, each by itself, timed by divan.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use chrono::DateTime;
use divan::{Bencher, black_box};
use generative_ai_worker::imaging::{self, Format, Provenance};
use generative_ai_worker::provider::DigitalSource;
use generative_ai_worker::queue::Event;
use generative_ai_worker::work_package::{CallbackOrigins, PackageLimits, WorkPackage};

use crate::photo;
use crate::stand::Order;

static PHOTO: LazyLock<Bytes> = LazyLock::new(|| photo::png().unwrap().into());

/// Measures each part for so long at the most, and prints a table.
pub(crate) fn measure(max_seconds: f64) {
    divan::Divan::default()
        .color(false)
        .max_time(Duration::from_secs_f64(max_seconds))
        .run_benches();
}

/// What [`measure`] prints, from a process of its own.
pub(crate) fn output(is_quick: bool) -> anyhow::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .arg("parts")
        .arg(if is_quick { "0.5" } else { "2" })
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[divan::bench]
fn icon_of_a_photo(bencher: Bencher<'_, '_>) {
    let inspected = imaging::inspect(&PHOTO).unwrap();
    bencher.bench(|| imaging::icon(&PHOTO, &inspected, Format::Png).unwrap());
}

#[divan::bench]
fn look_at_a_photo(bencher: Bencher<'_, '_>) {
    LazyLock::force(&PHOTO);
    bencher.bench(|| imaging::inspect(black_box(&PHOTO)).unwrap());
}

#[divan::bench]
fn mark_a_photo_as_machine_made(bencher: Bencher<'_, '_>) {
    let inspected = imaging::inspect(&PHOTO).unwrap();
    let provenance = Provenance {
        source: DigitalSource::Algorithm,
        provider: "openai",
        model: "gpt-image-2",
        created_at: DateTime::UNIX_EPOCH,
        job_id: 42,
    };
    bencher
        .with_inputs(|| PHOTO.clone())
        .bench_values(|photo| imaging::mark(&photo, &inspected, &provenance).unwrap());
}

#[divan::bench]
fn parse_a_package(bencher: Bencher<'_, '_>) {
    let package = Order::Icon.package(42);
    let limits = PackageLimits {
        max_bytes: 256 * 1024,
        reply_prefix: "{generative-ai}:reply:".to_owned(),
        callback_origins: CallbackOrigins::default(),
    };
    bencher.bench(|| WorkPackage::parse(black_box(package.as_bytes()), &limits).unwrap());
}

#[divan::bench]
fn write_an_event() -> String {
    Event::completed(
        black_box(42),
        43,
        "https://images.example/ypGenAi/group/7/42.png".to_owned(),
    )
    .to_json()
}
