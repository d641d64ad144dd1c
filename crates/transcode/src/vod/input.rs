//! What a step reads, what it may take, and how it reports.

use serde::{Deserialize, Serialize};

/// Ends a step early: FFmpeg's process group is killed and the step fails with the code `cancelled`.
pub use tokio_util::sync::CancellationToken as Cancel;

/// What FFmpeg reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// A path, or an `http` or `https` URL.
    pub url: String,
    /// Request headers for a URL, name and value. They are visible on FFmpeg's command line: no lasting secrets.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

impl Input {
    /// A file or URL that needs no headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), headers: Vec::new() }
    }
}

/// What one step may take of the machine. The kernel holds FFmpeg to processor time, memory and file size where `prlimit`
/// (util-linux) is installed; this room holds it to wall time and progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// Address space of each process, in bytes.
    pub memory_bytes: Option<u64>,
    /// The whole step, in milliseconds.
    pub wall_ms: Option<u64>,
    /// The step fails when media time does not advance for this long, in milliseconds.
    pub stall_ms: u64,
    /// The largest file the step may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Threads of each decoder and encoder; 0 leaves it to FFmpeg.
    pub threads: u32,
    /// Scheduling priority, 0 to 19; above 0 everything else comes first.
    pub nice: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_seconds: None,
            memory_bytes: None,
            wall_ms: None,
            stall_ms: 60_000,
            file_bytes: None,
            threads: 0,
            nice: 10,
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Of the whole step, 0 to 1000; never goes back.
    pub permille: u32,
    /// The media time reached, in milliseconds on the source's timeline.
    pub out_time_ms: Option<i64>,
    /// Pictures per second of wall time.
    pub fps: Option<f64>,
    /// Bytes written so far.
    pub bytes: Option<u64>,
}

/// Where a step reports its [`Work`], about twice a second. Called on the task of the step: it must not block.
pub type WorkSink<'a> = &'a (dyn Fn(Work) + Send + Sync);
