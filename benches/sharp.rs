//! sharp, the image library of Node, where it is at hand. Nothing here needs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::{Step, on_one_core, steps};

/// As `png()` takes them: its defaults, the fastest one, and the fastest that makes files as small as ours.
pub(crate) const SETTINGS: [&str; 3] = [
    "{}",
    "{ compressionLevel: 1 }",
    "{ compressionLevel: 2, adaptiveFiltering: true }",
];

const SCRIPT: &str = r#"
const sharp = require('sharp'), fs = require('fs');
const [, file, seconds, ...settings] = process.argv;
sharp.concurrency(1);
sharp.cache(false);
(async () => {
  const png = fs.readFileSync(file);
  for (const setting of settings) {
    const step = () => sharp(png).resize(400, 400, { fit: 'inside' }).png(eval(`(${setting})`)).toBuffer();
    let bytes = 0;
    for (let i = 0; i < 3; i++) bytes = (await step()).length;
    const times = [], end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      const begun = performance.now();
      await step();
      times.push(performance.now() - begun);
    }
    times.sort((a, b) => a - b);
    console.log(times[times.length >> 1], bytes);
  }
})();
"#;

pub(crate) struct Sharp {
    directory: PathBuf,
    pub(crate) version: String,
    /// Setting, milliseconds, bytes, how many times as long as ours.
    pub(crate) results: Vec<(&'static str, f64, f64, f64)>,
}

impl Sharp {
    /// Installs it beside this program unless it is there. `None`: Node or its registry is not.
    pub(crate) fn find() -> Option<Self> {
        let directory = std::env::current_exe().ok()?.with_file_name("bench-sharp");
        let is_there = directory.join("node_modules/sharp/package.json").exists();
        if !is_there {
            std::fs::create_dir_all(&directory).ok()?;
            let installing = Command::new("npm")
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--no-save",
                    "--fetch-retries=0",
                    "--fetch-timeout=10000",
                    "sharp@0.35",
                ])
                .current_dir(&directory)
                .stdin(Stdio::null())
                .output();
            if !installing.is_ok_and(|output| output.status.success()) {
                return None;
            }
        }
        let package = std::fs::read_to_string(directory.join("node_modules/sharp/package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_str(&package).ok()?;
        let version = package["version"].as_str()?.to_owned();
        Some(Self {
            directory,
            version,
            results: Vec::new(),
        })
    }

    pub(crate) fn measure(&self, picture: &Path, seconds: f64) -> anyhow::Result<Vec<Step>> {
        let mut command = on_one_core("node".as_ref());
        command
            .args(["-e", SCRIPT])
            .arg(picture)
            .arg(seconds.to_string())
            .args(SETTINGS);
        steps(command.current_dir(&self.directory))
    }
}
