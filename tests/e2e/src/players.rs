//! Players in headless Chromium.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::Platform;

/// A picture that stands for less than two frames at 25 frames per second is no stall: browsers tell of shorter ones when a buffer is
/// appended late on a busy machine.
const STALL_MS_MAX: f64 = 80.0;

/// What a player did.
#[derive(Clone, Debug)]
pub struct Played {
    /// The report of `play.mjs`.
    pub report: Value,
}

impl Played {
    /// A number of the report.
    pub fn number(&self, name: &str) -> f64 {
        self.report[name].as_f64().unwrap_or(f64::NAN)
    }

    /// Fails unless it played in real time, without a stall, an error, or a request to another host.
    ///
    /// # Panics
    /// When it did not: the test has failed.
    pub fn expect_smooth(&self, platform: &Platform) {
        let context = || format!("{}\n{}", self.report, platform.log());
        assert_eq!(self.report["failure"], Value::Null, "{}", context());
        assert_eq!(self.report["errors"].as_array().map(Vec::len), Some(0), "console errors: {}", context());
        assert_eq!(self.report["foreign"].as_array().map(Vec::len), Some(0), "requests to other hosts: {}", context());
        assert!(self.number("stalledMs") <= STALL_MS_MAX, "stalls: {}", context());
        let (played, wall) = (self.number("playedSeconds"), self.number("wallSeconds"));
        assert!(played > 0.9 * wall, "played {played} s of {wall}: {}", context());
    }
}

/// Plays `stream` for `seconds` with `engine`: `hlsjs`, `shaka-hls`, `shaka-dash`, `dashjs` or `app`.
///
/// # Panics
/// When Node or Chromium are missing: the test has failed.
pub fn play(platform: &Platform, engine: &str, stream: &str, seconds: u32, options: &[&str]) -> Played {
    let folder = folder();
    assert!(
        folder.join("node_modules/playwright-core").is_dir(),
        "players are not installed: npm ci in tests/e2e/players"
    );
    let output = Command::new("node")
        .arg(folder.join("play.mjs"))
        .args(["--engine", engine, "--base", &platform.url(""), "--stream", stream, "--seconds", &seconds.to_string()])
        .args(options)
        .output()
        .expect("node is installed: make test does it");
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{engine}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    Played { report }
}

/// Uploads `file` in the viewer app, waits until it plays, and plays it; what the page saw.
///
/// # Panics
/// When Node or Chromium are missing: the test has failed.
pub fn upload_in_browser(platform: &Platform, file: &str, options: &[&str]) -> serde_json::Value {
    let output = Command::new("node")
        .arg(folder().join("upload.mjs"))
        .args(["--base", &platform.url(""), "--file", file])
        .args(options)
        .output()
        .expect("node is installed: make test does it");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("players")
}
