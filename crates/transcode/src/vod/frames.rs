//! FFmpeg's list of decoded pictures: a second output of a run, as small as can be, whose lines carry exact times.

use super::{WorkSink, process::Report};
use crate::command::Args;

/// A filter that leaves next to nothing of a picture but its time.
pub(super) const SPECK: &str = "scale=2:2:flags=neighbor,format=gray";

/// The output options of the list; `labels` are the graph's outputs, the list's streams 0, 1 and so on.
pub(super) fn list_args(args: &mut Args, labels: &[&str], frame_mode: &str) {
    for label in labels {
        args.push("-map");
        args.push(format!("[{label}]"));
    }
    args.add(frame_mode);
    args.add("-enc_time_base 1/90000 -c:v rawvideo -flush_packets 1 -f framecrc pipe:0");
}

/// One line of the list: stream and time, in ticks of 90 kHz of the container's timeline.
pub(super) fn parse(line: &str) -> Option<(u32, i64)> {
    let mut fields = line.split(',').map(str::trim);
    let stream = fields.next()?.parse().ok()?;
    let pts = fields.nth(1)?.parse().ok()?;
    Some((stream, pts))
}

/// Turns what FFmpeg says of its progress into [`Work`](super::Work) that never goes back.
pub(super) struct Meter<'a> {
    sink: WorkSink<'a>,
    /// The part of the whole step that this run is, in thousandths: from, to.
    span: (u32, u32),
    /// The media time that this run covers, in milliseconds.
    media_ms: (i64, i64),
    report: Report,
    at_ms: Option<i64>,
    permille: u32,
    told: Option<(u32, Option<i64>)>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(sink: WorkSink<'a>, span: (u32, u32), media_ms: (i64, i64)) -> Self {
        Self { sink, span, media_ms, report: Report::default(), at_ms: None, permille: span.0, told: None }
    }

    /// A line of `-progress`, if it is one; true when it shows an advance. The block's last line is told to the sink.
    pub(super) fn line(&mut self, line: &str, bytes: Option<u64>) -> Option<bool> {
        let moved = self.report.line(line)?;
        if line.starts_with("progress=") {
            self.tell(bytes);
        }
        Some(moved)
    }

    /// A picture or packet at `ms` has been seen.
    pub(super) fn reached(&mut self, ms: i64) {
        let (from, to) = self.media_ms;
        let whole = (to - from).max(1);
        let part = (ms - from).clamp(0, whole) * i64::from(self.span.1 - self.span.0) / whole;
        self.permille = self.permille.max(self.span.0 + u32::try_from(part).unwrap_or(0));
        self.at_ms = Some(ms);
    }

    /// Tells the sink, if there is anything new.
    pub(super) fn tell(&mut self, bytes: Option<u64>) {
        let now = (self.permille, self.at_ms);
        if self.told != Some(now) {
            self.told = Some(now);
            let (permille, out_time_ms, fps) = (self.permille, self.at_ms, self.report.fps);
            (self.sink)(super::Work { permille, out_time_ms, fps, bytes });
        }
    }

    /// What FFmpeg itself says of how far it is, for runs without a list.
    pub(super) fn follow(&mut self, lift_ms: i64) {
        if let Some(ms) = self.report.out_time_ms {
            self.reached(ms + lift_ms);
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, bytes: Option<u64>) {
        self.permille = self.span.1;
        self.tell(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_the_list_are_read() {
        assert_eq!(parse("0,     100800,     100800,     3600,        4, 0x0355017e"), Some((0, 100_800)));
        assert_eq!(parse("1, -3600, -3600, 1, 4, 0x0"), Some((1, -3_600)));
        assert_eq!(parse("#tb 0: 1/90000"), None);
        assert_eq!(parse("frame=25"), None);
    }

    proptest! {
        #[test]
        fn lines_never_panic(line in ".{0,60}") {
            let _ = parse(&line);
        }
    }
}
