//! One way to make an icon, measured in a process of its own on one core.

use std::process::Command;

use anyhow::Context;

use crate::machine;

/// One way to make an icon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) ms: f64,
    pub(crate) bytes: f64,
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
