//! Why a step failed, and whose fault that is.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus};

use serde::{Deserialize, Serialize};

use super::Input;

/// Who has to do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The source is at fault: trying again gives the same. The uploader is told.
    Input,
    /// It may pass: try again later.
    Transient,
    /// This machine has not enough: try another one.
    Capacity,
    /// This platform is at fault.
    Bug,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Who has to do something.
    pub class: Class,
    /// Stable, for programs: `not_media`.
    pub code: &'static str,
    /// For the uploader or operator, in plain words, ending with what to do.
    pub human: String,
    /// The last lines of FFmpeg, without header values and URL queries; may be empty.
    pub log: String,
}

impl Failure {
    pub(super) fn new(class: Class, code: &'static str, human: impl Into<String>) -> Self {
        Self { class, code, human: human.into(), log: String::new() }
    }

    pub(super) fn with_log(mut self, log: impl Into<String>) -> Self {
        self.log = log.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.human, self.code)
    }
}

impl std::error::Error for Failure {}

const NOT_MEDIA: &str = "This is not a video or sound file that can be read. Check that the right file was sent, and send \
    it as MP4, MOV, MKV or MPEG-TS if it was.";

/// What a log's words mean, in the order they are looked for: words (lower case), class, code, text.
const SIGNS: [(&[&str], Class, &str, &str); 9] = [
    (
        &["no space left on device", "disk quota exceeded", "file too large"],
        Class::Capacity,
        "disk_full",
        "There is no room for the result on this machine. Free some disk space, or let another worker do it.",
    ),
    (
        &["cannot allocate memory", "out of memory", "bad_alloc", "malloc of size"],
        Class::Capacity,
        "out_of_memory",
        "This machine has too little memory for this step. Raise the step's limit or use a larger worker.",
    ),
    (
        &[
            "no capable devices",
            "cannot load libcuda",
            "failed to initialise vaapi",
            "device creation failed",
            "error initializing an internal mfx",
        ],
        Class::Capacity,
        "no_hardware",
        "The hardware encoder of this machine cannot be used. Use another worker or a recipe without hardware encoding.",
    ),
    (
        &[
            "server returned",
            "http error",
            "connection refused",
            "connection reset",
            "connection timed out",
            "network is unreachable",
            "failed to resolve hostname",
            "stream ends prematurely",
            "operation timed out",
            "error in the pull function",
            "tls handshake",
            "host is unreachable",
            "temporary failure in name resolution",
        ],
        Class::Transient,
        "source_unavailable",
        "The source could not be read over the network. It is tried again; if that keeps failing, check the server that \
         holds the file.",
    ),
    (
        &["moov atom not found", "end of file", "partial file", "truncat"],
        Class::Input,
        "truncated",
        "The file is not complete: its end is missing. Send it again from the original.",
    ),
    (
        &["not on whitelist"],
        Class::Input,
        "not_media",
        "This is a list of other files, or a script or a picture, and not a video or sound file. Send the media file itself.",
    ),
    (
        &[
            "could not find codec parameters",
            "codec none",
            "unsupported codec",
            "decoder not found",
            "unknown codec",
            "(codec none",
        ],
        Class::Input,
        "unknown_codec",
        "The file is coded in a way that this platform cannot decode. Convert it to H.264 and AAC and send it again.",
    ),
    (&["encrypted", "protected"], Class::Input, "encrypted", ENCRYPTED),
    (
        &["invalid data found when processing input", "could not find tag", "error opening input"],
        Class::Input,
        "not_media",
        NOT_MEDIA,
    ),
];

pub(super) const ENCRYPTED: &str = "The file is encrypted. Send a copy without protection.";

/// From an exit status that is not 0.
pub(super) fn of_exit(status: ExitStatus, input: &Input, log: String) -> Failure {
    if let Some(signal) = status.signal() {
        return of_signal(signal).with_log(log);
    }
    if let Some(failure) = of_log(&log) {
        return failure.with_log(log);
    }
    if input.is_remote() && log.to_lowercase().contains("input/output error") {
        return signs("source_unavailable").with_log(log);
    }
    let human = format!("FFmpeg ended with {status}. Look at the log, and report this with the file's details.");
    Failure::new(Class::Bug, "ffmpeg_failed", human).with_log(log)
}

fn of_log(log: &str) -> Option<Failure> {
    let log = log.to_lowercase();
    let (_, class, code, human) = SIGNS.iter().find(|(words, ..)| words.iter().any(|word| log.contains(word)))?;
    Some(Failure::new(*class, code, *human))
}

fn signs(code: &str) -> Failure {
    let (_, class, code, human) = SIGNS.iter().find(|sign| sign.2 == code).expect("the code stands in the table");
    Failure::new(*class, code, *human)
}

fn of_signal(signal: i32) -> Failure {
    // signal(7): the numbers are the same on every architecture that this platform runs on.
    match signal {
        24 => Failure::new(
            Class::Capacity,
            "cpu_limit",
            "The step used up its processor time. Raise the step's limit or use a faster worker.",
        ),
        25 => signs("disk_full"),
        9 => Failure::new(
            Class::Capacity,
            "killed",
            "The system killed the encoder, most often for want of memory. It is tried on another worker.",
        ),
        15 | 2 | 1 => {
            Failure::new(Class::Transient, "interrupted", "The encoder was stopped from outside. It is tried again.")
        }
        _ => Failure::new(
            Class::Bug,
            "crashed",
            format!("FFmpeg crashed (signal {signal}). Update FFmpeg, and report this with the file's details."),
        ),
    }
}

pub(super) fn cancelled() -> Failure {
    Failure::new(Class::Transient, "cancelled", "The step was cancelled. Start it again when it is wanted.")
}

pub(super) fn stalled(limit_ms: u64) -> Failure {
    let human = format!(
        "FFmpeg made no progress for {limit_ms} ms and was killed. It is tried again; if that keeps failing, use another worker."
    );
    Failure::new(Class::Transient, "stalled", human)
}

pub(super) fn wall(limit_ms: u64) -> Failure {
    let human = format!("The step did not end within {limit_ms} ms. Raise the step's limit or use a faster worker.");
    Failure::new(Class::Capacity, "too_slow", human)
}

pub(super) fn spawn(program: &str, error: &std::io::Error) -> Failure {
    let human = format!("{program} cannot be started: {error}. Install FFmpeg, or set transcode.ffmpeg to its path.");
    Failure::new(Class::Capacity, "no_ffmpeg", human)
}

/// A file of ours that cannot be written or read.
pub(super) fn file(path: &std::path::Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) {
        return signs("disk_full").with_log(format!("{}: {error}", path.display()));
    }
    let human = format!("{} cannot be used: {error}. Check the worker's scratch directory.", path.display());
    Failure::new(Class::Transient, "scratch", human)
}

pub(super) fn disk_full(limit_bytes: u64) -> Failure {
    let human =
        format!("The result is larger than the {limit_bytes} bytes this step may write. Raise the step's limit.");
    Failure::new(Class::Capacity, "file_limit", human)
}

pub(super) fn not_media() -> Failure {
    Failure::new(Class::Input, "not_media", NOT_MEDIA)
}

pub(super) fn no_track(track: u32, kind: &str) -> Failure {
    let human = format!("The source has no {kind} track with number {track}. Choose one of its tracks in the recipe.");
    Failure::new(Class::Input, "no_such_track", human)
}

/// FFmpeg said that all was well, and it was not.
pub(super) fn short_output(detail: impl fmt::Display) -> Failure {
    let human = format!("FFmpeg ended without an error, but its result is not whole: {detail}. It is tried again.");
    Failure::new(Class::Transient, "short_output", human)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_tell_whose_fault_it_is() {
        let check = |log: &str, class: Class, code: &str| {
            let failure = of_exit(ExitStatus::from_raw(256), &Input::new("a.mp4"), log.into());
            assert_eq!((failure.class, failure.code), (class, code), "{log}");
            assert_eq!(failure.log, log);
        };
        check("[fatal] av_interleaved_write_frame(): No space left on device", Class::Capacity, "disk_full");
        check("[error] Server returned 5XX Server Error reply", Class::Transient, "source_unavailable");
        check(
            "[mov @ 0x] [error] moov atom not found\nx.mp4: Invalid data found when processing input",
            Class::Input,
            "truncated",
        );
        check("x.bin: Invalid data found when processing input", Class::Input, "not_media");
        check("[hls @ 0x] Format not on whitelist 'mov'\nx.mp4: Invalid argument", Class::Input, "not_media");
        check("something never seen", Class::Bug, "ffmpeg_failed");
    }

    #[test]
    fn signals_tell_what_ran_out() {
        let check = |signal: i32, class: Class, code: &str| {
            let failure = of_exit(ExitStatus::from_raw(signal), &Input::new("a.mp4"), String::new());
            assert_eq!((failure.class, failure.code), (class, code), "{signal}");
        };
        check(24, Class::Capacity, "cpu_limit");
        check(25, Class::Capacity, "disk_full");
        check(9, Class::Capacity, "killed");
        check(11, Class::Bug, "crashed");
        check(15, Class::Transient, "interrupted");
    }
}
