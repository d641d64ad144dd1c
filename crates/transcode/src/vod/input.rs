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

/// What FFmpeg may open for a file: itself.
const FILE_PROTOCOLS: &str = "file";
/// What FFmpeg may open for a URL: what carries it.
const HTTP_PROTOCOLS: &str = "http,https,tcp,tls";
/// Longest silence of a server, in microseconds, before the request is made again.
const SERVER_SILENCE_US: &str = "30000000";
/// Longest wait between requests made again, in seconds.
const RECONNECT_SECONDS_MAX: &str = "8";

impl Input {
    /// Whether it is read over the network.
    pub(super) fn is_remote(&self) -> bool {
        let lower = self.url.get(..8).unwrap_or(&self.url).to_ascii_lowercase();
        lower.starts_with("http://") || lower == "https://"
    }

    /// The options before `-i` that keep FFmpeg to this one source, `-i` and the source. A playlist in disguise finds neither a
    /// demuxer that reads it nor a protocol that leaves the file.
    pub(super) fn args(&self, demuxers: &str) -> Vec<String> {
        let remote = self.is_remote();
        let protocols = if remote { HTTP_PROTOCOLS } else { FILE_PROTOCOLS };
        let mut args = ["-protocol_whitelist", protocols, "-format_whitelist", demuxers].map(str::to_owned).to_vec();
        if remote {
            let patience =
                ["-rw_timeout", SERVER_SILENCE_US, "-reconnect", "1", "-reconnect_delay_max", RECONNECT_SECONDS_MAX];
            args.extend(patience.map(str::to_owned));
            if !self.headers.is_empty() {
                args.extend(["-headers".to_owned(), self.header_lines()]);
            }
        }
        let source = if remote { self.url.clone() } else { format!("file:{}", self.url) };
        args.extend(["-i".to_owned(), source]);
        args
    }

    /// A line break in a name or value would begin another header.
    fn header_lines(&self) -> String {
        let clean = |text: &str| text.replace(['\r', '\n'], "");
        self.headers.iter().map(|(name, value)| format!("{}: {}\r\n", clean(name), clean(value))).collect()
    }
}

/// `text` without the input's header values and without the queries of URLs.
pub(super) fn redact(input: &Input, text: &str) -> String {
    let mut text = text.to_owned();
    for (_, value) in input.headers.iter().filter(|(_, value)| !value.is_empty()) {
        text = text.replace(value.as_str(), "***");
    }
    if let Some((_, query)) = input.url.split_once('?').filter(|(_, query)| input.is_remote() && !query.is_empty()) {
        text = text.replace(query, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_file_whatever_its_name() {
        let check = |url: &str, source: &str, protocols: &str| {
            let args = Input::new(url).args("mov");
            assert_eq!(args.last().map(String::as_str), Some(source));
            assert_eq!(args[1], protocols);
        };
        check("concat:a|b", "file:concat:a|b", "file");
        check("-y", "file:-y", "file");
        check("http://h/x.mp4", "http://h/x.mp4", HTTP_PROTOCOLS);
        check("HTTPS://h/x", "HTTPS://h/x", HTTP_PROTOCOLS);
    }

    #[test]
    fn secrets_are_not_logged() {
        let input = Input {
            url: "http://h/x?token=7".into(),
            headers: vec![("Authorization".into(), "Bearer abc\r\nX: y".into())],
        };
        assert_eq!(input.header_lines(), "Authorization: Bearer abcX: y\r\n");
        let log = "http://h/x?token=7: bad, Bearer abc\r\nX: y";
        assert_eq!(redact(&input, log), "http://h/x?***: bad, ***");
    }
}
