//! What FFmpeg says of itself: `-progress` on standard output, and its last words on standard error.

use std::collections::VecDeque;

/// Lines of standard error kept for diagnosis.
const LINES_MAX: usize = 24;
/// Bytes kept of one line.
const LINE_BYTES_MAX: usize = 400;
/// Lines shown in a reason for people.
const LINES_SHOWN: usize = 3;

/// FFmpeg's own counters, of the run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) frames: u64,
    pub(crate) dropped: u64,
}

impl Counters {
    /// Takes in one `key=value` line.
    pub(crate) fn line(&mut self, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let Ok(value) = value.trim().parse() else { return };
        match key.trim() {
            "frame" => self.frames = value,
            "drop_frames" => self.dropped = value,
            _ => {}
        }
    }
}

/// Splits a stream of bytes into lines, each cut at [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes in bytes, hands each finished line to `line`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n' || byte == b'\r') {
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                let text = String::from_utf8_lossy(&self.partial);
                if !text.trim().is_empty() {
                    line(text.trim());
                }
                self.partial.clear();
            }
        }
    }
}

/// The newest lines of standard error.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords {
    lines: VecDeque<String>,
}

impl LastWords {
    pub(crate) fn line(&mut self, line: &str) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// All that is kept, a line each.
    pub(crate) fn all(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The last few lines in one, for a reason.
    pub(crate) fn shown(&self) -> String {
        let from = self.lines.len().saturating_sub(LINES_SHOWN);
        let shown: Vec<_> = self.lines.range(from..).map(String::as_str).collect();
        if shown.is_empty() { "it said nothing".into() } else { shown.join(" / ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_in_any_split() {
        let text = b"frame=503\nfps=334.76\nbitrate=N/A\ndrop_frames=2\nspeed=5.57x\nprogress=continue\nframe=";
        for at in 0..text.len() {
            let (mut lines, mut counters) = (Lines::default(), Counters::default());
            lines.feed(&text[..at], |line| counters.line(line));
            lines.feed(&text[at..], |line| counters.line(line));
            assert_eq!(counters, Counters { frames: 503, dropped: 2 });
        }
    }

    #[test]
    fn last_words_are_bounded() {
        let (mut lines, mut words) = (Lines::default(), LastWords::default());
        lines.feed(&vec![b'x'; 1 << 20], |line| words.line(line));
        lines.feed(b"\n", |line| words.line(line));
        for n in 0..1_000 {
            lines.feed(format!("line {n}\n").as_bytes(), |line| words.line(line));
        }
        assert_eq!(words.lines.len(), LINES_MAX);
        assert_eq!(words.shown(), "line 997 / line 998 / line 999");
    }
}
