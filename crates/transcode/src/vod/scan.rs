//! The exact times of a video track: from its packets, or by decoding where packets do not tell.

use super::{
    Class, Failure, WorkSink, failure,
    features::Features,
    frames::{self, Meter},
    picture::{frame_mode, global_args},
    probe::Source,
    process::{Listener, Program, Step},
    times::{Reorder, Times},
};
use crate::{command::Args, progress::Lines};

/// Most pictures of a source: 24 h at 120 Hz. Their times take at most 80 MB then, in a container that rounds.
pub(super) const FRAMES_MAX: u64 = 24 * 3_600 * 120;
/// Pictures decoded to see whether the packets tell the truth: more than any reordering, less than a second of decoding.
const CHECKED_FRAMES: usize = 60;
/// A clock that goes back by more than this, in ticks, is another recording: one second.
const STEP_BACK_MAX: i64 = 90_000;

/// What a scan found; times are ticks of 90 kHz on the platform's timeline.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) times: Times,
    /// Sync pictures.
    pub(super) keys: Times,
    pub(super) bytes: u64,
    /// The last picture's duration, if the container tells.
    pub(super) last_ticks: Option<i64>,
    /// The longest way between sync pictures.
    pub(super) keys_apart_max: i64,
}

/// Scans track `index` of the step's source.
pub(super) async fn scan(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    sink: WorkSink<'_>,
    span: (u32, u32),
) -> Result<Scan, Failure> {
    let from_packets = packets(step, source, index, sink, span).await?;
    let bytes = from_packets.scan.bytes;
    if let Some(checked) = check(step, source, index, from_packets).await? {
        return Ok(checked);
    }
    tracing::info!(index, "packets do not tell when pictures are shown: decoding all of them");
    let mut decoded = decode(step, source, index, None, (sink, span)).await?;
    decoded.bytes = bytes;
    Ok(decoded)
}

/// Reads every packet of one track without decoding.
async fn packets<'a>(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    sink: WorkSink<'a>,
    span: (u32, u32),
) -> Result<Packets<'a>, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = Args::default();
    args.add("-hide_banner -loglevel repeat+level+error -select_streams");
    args.push(index.to_string());
    args.add("-show_entries packet=pts,dts,duration,size,flags -of compact=p=0");
    args.0.extend(step.input.args(&features.demuxers));
    let mut packets = Packets::new(source, index, Meter::new(sink, span, media_ms(source)));
    step.run(Program::Ffprobe, args.0, &mut packets).await?;
    packets.finish()
}

/// From where to where a source's media time goes, in milliseconds.
pub(super) fn media_ms(source: &Source) -> (i64, i64) {
    (source.probe.start_ms, source.probe.start_ms + source.probe.duration_ms.max(1))
}

/// The packets' times, once the decoder has agreed on the first of them; none when it does not. Pictures before the first
/// one that can be decoded are no pictures: a recording may begin in the middle of a GOP.
async fn check(step: &Step<'_>, source: &Source, index: u32, packets: Packets<'_>) -> Result<Option<Scan>, Failure> {
    if packets.untold > 0 || packets.scan.times.count() == 0 {
        return Ok(None);
    }
    let nowhere: WorkSink<'_> = &|_| {};
    let decoded = decode(step, source, index, Some(CHECKED_FRAMES), (nowhere, (0, 0))).await?;
    let Some(first) = decoded.times.first() else { return Ok(None) };
    let mut scan = packets.scan;
    if scan.times.first() != Some(first) {
        scan.times = scan.times.from(first);
        scan.keys = scan.keys.from(first);
    }
    let agreed = decoded.times.iter().eq(scan.times.iter().take(decoded.times.count() as usize));
    Ok(agreed.then_some(scan))
}

/// Decodes the track, or its first `frames` pictures, and lists them.
async fn decode(
    step: &Step<'_>,
    source: &Source,
    index: u32,
    frames: Option<usize>,
    (sink, span): (WorkSink<'_>, (u32, u32)),
) -> Result<Scan, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = global_args(step.limits);
    args.add("-copyts");
    args.0.extend(step.input.args(&features.demuxers));
    args.push("-filter_complex");
    let speck = frames::SPECK;
    match frames {
        // A second output would go on to the end of the source.
        Some(frames) => {
            args.push(format!("[0:{index}]settb=1/90000,{speck}[frames]"));
            args.push("-frames:v");
            args.push(frames.to_string());
            frames::list_args(&mut args, &["frames"], frame_mode(step.tool));
        }
        None => {
            let halves = format!("[all]{speck}[frames];[some]select=key,{speck}[keys]");
            args.push(format!("[0:{index}]settb=1/90000,split[all][some];{halves}"));
            frames::list_args(&mut args, &["frames", "keys"], frame_mode(step.tool));
        }
    }
    let mut decoded = Decoded {
        scan: Scan::default(),
        lift: source.lift(),
        frames_max: frames.map_or(FRAMES_MAX, |frames| frames as u64),
        meter: Meter::new(sink, span, media_ms(source)),
    };
    step.run(Program::Ffmpeg, args.0, &mut decoded).await?;
    if frames.is_none() && decoded.scan.times.count() == 0 {
        return Err(undecodable());
    }
    if decoded.scan.times.count() > decoded.frames_max {
        return Err(too_many());
    }
    decoded.meter.finish(None);
    Ok(decoded.scan)
}

fn undecodable() -> Failure {
    let human = "No picture of the video track can be decoded. Convert the file to H.264 and send it again.";
    Failure::new(Class::Input, "no_pictures", human)
}

fn too_many() -> Failure {
    let human = format!("The video has more than {FRAMES_MAX} pictures. Cut it into parts and send them one by one.");
    Failure::new(Class::Input, "too_many_frames", human)
}

/// Listens to FFmpeg's list of pictures.
struct Decoded<'a> {
    scan: Scan,
    lift: i64,
    frames_max: u64,
    meter: Meter<'a>,
}

impl Listener for Decoded<'_> {
    async fn data(&mut self, _bytes: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    fn line(&mut self, line: &str) -> bool {
        if let Some(moved) = self.meter.line(line, None) {
            return moved;
        }
        let Some((stream, pts)) = frames::parse(line) else { return false };
        let pts = pts + self.lift;
        let times = if stream == 0 { &mut self.scan.times } else { &mut self.scan.keys };
        if times.count() > self.frames_max || times.first().is_some() && pts <= times.last() {
            return true;
        }
        if stream == 1 && times.first().is_some() {
            self.scan.keys_apart_max = self.scan.keys_apart_max.max(pts - times.last());
        }
        times.push(pts);
        self.meter.reached(pts / 90);
        true
    }
}

/// Listens to ffprobe's packets.
struct Packets<'a> {
    scan: Scan,
    /// Packets without a presentation time.
    untold: u64,
    time_base: (u32, u32),
    lift: i64,
    lines: Lines,
    reorder: Reorder,
    newest: Option<(i64, Option<i64>)>,
    steps_back: u64,
    meter: Meter<'a>,
}

impl<'a> Packets<'a> {
    fn new(source: &Source, index: u32, meter: Meter<'a>) -> Self {
        Self {
            scan: Scan::default(),
            untold: 0,
            time_base: source.time_base(index),
            lift: source.lift(),
            lines: Lines::default(),
            reorder: Reorder::default(),
            newest: None,
            steps_back: 0,
            meter,
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        self.scan.bytes += packet.size;
        // Marked by an edit list: decoded, and not shown.
        if packet.flags.contains('D') {
            return;
        }
        let sync = packet.flags.contains('K');
        let Some(pts) = packet.pts.map(|pts| ticks(pts, self.time_base) + self.lift) else {
            self.untold += 1;
            return;
        };
        let newest = self.newest.map_or(pts, |(newest, _)| newest);
        if sync && pts < newest - STEP_BACK_MAX {
            self.steps_back += 1;
        }
        if sync {
            self.key(pts);
        } else if self.scan.keys.count() == 0 {
            // Nothing can be decoded before the first sync picture.
            return;
        }
        if self.newest.is_none() || pts >= newest {
            self.newest = Some((pts, packet.duration.map(|duration| ticks(duration, self.time_base))));
        }
        if let Some(pts) = self.reorder.push(pts) {
            self.shown(pts);
        }
    }

    fn key(&mut self, pts: i64) {
        let keys = &mut self.scan.keys;
        if keys.first().is_some() {
            if pts <= keys.last() {
                return;
            }
            self.scan.keys_apart_max = self.scan.keys_apart_max.max(pts - keys.last());
        }
        keys.push(pts);
    }

    fn shown(&mut self, pts: i64) {
        let times = &mut self.scan.times;
        if times.count() <= FRAMES_MAX && (times.first().is_none() || pts > times.last()) {
            times.push(pts);
            self.meter.reached(pts / 90);
        }
    }

    fn finish(mut self) -> Result<Self, Failure> {
        while let Some(pts) = self.reorder.pop() {
            self.shown(pts);
        }
        if self.steps_back > 0 {
            let human = "The recording's clock jumps back in the middle, as when files were put one behind another. Copy it \
                into a new file (ffmpeg -i IN -c copy OUT.mkv) and send that.";
            return Err(Failure::new(Class::Input, "timeline_broken", human));
        }
        if self.scan.times.count() > FRAMES_MAX {
            return Err(too_many());
        }
        self.scan.last_ticks = self.newest.and_then(|(_, duration)| duration).filter(|ticks| *ticks > 0);
        self.meter.finish(None);
        Ok(self)
    }
}

impl Listener for Packets<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| {
            if let Some(packet) = Packet::parse(line) {
                self.packet(&packet);
            }
        });
        self.lines = lines;
        self.meter.tell(None);
        Ok(())
    }

    fn line(&mut self, _line: &str) -> bool {
        false
    }
}

/// One line of ffprobe.
#[derive(Debug, Default, PartialEq)]
struct Packet<'l> {
    pts: Option<i64>,
    duration: Option<i64>,
    size: u64,
    flags: &'l str,
}

impl<'l> Packet<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let mut packet = Self::default();
        for (key, value) in line.split('|').filter_map(|field| field.split_once('=')) {
            match key {
                "pts" => packet.pts = value.parse().ok(),
                "duration" => packet.duration = value.parse().ok(),
                "size" => packet.size = value.parse().unwrap_or(0),
                "flags" => packet.flags = value,
                _ => {}
            }
        }
        (!packet.flags.is_empty()).then_some(packet)
    }
}

/// To ticks of 90 kHz as FFmpeg does it: to the nearest, halves away from zero.
fn ticks(time: i64, (n, d): (u32, u32)) -> i64 {
    let scaled = i128::from(time) * i128::from(n) * 90_000;
    let d = i128::from(d);
    let rounded = (scaled.abs() + d / 2) / d;
    i64::try_from(rounded * scaled.signum()).unwrap_or(0)
}

/// The end of a track by its packets, in ticks of 90 kHz; a cheap second opinion on an output that looks short.
pub(super) async fn track_end(step: &Step<'_>, source: &Source, index: u32) -> Result<i64, Failure> {
    let features = Features::of(step.tool).await?;
    let mut args = Args::default();
    args.add("-hide_banner -loglevel repeat+level+error -select_streams");
    args.push(index.to_string());
    args.add("-show_entries packet=pts,duration,flags -of compact=p=0");
    args.0.extend(step.input.args(&features.demuxers));
    let mut end = End { lines: Lines::default(), time_base: source.time_base(index), end: 0 };
    step.run(Program::Ffprobe, args.0, &mut end).await.map_err(|failure| match failure.class {
        Class::Bug => failure::short_output(&failure).with_log(failure.log),
        _ => failure,
    })?;
    Ok(end.end + source.lift())
}

struct End {
    lines: Lines,
    time_base: (u32, u32),
    end: i64,
}

impl Listener for End {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Self { lines, time_base, end } = self;
        lines.feed(bytes, |line| {
            let packet = Packet::parse(line).unwrap_or_default();
            if let Some(pts) = packet.pts {
                *end = (*end).max(ticks(pts.saturating_add(packet.duration.unwrap_or(0)), *time_base));
            }
        });
        Ok(())
    }

    fn line(&mut self, _line: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_read_as_ffprobe_prints_them() {
        let check = |line, pts, duration, flags| {
            let packet = Packet::parse(line).unwrap();
            assert_eq!((packet.pts, packet.duration, packet.flags), (pts, duration, flags), "{line}");
        };
        check("pts=2048|dts=-512|duration=512|size=950|flags=__", Some(2_048), Some(512), "__");
        check("pts=N/A|dts=0|duration=N/A|size=950|flags=K__", None, None, "K__");
        assert_eq!(Packet::parse(""), None);
    }

    #[test]
    fn times_are_rounded_as_ffmpeg_does() {
        let check = |time, base, expected| assert_eq!(ticks(time, base), expected, "{time} {base:?}");
        check(33, (1, 1_000), 2_970);
        check(1, (1, 12_800), 7);
        check(2, (1, 360_000), 1);
        check(-2, (1, 360_000), -1);
        check(1, (1_001, 30_000), 3_003);
    }

    proptest! {
        #[test]
        fn lines_never_panic(line in "[a-z0-9|=N/A_K-]{0,80}", n in any::<i64>(), b in any::<u32>(), d in 1u32..) {
            let _ = Packet::parse(&line);
            let _ = ticks(n, (b, d));
        }
    }
}
